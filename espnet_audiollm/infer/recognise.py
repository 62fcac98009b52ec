"""Transcripts from the CTC model: the first half of a cascade (AudioChatLlama, section 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from ..model.ctc import CTCESPnetModel, collapse
from ..types import Seconds, Utterance
from .batches import audio_batches, read_batch


@torch.inference_mode()
def transcribe(
    model: CTCESPnetModel,
    detokenise: Callable[[list[str]], str],
    utterances: Sequence[Utterance],
    batch_seconds: Seconds = 120.0,
    device: str = "cpu",
) -> Iterator[list[tuple[str, str]]]:
    """Yield batches of (id, transcript): the greedy path, repeats joined and blanks dropped.

    `detokenise` turns pieces into words (SentencePiece's own)."""
    model.eval()
    for batch in audio_batches(utterances, batch_seconds):
        log_posterior_BTV, frames_B = model.log_posteriors(*read_batch(batch, device))
        best_BT = log_posterior_BTV.argmax(-1).tolist()
        rows = zip(batch, best_BT, frames_B.tolist(), strict=True)
        yield [
            (utt.id, detokenise([model.token_list[i] for i in collapse(best[:frames])]).strip())
            for utt, best, frames in rows
        ]
