"""Batched generation with the frozen LLM: greedy and beam search, from token ids or embeddings.

Used for the responses to transcripts (stage 7) and for answers to audio (stage 10). A row has its
own limit and leaves the batch when it ends, so short answers do not wait for long ones. The
sampling settings in the model's generation configuration are not used: results are
deterministic, and a row's result does not depend on the other rows (up to float rounding).
"""

# B rows, K beams, V vocabulary

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from ..model.llm import LLM
from ..types import FinishReason
from .decoder import Decoder, Prompt, room


@dataclass(frozen=True)
class Generated:
    """One answer."""

    ids: tuple[int, ...]  # the end-of-turn token included when finish_reason is "stop"
    finish_reason: FinishReason
    nats: float  # summed negative log-likelihood of `ids`


class Generate(Protocol):
    """What answers prompts: `generate`, or another engine (infer/engines.py) in its place."""

    def __call__(
        self,
        llm: LLM,
        prompts: Sequence[Prompt],
        max_new_tokens: int | Sequence[int],
        beam: int = 1,
        names: Sequence[str] | None = None,
    ) -> list[Generated]:
        """As `generate`."""
        ...


@torch.inference_mode()
def generate(
    llm: LLM,
    prompts: Sequence[Prompt],
    max_new_tokens: int | Sequence[int],
    beam: int = 1,
    names: Sequence[str] | None = None,
) -> list[Generated]:
    """Answer each prompt; the prompts are one batch.

    beam: 1 is greedy; else that many hypotheses, the best by log-probability per token.
    max_new_tokens: one limit, or one for each row; the end-of-turn token counts. A limit that
    would leave the LLM's context is lowered to what fits.
    names: what errors call the prompts (default: by their place in the batch).

    Errors (ValueError): an empty prompt, or one that fills the context."""
    if beam < 1:
        raise ValueError(f"a beam of {beam}: at least 1")
    _, limits = rows(llm, prompts, max_new_tokens, names)
    if not prompts:
        return []
    return _greedy(llm, prompts, limits) if beam == 1 else _beam(llm, prompts, limits, beam)


def rows(
    llm: LLM,
    prompts: Sequence[Prompt],
    max_new_tokens: int | Sequence[int],
    names: Sequence[str] | None,
) -> tuple[Sequence[str], list[int]]:
    """The name of each prompt, and its limit, lowered to what the LLM's context leaves.

    Errors (ValueError): as for `generate`."""
    if isinstance(max_new_tokens, int):
        max_new_tokens = [max_new_tokens] * len(prompts)
    if len(max_new_tokens) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts, but {len(max_new_tokens)} limits")
    names = names or [f"prompt {i} of the batch" for i in range(len(prompts))]
    limits = [_limit(llm, *row) for row in zip(names, prompts, max_new_tokens, strict=True)]
    return names, limits


def _greedy(llm: LLM, prompts: Sequence[Prompt], limits: list[int]) -> list[Generated]:
    decoder = Decoder(llm)
    eos = set(llm.eos_ids)
    done: dict[int, Generated] = {}
    ids: list[list[int]] = [[] for _ in prompts]
    nats = [0.0] * len(prompts)
    alive = list(range(len(prompts)))
    logp_BV = decoder.read(prompts)
    while True:
        best_B = logp_BV.max(dim=-1)
        keep = []
        values = zip(best_B.indices.tolist(), best_B.values.tolist(), strict=True)
        for place, (row, (token, logp)) in enumerate(zip(alive, values, strict=True)):
            ids[row].append(token)
            nats[row] -= logp
            if token in eos or len(ids[row]) == limits[row]:
                reason: FinishReason = "stop" if token in eos else "length"
                done[row] = Generated(tuple(ids[row]), reason, nats[row])
            else:
                keep.append(place)
        if not keep:
            return [done[row] for row in range(len(prompts))]
        alive = [alive[place] for place in keep]
        decoder.select(keep)
        logp_BV = decoder.step(best_B.indices[keep])


@dataclass
class _Search:
    """Beam search of one row. A hypothesis is its ids and their summed log-probability."""

    beam: int
    limit: int
    eos: frozenset[int]
    alive: list[tuple[tuple[int, ...], float]]
    ended: list[Generated]
    over: bool = False

    def advance(self, logp_KV: torch.Tensor) -> list[int]:
        """Extend the living hypotheses; the index of the parent of each that lives on."""
        scores_K = logp_KV.new_tensor([score for _, score in self.alive])
        total = (scores_K[:, None] + logp_KV).flatten()
        best = total.topk(min(2 * self.beam, len(total)))  # K of these may be ends of turns
        alive, parents = list[tuple[tuple[int, ...], float]](), list[int]()
        candidates = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        for rank, (place, score) in enumerate(candidates):
            parent, token = divmod(place, logp_KV.shape[1])
            ids = (*self.alive[parent][0], token)
            if token in self.eos or len(ids) == self.limit:
                if rank < self.beam:
                    reason: FinishReason = "stop" if token in self.eos else "length"
                    self.ended.append(Generated(ids, reason, -score))
            elif len(alive) < self.beam:
                alive.append((ids, score))
                parents.append(parent)
        self.ended = sorted(self.ended, key=_nats_per_token)[: self.beam]
        self.alive = alive
        self.over = not alive or self._settled()
        return parents

    def _settled(self) -> bool:
        """No living hypothesis is better than the worst of enough ended ones."""
        ids, score = self.alive[0]
        return len(self.ended) == self.beam and -score / len(ids) >= _nats_per_token(self.ended[-1])


def _nats_per_token(hypothesis: Generated) -> float:
    """Hypotheses of different lengths are compared by this (length penalty 1)."""
    return hypothesis.nats / len(hypothesis.ids)


def _beam(llm: LLM, prompts: Sequence[Prompt], limits: list[int], beam: int) -> list[Generated]:
    decoder = Decoder(llm)
    eos = frozenset(llm.eos_ids)
    searches = [_Search(beam, limit, eos, [((), 0.0)], []) for limit in limits]
    living = list(searches)
    logp_NV = decoder.read(prompts)  # N: the living hypotheses of the living rows, in order
    while True:
        keep: list[int] = []
        start = 0
        for search in living:
            stop = start + len(search.alive)
            parents = search.advance(logp_NV[start:stop])
            keep += [] if search.over else [start + parent for parent in parents]
            start = stop
        living = [search for search in living if not search.over]
        if not living:
            return [search.ended[0] for search in searches]
        decoder.select(keep)
        tokens = [ids[-1] for search in living for ids, _ in search.alive]
        logp_NV = decoder.step(torch.tensor(tokens, device=logp_NV.device))


def _limit(llm: LLM, name: str, prompt: Prompt, wanted: int) -> int:
    """The row's limit, lowered to what the LLM's context leaves."""
    if wanted < 1:
        raise ValueError(f"{name} may have {wanted} new tokens: at least 1")
    return min(wanted, room(llm, name, prompt))
