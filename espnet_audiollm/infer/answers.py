"""The frozen LLM's answers to transcripts: the targets of the alignment (stage 7)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..data.prompt import decode, encode, user_prompt
from ..data.responses import Request
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
    """Answer one batch of requests, each with at most factor x its prompt's tokens.

    Errors (ValueError): the batch does not fit into the GPU's memory."""
    prompts = [encode(user_prompt(r.text, system_prompt), llm.tokenizer) for r in requests]
    limits = [max(1, int(max_tokens_factor * len(prompt))) for prompt in prompts]
    try:
        answers = generate(llm, prompts, limits, beam)
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"a batch of {len(prompts)} prompts of {len(prompts[-1])} tokens does not fit into the "
            "GPU's memory: run again with a smaller --batch_size (finished batches are kept)"
        ) from error
    return [
        Response(r.id, r.text, decode(a.ids, llm.tokenizer), a.ids, a.finish_reason)
        for r, a in zip(requests, answers, strict=True)
    ]


def check_context(llm: LLM, requests: Sequence[Request]) -> None:
    """Refuse prompts that leave no room for an answer (ValueError), before the first batch."""
    long = [r for r in requests if r.num_tokens >= llm.context]
    if long:
        raise ValueError(
            f"{len(long)} of {len(requests)} prompts do not fit the LLM's context of "
            f"{llm.context} tokens (first: {long[0].id} with {long[0].num_tokens}): remove these "
            "utterances (a smaller --max_audio in stage 2) or take an LLM with a longer context"
        )
