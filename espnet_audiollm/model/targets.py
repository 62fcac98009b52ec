"""What an alignment learns from: the LLM's answer, its distributions, its hidden states.

Four terms, each a mean over the response tokens, each with a weight:

    response      cross-entropy of the response tokens (AudioChatLlama; BLSP): the sampled answer
    distribution  KL divergence from the distribution of the LLM that reads the text to that of the
                  LLM that hears, over the k most probable tokens that stage 7 kept and one bucket
                  for all others (Ultravox)
    hidden        squared distance to the hidden states of the LLM that reads the text, divided by
                  their square: a share, which means the same for every LLM. They are too large to
                  be kept: the LLM reads the text again in each step, without gradients
    risk          what the response costs more, as expected, after other tokens than the best ones
                  that the recogniser may have recognised (model/risk.py)

The teacher and the student are the same frozen LLM; only what stands in the prompt differs.
"""

# X response tokens of a batch laid end to end (sum of R), K kept tokens, V vocabulary, D LLM width

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from .beginnings import followed_by, opens
from .layers import decoder_layers
from .masking import on_host
from .packing import Beginning
from .response_loss import embed_prompt, nats, response_states, wide

TERMS = ("response", "distribution", "hidden", "risk")
LAST = -1  # of hidden layers: those of which logits are made, after the last norm
TABLES = {"distribution": "teacher", "hidden": "text_prompt"}  # data that a term needs
OPTIONS = {"distribution": "--teacher_top_k K", "hidden": "--prompt_ids"}  # of stage 7, likewise


