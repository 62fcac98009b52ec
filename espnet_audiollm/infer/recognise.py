"""Transcripts from the CTC model: the first half of a cascade (AudioChatLlama, section 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ..model.ctc import CTCESPnetModel, collapse
from ..types import Utterance
from .batches import read_batch


@torch.inference_mode()
def transcribe(
    model: CTCESPnetModel,
    detokenise: Callable[[list[str]], str],
    batch: Sequence[Utterance],
    device: str = "cpu",
) -> list[str]:
    """The transcripts of one batch: the greedy path, repeats joined and blanks dropped.

    `detokenise` turns pieces into words (SentencePiece's own)."""
    model.eval()
    log_posterior_BTV, frames_B = model.log_posteriors(*read_batch(batch, device))
    best_BT = log_posterior_BTV.argmax(-1).tolist()
    return [
        detokenise([model.token_list[i] for i in collapse(best[:frames])]).strip()
        for best, frames in zip(best_BT, frames_B.tolist(), strict=True)
    ]
