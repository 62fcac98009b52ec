"""The frozen LLM's answers to transcripts: the targets of the alignment (stage 7)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..data.kaldi_dir import Row
from ..data.prompt import decode, encode, user_prompt
from ..store.responses import Request
from ..model.llm import LLM
from ..types import Response
from .generate import generate


def answer_texts(
    llm: LLM,
    requests: Sequence[Request],
    system_prompt: str | None = None,
    max_tokens_factor: float = 4.0,
    beam: int = 1,
) -> list[Response]:
    """Answer one batch of requests, each with at most factor x its prompt's tokens."""
    prompts = [encode(user_prompt(r.text, system_prompt), llm.tokenizer) for r in requests]
    limits = [max(1, int(max_tokens_factor * len(prompt))) for prompt in prompts]
    answers = generate(llm, prompts, limits, beam, names=[r.id for r in requests])
    return [
        Response(r.id, r.text, decode(a.ids, llm.tokenizer), a.ids, a.finish_reason)
        for r, a in zip(requests, answers, strict=True)
    ]


def check_context(llm: LLM, rows: Iterable[Row], system_prompt: str | None = None) -> None:
    """Refuse transcripts (id, text) that leave no room for an answer (ValueError), before the first
    batch.

    A token stands for a byte at least, so only long transcripts are tokenised here. (Where a
    tokenizer's normalisation makes text longer, `generate` finds what slips through.)"""
    around = len(encode(user_prompt("a", system_prompt), llm.tokenizer))
    total, long, first = 0, 0, ""
    for id_, text in rows:
        total += 1
        if len(text.encode()) + around < llm.context:
            continue
        length = len(encode(user_prompt(text, system_prompt), llm.tokenizer))
        if length >= llm.context:
            long, first = long + 1, first or f"{id_} with {length}"
    if long:
        raise ValueError(
            f"{long} of {total} prompts do not fit the LLM's context of "
            f"{llm.context} tokens (first: {first}): remove these "
            "utterances (a smaller --max_audio in stage 2) or take an LLM with a longer context"
        )
