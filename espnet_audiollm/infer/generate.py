"""Batched generation with the frozen LLM: greedy and beam search, from token ids or embeddings.

Used for the responses to transcripts (stage 7) and for answers to audio (stage 10). A row has its
own limit and leaves its place when it ends, so short answers do not wait for long ones. The
sampling settings in the model's generation configuration are not used: results are
deterministic, and a row's result does not depend on the other rows (up to float rounding).
"""

# B rows, K beams, V vocabulary

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from ..model.beginnings import common_beginning
from ..model.llm import LLM
from ..types import FinishReason
from .cache import is_plain
from .decoder import Decoder, Prompt, room


@dataclass(frozen=True)
class Generated:
    """One answer."""

    ids: tuple[int, ...]  # the end-of-turn token included when finish_reason is "stop"
    finish_reason: FinishReason
    nats: float  # summed negative log-likelihood of `ids`


@dataclass(frozen=True)
class Asked:
    """What `Generate` hands on: all of it is possible, limits are lowered to the LLM's context."""

    llm: LLM
    prompts: Sequence[Prompt]
    limits: Sequence[int]  # of each prompt
    beam: int
    names: Sequence[str]
    rows: int | None


class Generate(ABC):
    """What answers prompts: `generate`, or another engine (infer/engines.py) in its place."""

    def __call__(
        self,
        llm: LLM,
        prompts: Sequence[Prompt],
        max_new_tokens: int | Sequence[int],
        beam: int = 1,
        names: Sequence[str] | None = None,
        rows: int | None = None,
    ) -> list[Generated]:
        """Answer each prompt.

        beam: 1 is greedy; else that many hypotheses, the best by log-probability per token.
        max_new_tokens: one limit, or one for each row; the end-of-turn token counts. A limit that
        would leave the LLM's context is lowered to what fits.
        names: what errors call the prompts (default: by their place in the batch).
        rows: hypotheses that are written at the same time (default: those of all prompts); prompts
        that wait take the places of those that are answered. A server chooses for itself.

        Errors (ValueError): an empty prompt, or one that fills the context."""
        if beam < 1:
            raise ValueError(f"a beam of {beam}: at least 1")
        names, limits = limited(llm, prompts, max_new_tokens, names)
        return self.answer(Asked(llm, prompts, limits, beam, names, rows)) if prompts else []

    @abstractmethod
    def answer(self, asked: Asked) -> list[Generated]:
        """The answers to one prompt or more."""


