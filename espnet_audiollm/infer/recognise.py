"""Transcripts from the CTC model: the first half of a cascade (AudioChatLlama, section 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ..model.ctc import CTCESPnetModel, collapse
from ..types import Utterance
from .batches import read_batch

Recogniser = Callable[[Sequence[Utterance]], list[str]]


def load_recogniser(
    exp: str | Path, checkpoint: str, bpemodel: str | None = None, device: str = "cpu"
) -> Recogniser:
    """A trained recogniser: a batch of recordings to their hypotheses.

    bpemodel: SentencePiece model; None: the one it was trained with.

    Errors (ValueError): no experiment there, weights that do not fit its configuration."""
    from ..tasks.ctc import CTCTask, tokenizer
    from ..train.loading import load_weights, read_config

    config = read_config(exp)
    model = CTCTask.build_model(config).to(device)
    load_weights(model, Path(exp) / checkpoint, device)
    to_text = tokenizer(config, bpemodel).text
    return lambda batch: transcribe(model, to_text, batch, device)


@torch.inference_mode()
def transcribe(
    model: CTCESPnetModel,
    to_text: Callable[[list[str]], str],
    batch: Sequence[Utterance],
    device: str = "cpu",
) -> list[str]:
    """The hypotheses of one batch: the greedy path, repeats joined and blanks dropped.

    to_text: turns tokens into words (SentencePiece's own)."""
    model.eval()
    log_posterior_BTV, frames_B = model.log_posteriors(*read_batch(batch, device))
    best_BT = log_posterior_BTV.argmax(-1).tolist()
    return [
        to_text([model.token_list[i] for i in collapse(best[:frames])]).strip()
        for best, frames in zip(best_BT, frames_B.tolist(), strict=True)
    ]
