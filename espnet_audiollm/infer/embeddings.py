"""Embeddings of audio beside those of its transcript (AudioChatLlama, section 4.4, Figure 3)."""

# T tokens of a transcript, D LLM width

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..data.prompt import content_ids, user_prompt
from ..model.llm import LLM
from ..model.response_loss import embed_prompt

SPACES = ("\u2581", "\u0120", " ")  # how tokens spell it: SentencePiece, byte-level BPE, plainly


@torch.inference_mode()
def embed_transcript(
    llm: LLM, text: str, system_prompt: str | None
) -> tuple[list[int], torch.Tensor]:
    """What stands in the prompt where the audio would: T tokens, and their embeddings (T, D)."""
    turns = user_prompt(text, system_prompt)
    ids = content_ids(turns, len(turns) - 1, llm.tokenizer)
    return ids, embed_prompt(llm.model, ids)


def word_starts(ids: Sequence[int], llm: LLM) -> list[int]:
    """The places in `ids` where a word begins: the first, and those that open with a space."""
    tokens = llm.tokenizer.convert_ids_to_tokens(ids)
    return [i for i, token in enumerate(tokens) if i == 0 or token.startswith(SPACES)]


def spell(ids: Sequence[int], llm: LLM) -> list[str]:
    """Each token as a text of its own."""
    return [llm.tokenizer.decode([token]).strip() for token in ids]