class Transformers(Generate):
    """Generates in this process."""

    @torch.inference_mode()
    def answer(self, asked: Asked) -> list[Generated]:
        """As `Generate`."""
        llm, prompts, limits, beam = asked.llm, asked.prompts, asked.limits, asked.beam
        size = max(1, (asked.rows or len(prompts)) // (1 if asked.rows is None else beam))
        if beam == 1 and is_plain(llm):
            return Greedy(llm, prompts, limits, size).run()
        starts = range(0, len(prompts), size)
        search = partial(_beam, beam=beam) if beam > 1 else _without_refill
        parts = ((prompts[i : i + size], limits[i : i + size]) for i in starts)
        return [answer for part in parts for answer in search(llm, *part)]


generate = Transformers()


class Fitting(Generate):
    """Generates in this process, with as many rows as the GPU's memory holds: half as many after
    each failure, and no more than these in later calls.

    rows: of the first call, where the call does not say."""

    def __init__(self, rows: int | None = None):
        self._wanted = rows
        self.most: int | None = None  # rows that are tried. None: nothing has failed yet

    def answer(self, asked: Asked) -> list[Generated]:
        """As `Generate`. torch.OutOfMemoryError: one hypothesis of each beam is too much."""
        wanted = [asked.rows or self._wanted, self.most]
        rows = min((each for each in wanted if each is not None), default=None)
        try:
            return generate.answer(replace(asked, rows=rows))
        except torch.OutOfMemoryError:
            all_rows = len(asked.prompts) * asked.beam
            rows = min(rows or all_rows, all_rows)
            if rows <= asked.beam:
                raise
        torch.cuda.empty_cache()  # here the tensors of the failed attempt are free
        self.most = max(asked.beam, rows // 2)
        print(
            f"warning: {rows} hypotheses at a time (first prompt: {asked.names[0]}) do not fit "
            f"into the GPU's memory: {self.most} from here on",
            file=sys.stderr,
            flush=True,
        )
        return self.answer(asked)


def limited(
    llm: LLM,
    prompts: Sequence[Prompt],
    max_new_tokens: int | Sequence[int],
    names: Sequence[str] | None,
) -> tuple[Sequence[str], list[int]]:
    """The name of each prompt, and its limit, lowered to what the LLM's context leaves.

    Errors (ValueError): as for `Generate`."""
    if isinstance(max_new_tokens, int):
        max_new_tokens = [max_new_tokens] * len(prompts)
    if len(max_new_tokens) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts, but {len(max_new_tokens)} limits")
    names = names or [f"prompt {i} of the batch" for i in range(len(prompts))]
    limits = [_limit(llm, *row) for row in zip(names, prompts, max_new_tokens, strict=True)]
    return names, limits


def _without_refill(llm: LLM, prompts: Sequence[Prompt], limits: Sequence[int]) -> list[Generated]:
    """Of an LLM whose layers forget: a row cannot take the place of another."""
    return Greedy(llm, prompts, limits, len(prompts)).run()


class Greedy:
    """Greedy answers to prompts, so many rows at a time. A row whose answer has ended reads nothing
    until a waiting prompt takes its place; when none waits, ended rows are left out of the batch, a
    quarter of it at once, since that copies the others."""

    REFILL, SHRINK = 8, 4  # when one of so many rows has ended
    PADDING = 0.1  # share of the positions that may be padding before every row

    def __init__(self, llm: LLM, prompts: Sequence[Prompt], limits: Sequence[int], rows: int):
        self._prompts, self._limits = Prompts(llm, prompts), limits
        self._eos = set(llm.eos_ids)
        self._ids: list[list[int]] = [[] for _ in prompts]
        self._nats = [0.0] * len(prompts)
        self._reasons: dict[int, FinishReason] = {}  # of the prompts that are answered
        self._waiting = list(range(len(prompts)))
        self._rows = self._next(rows)  # the prompt of each row
        self._decoder, self._tokens = self._begin(self._rows)  # the last token of each row

    def run(self) -> list[Generated]:
        """The answers, in the order of the prompts."""
        while self._settle():
            alive = [prompt not in self._reasons for prompt in self._rows]
            device = self._decoder.device
            tokens_B, alive_B = torch.tensor([self._tokens, alive], device=device)
            logp_BV = self._decoder.step(tokens_B, None if all(alive) else alive_B)
            self._tokens = self._choose(self._rows, logp_BV)
        answers = enumerate(zip(self._ids, self._nats, strict=True))
        return [Generated(tuple(ids), self._reasons[i], nats) for i, (ids, nats) in answers]

    def _next(self, count: int) -> list[int]:
        """Prompts that have waited."""
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    def _begin(self, prompts: list[int]) -> tuple[Decoder, list[int]]:
        decoder, logp_BV = self._prompts.read(prompts)
        return decoder, self._choose(prompts, logp_BV)

    def _choose(self, prompts: list[int], logp_BV: torch.Tensor) -> list[int]:
        """The most probable token of each row; it counts for the rows that have not ended."""
        best_B = logp_BV.max(dim=-1)
        tokens = best_B.indices.tolist()
        for prompt, token, logp in zip(prompts, tokens, best_B.values.tolist(), strict=True):
            if prompt in self._reasons:
                continue
            self._ids[prompt].append(token)
            self._nats[prompt] -= logp
            if token in self._eos:
                self._reasons[prompt] = "stop"
            elif len(self._ids[prompt]) == self._limits[prompt]:
                self._reasons[prompt] = "length"
        return tokens

    def _settle(self) -> bool:
        """Places for prompts that wait, and fewer rows where none does; False: all is answered."""
        while self._waiting and self.REFILL * len(self._ended()) >= len(self._rows):
            self._refill(self._ended())
        ended = self._ended()
        if len(ended) == len(self._rows):
            return False
        if self.SHRINK * len(ended) >= len(self._rows):
            self._shrink(set(ended))
        return True

    def _ended(self) -> list[int]:
        """Rows whose answers have ended."""
        return [row for row, prompt in enumerate(self._rows) if prompt in self._reasons]

    def _refill(self, places: list[int]) -> None:
        prompts = self._next(len(places))
        places = places[: len(prompts)]
        decoder, tokens = self._begin(prompts)
        self._decoder.replace(places, decoder)
        self._decoder.trim(self.PADDING)
        for place, prompt, token in zip(places, prompts, tokens, strict=True):
            self._rows[place], self._tokens[place] = prompt, token

    def _shrink(self, ended: set[int]) -> None:
        kept = [row for row in range(len(self._rows)) if row not in ended]
        self._decoder.select(kept)
        self._rows = [self._rows[row] for row in kept]
        self._tokens = [self._tokens[row] for row in kept]


class Prompts:
    """Prompts for one LLM. The positions with which all of them begin, a system turn for instance,
    are computed once."""

    LEAST = 16  # positions that are worth it

    def __init__(self, llm: LLM, prompts: Sequence[Prompt]):
        self.llm, self.prompts = llm, prompts
        several = len(prompts) > 1 and is_plain(llm)
        self.common = common_beginning(prompts, self.LEAST) if several else 0
        if self.common:
            self._beginning = Decoder(llm)
            self._beginning.read([prompts[0][: self.common]])

    def read(self, numbers: Sequence[int]) -> tuple[Decoder, torch.Tensor]:
        """A decoder that has read these prompts, a row each, and the log-probabilities (B, V) of
        what comes after them."""
        decoder = Decoder(self.llm)
        if self.common:
            decoder = self._beginning.fork()
            decoder.select([0] * len(numbers))
        return decoder, decoder.read([self.prompts[n][self.common :] for n in numbers])


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


def _beam(llm: LLM, prompts: Sequence[Prompt], limits: Sequence[int], beam: int) -> list[Generated]:
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
