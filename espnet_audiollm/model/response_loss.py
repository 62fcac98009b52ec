"""What a response costs under the LLM, in nats for each of its tokens.

Training, perplexity, cascade and reference all go through here. Logits are computed only where a
response token is predicted: most positions are prompt or audio.
"""

# L prompt positions, R response tokens, D LLM width, V vocabulary, T positions of all of a batch

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from ..data.prompt import AUDIO_SLOT
from .packing import Beginning, hidden_states


def embed_prompt(
    model: PreTrainedModel, prompt: Sequence[int], audios: Sequence[torch.Tensor] = ()
) -> torch.Tensor:
    """Token ids with audio slots to embeddings (L, D).

    Args:
        prompt: token ids, those of units among them, AUDIO_SLOT wherever an audio stands.
        audios: one (P, D) for each slot, in order.

    Raises ValueError when slots and audios differ in number, and for a prompt of nothing."""
    if not prompt:
        raise ValueError(
            "the prompt has no token at all: the chat template must give at least one for an empty "
            "turn (a bos_token, say)"
        )
    slots = [i for i, token in enumerate(prompt) if token == AUDIO_SLOT]
    if len(slots) != len(audios):
        raise ValueError(f"the prompt has {len(slots)} audio slots, but {len(audios)} audios came")
    embed = model.get_input_embeddings()
    ids = torch.tensor([max(token, 0) for token in prompt])
    text_LD = embed(ids.to(embed.weight.device, non_blocking=True))
    pieces, start = [], 0
    for slot, audio_PD in zip(slots, audios, strict=True):
        pieces += [text_LD[start:slot], audio_PD.to(text_LD.dtype)]
        start = slot + 1
    return torch.cat([*pieces, text_LD[start:]])


def response_nats(
    model: PreTrainedModel,
    prompts: Sequence[torch.Tensor],
    responses: Sequence[torch.Tensor],
    packed: bool = True,
    left_out: range = range(0),
    beginning: Beginning | None = None,
) -> list[torch.Tensor]:
    """Negative log-likelihood (nats) of every response token: one (R,) for each utterance.

    Args:
        prompts: embeddings, each (L, D), L at least 1.
        responses: token ids, each (R,), R at least 1, the end-of-turn token included.
        packed: lay the sequences end to end (False: pad them to the longest).
        left_out: token ids that the softmax is not taken over, those of units, say: likelihoods are
            then of a choice among the other tokens.
        beginning: what the LLM has read before each prompt (see `response_states`).
    """
    logits_XV = response_logits(model, prompts, responses, packed, beginning)
    logits_XV = without(logits_XV, left_out)
    return list(nats(logits_XV, responses).split([len(r) for r in responses]))


def nats(logits_XV: torch.Tensor, responses: Sequence[torch.Tensor]) -> torch.Tensor:
    """Negative log-likelihood (sum of R,) of response tokens laid end to end, of their logits."""
    return F.cross_entropy(wide(logits_XV), torch.cat(list(responses)), reduction="none")


def without(logits_XV: torch.Tensor, left_out: range) -> torch.Tensor:
    """The logits (X, V), those of some token ids minus infinity: a softmax gives them nothing."""
    if not left_out:
        return logits_XV
    ids = torch.arange(left_out.start, left_out.stop, device=logits_XV.device)
    return logits_XV.index_fill(1, ids, -torch.inf)


def wide(x: torch.Tensor) -> torch.Tensor:
    """In 32 bits at least: what is summed over the vocabulary."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def response_logits(
    model: PreTrainedModel,
    prompts: Sequence[torch.Tensor],
    responses: Sequence[torch.Tensor],
    packed: bool = True,
    beginning: Beginning | None = None,
) -> torch.Tensor:
    """Logits (sum of R, V) of all response tokens, laid end to end."""
    (states_XD,) = response_states(model, prompts, responses, packed, beginning=beginning)
    return model.get_output_embeddings()(states_XD)


def response_states(
    model: PreTrainedModel,
    prompts: Sequence[torch.Tensor],
    responses: Sequence[torch.Tensor],
    packed: bool = True,
    layers: Sequence[int] = (),
    beginning: Beginning | None = None,
) -> list[torch.Tensor]:
    """The hidden states (sum of R, D) that predict the response tokens: those after each of
    `layers`, then those of which logits are made (see `packing.hidden_states`).

    beginning: what the LLM has read before each prompt; the prompts are what follows, packed."""
    embed = model.get_input_embeddings()
    # The last response token is predicted, never read.
    read = [embed(response_R[:-1]) for response_R in responses]
    sequences = [torch.cat([p.to(r.dtype), r]) for p, r in zip(prompts, read, strict=True)]
    predicting_X = predicting_positions(prompts, responses)
    states = hidden_states(model, sequences, packed, layers, beginning)
    return [state_TD.index_select(0, predicting_X) for state_TD in states]


def predicting_positions(
    prompts: Sequence[torch.Tensor], responses: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Packed positions that predict a response token: the prompt's last one and those after it."""
    positions, start = [], 0
    for prompt_LD, response_R in zip(prompts, responses, strict=True):
        first = start + len(prompt_LD) - 1
        positions.append(torch.arange(first, first + len(response_R)))
        start = first + len(response_R)
    return torch.cat(positions).to(prompts[0].device, non_blocking=True)
