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
from .packing import packed_hidden_states, padded_hidden_states


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
) -> list[torch.Tensor]:
    """Negative log-likelihood (nats) of every response token: one (R,) for each utterance.

    Args:
        prompts: embeddings, each (L, D), L at least 1.
        responses: token ids, each (R,), R at least 1, the end-of-turn token included.
        packed: lay the sequences end to end (False: pad them to the longest).
    """
    logits_XV = response_logits(model, prompts, responses, packed)
    wide = torch.promote_types(logits_XV.dtype, torch.float32)
    nats_X = F.cross_entropy(logits_XV.to(wide), torch.cat(list(responses)), reduction="none")
    return list(nats_X.split([len(r) for r in responses]))


def response_logits(
    model: PreTrainedModel,
    prompts: Sequence[torch.Tensor],
    responses: Sequence[torch.Tensor],
    packed: bool = True,
) -> torch.Tensor:
    """Logits (sum of R, V) of all response tokens, laid end to end."""
    embed = model.get_input_embeddings()
    # The last response token is predicted, never read.
    read = [embed(response_R[:-1]) for response_R in responses]
    sequences = [torch.cat([p.to(r.dtype), r]) for p, r in zip(prompts, read, strict=True)]
    run = packed_hidden_states if packed else padded_hidden_states
    hidden_TD = run(model, sequences)
    predicting_X = predicting_positions(prompts, responses)
    return model.get_output_embeddings()(hidden_TD.index_select(0, predicting_X))


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