@dataclass(frozen=True)
class Targets:
    """The weights of the terms; the paper has the response alone.

    hidden_layers: whose states are matched, the mean over them: 1 is the first decoder layer, -1
    the last, as for a list. risk_draws: token sequences drawn of each recording."""

    response: float = 1.0
    distribution: float = 0.0
    hidden: float = 0.0
    hidden_layers: tuple[int, ...] = (LAST,)
    risk: float = 0.0
    risk_draws: int = 4

    def __post_init__(self) -> None:
        weights = {name: getattr(self, name) for name in TERMS}
        for name, weight in weights.items():
            if not 0 <= weight < float("inf"):
                raise ValueError(f"--{name}_weight {weight} is not a number from 0 on")
        if not any(weights.values()):
            options = ", ".join(f"--{name}_weight" for name in TERMS)
            raise ValueError(
                f"{options} are all 0: nothing would be learned; give one of them a weight"
            )
        if self.hidden and not self.hidden_layers:
            raise ValueError("--hidden_layers is empty: -1 is the LLM's last layer")

        if self.risk and self.risk_draws < 1:
            raise ValueError(f"--risk_draws {self.risk_draws}: at least 1 is needed")

    @property
    def through_llm(self) -> bool:
        """Whether a term's gradient passes back through the LLM."""
        return bool(self.response or self.distribution or self.hidden)

    @property
    def tables(self) -> dict[str, str]:
        """The data names that the terms need, with the option of stage 7 that makes each."""
        return {TABLES[term]: OPTIONS[term] for term in TABLES if getattr(self, term)}

    def layers(self, model: PreTrainedModel) -> tuple[list[int], bool]:
        """The numbers of the layers below the last, from 1, and whether the last one counts.

        Errors (ValueError): a layer that the LLM does not have."""
        if self.hidden_layers == (LAST,):
            return [], True
        number = len(decoder_layers(model))
        wrong = [n for n in self.hidden_layers if not 1 <= abs(n) <= number]
        if wrong:
            raise ValueError(
                f"--hidden_layers: {len(wrong)} are none of the LLM's {number} layers (first: "
                f"{wrong[0]}); 1 is the first, -1 the last"
            )
        found = sorted({n % (number + 1) for n in self.hidden_layers})
        return [n for n in found if n < number], number in found

    def losses(
        self,
        model: PreTrainedModel,
        prompts: Sequence[torch.Tensor],
        responses: Sequence[torch.Tensor],
        data: Mapping[str, Any],
        packed: bool = True,
        beginning: Beginning | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """The loss to minimise, statistics, and the nats of all response tokens (X,). Of the
        statistics `loss` is the cross-entropy, whatever is minimised.

        Args:
            prompts: embeddings of what the student reads, each (L, D).
            responses: token ids, each (R,), end-of-turn token included.
            data: of the batch, with padding: `teacher_ids` (B, R, K) and `teacher_logp`
                (B, R, K + 1), `text_prompt` (B, L), and the lengths of each; what the terms need.
            beginning: what the LLM has read before each of the prompts. Text prompts are complete.

        Errors (ValueError): a table that a term needs is not among the data, or does not fit."""
        lengths = [len(response) for response in responses]
        layers, last = self.layers(model) if self.hidden else ([], False)
        states = response_states(model, prompts, responses, packed, layers, beginning)
        logits_XV = wide(model.get_output_embeddings()(states[-1]))
        nats_X = nats(logits_XV, responses)
        terms = {"response": nats_X.mean()}
        if self.distribution:
            teacher = (_cut(data, name, lengths) for name in ("teacher_ids", "teacher_logp"))
            terms["distribution"] = top_k_divergence(logits_XV, *teacher).mean()
        if self.hidden:
            read = teacher_states(model, responses, data, packed, layers, beginning)
            pairs = list(zip(states, read, strict=True))[: None if last else -1]
            distances = [relative_distance(*pair).mean() for pair in pairs]
            terms["hidden"] = torch.stack(distances).mean()
        used = [weight * terms[name] for name in terms if (weight := getattr(self, name))]
        loss = torch.stack([nats_X.new_zeros(()), *used]).sum()
        stats = self._statistics(terms, loss) | accuracies(logits_XV, responses)
        return loss, stats, nats_X.detach()

    def _statistics(
        self, terms: dict[str, torch.Tensor], loss: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Those of the paper's loss alone are as they were."""
        found = {name: term.detach() for name, term in terms.items()}
        nats_of_token = found.pop("response")
        stats = {"loss": nats_of_token, "perplexity": nats_of_token.exp()}
        stats |= {f"{name}_loss": term for name, term in found.items()}
        return stats | ({} if not found and self.response == 1 else {"total_loss": loss.detach()})


PAPER = Targets()


def top_k_divergence(
    logits_XV: torch.Tensor, ids_XK: torch.Tensor, logp_XK1: torch.Tensor
) -> torch.Tensor:
    """KL divergence (X,), in nats, from a teacher's distribution to that of the logits; all tokens
    but the K kept are one bucket, whose log-probability is the last of `logp_XK1`.

    A lower bound of the divergence over the vocabulary, and equal to it where K is V. The student's
    bucket is summed from its own tokens, not taken as 1 minus the others: that would be rounding
    errors where the LLM is certain. The teacher's rounded log-probabilities are normalised again.
    """
    p_XK1 = wide(logp_XK1).softmax(-1)
    total_X1 = logits_XV.logsumexp(-1, keepdim=True)
    kept_XK = logits_XV.gather(-1, ids_XK)
    if ids_XK.shape[-1] == logits_XV.shape[-1]:  # the bucket is empty
        p_XK1, student = p_XK1[:, :-1], kept_XK
    else:
        rest_X1 = logits_XV.scatter(-1, ids_XK, -torch.inf).logsumexp(-1, keepdim=True)
        student = torch.cat([kept_XK, rest_X1], -1)
    return torch.special.xlogy(p_XK1, p_XK1).sum(-1) - (p_XK1 * (student - total_X1)).sum(-1)


def relative_distance(states_XD: torch.Tensor, teacher_XD: torch.Tensor) -> torch.Tensor:
    """Squared distance to the teacher's state over its square (X,): 0 where they are equal, 1 where
    the student's are 0. By token: it does not depend on what else is in the batch."""
    teacher_XD = wide(teacher_XD)
    distance_X = (wide(states_XD) - teacher_XD).square().sum(-1)
    return distance_X / teacher_XD.square().sum(-1)


@torch.no_grad()
def teacher_states(
    model: PreTrainedModel,
    responses: Sequence[torch.Tensor],
    data: Mapping[str, Any],
    packed: bool,
    layers: Sequence[int],
    beginning: Beginning | None = None,
) -> list[torch.Tensor]:
    """`response_states` of the LLM that reads the text prompt.

    beginning: what the LLM has read; of no use where it is not how all text prompts begin."""
    texts = [on_host(row).tolist() for row in _rows(data, "text_prompt")]
    beginning = beginning if opens(beginning, texts) else None
    prompts = [embed_prompt(model, text) for text in followed_by(beginning, texts)]
    return response_states(model, prompts, responses, packed, layers, beginning)


@torch.no_grad()
def accuracies(
    logits_XV: torch.Tensor, responses: Sequence[torch.Tensor]
) -> dict[str, torch.Tensor]:
    """`token_acc`: the share of response tokens that are the most probable one, those before them
    given. `response_acc`: the share of responses of which all are: what greedy decoding would say.

    Over an epoch a batch's shares are weighted by its tokens, as all statistics are."""
    right_X = logits_XV.argmax(-1) == torch.cat(list(responses))
    whole_B = torch.stack([right_R.all() for right_R in right_X.split(list(map(len, responses)))])
    return {"token_acc": wide(right_X).mean(), "response_acc": wide(whole_B).mean()}


def _cut(data: Mapping[str, Any], name: str, lengths: Sequence[int]) -> torch.Tensor:
    """(X, ...): the rows of the response tokens, without padding.

    Errors (ValueError): no such data, other lengths than the responses'."""
    rows = _rows(data, name)
    wrong = [i for i, (row, n) in enumerate(zip(rows, lengths, strict=True)) if len(row) != n]
    if wrong:
        first = (data.get("utt_id") or range(len(rows)))[wrong[0]]
        raise ValueError(
            f"the teacher's distributions of {len(wrong)} of {len(rows)} utterances are not of "
            f"their responses (first: {first}, {len(rows[wrong[0]])} of {lengths[wrong[0]]} "
            "tokens): rerun stage 7"
        )
    return torch.cat(rows)


def _rows(data: Mapping[str, Any], name: str) -> list[torch.Tensor]:
    """The data of a name, each without its padding."""
    if name not in data:
        table = name.split("_")[0] if name.startswith("teacher") else name
        raise ValueError(missing_table(table, "the batch"))
    lengths = on_host(data[f"{name}_lengths"]).tolist()
    return [row[:n] for row, n in zip(data[name], lengths, strict=True)]


def missing_table(name: str, where: str) -> str:
    """What to do about a table that a term needs."""
    term = next(term for term, table in TABLES.items() if table == name)
    kind = "top_k" if name == "teacher" else "text_int"
    return (
        f"--{term}_weight needs the data '{name}', which {where} does not have: run stage 7 with "
        f"{OPTIONS[term]}, and give FILE,{name},{kind} as data of training and validation"
    )
