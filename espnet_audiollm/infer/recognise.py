"""Transcripts from the CTC model: the first half of a cascade (AudioChatLlama, section 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..model.ctc import CTCESPnetModel, collapse
from ..types import Utterance
from .batches import read_batch

if TYPE_CHECKING:
    from espnet.nets.scorer_interface import BatchScorerInterface

Recogniser = Callable[[Sequence[Utterance]], list[str]]
Labelling = Callable[[torch.Tensor], list[int]]  # log-posteriors (T, V) to tokens


def load_recogniser(
    exp: str | Path,
    checkpoint: str,
    bpemodel: str | None = None,
    device: str = "cpu",
    search: Callable[[list[str]], Labelling] | None = None,
) -> Recogniser:
    """A trained recogniser: a batch of recordings to their hypotheses.

    bpemodel: SentencePiece model; None: the one it was trained with.
    search: of the recogniser's tokens, how it decodes; None: greedily.

    Errors (ValueError): no experiment there, weights that do not fit its configuration."""
    from ..store.origins import find
    from ..tasks.ctc import CTCTask, tokenizer
    from ..train.loading import load_weights, read_config

    config = read_config(exp)
    model = CTCTask.build_model(config).to(device)
    load_weights(model, Path(exp) / checkpoint, device)
    if not bpemodel and config.bpemodel:  # maybe of another recipe
        bpemodel = find(config.bpemodel, Path(exp))
    to_text = tokenizer(config, bpemodel).text
    label = search(model.token_list) if search else greedy
    return lambda batch: transcribe(model, to_text, batch, device, label)


def greedy(log_posterior_TV: torch.Tensor) -> list[int]:
    """The best path, repeats joined and blanks dropped."""
    return collapse(log_posterior_TV.argmax(-1).tolist())


def beam_search(
    beam: int,
    lm_weight: float = 0.0,
    load_lm: Callable[[list[str]], BatchScorerInterface] | None = None,
) -> Callable[[list[str]], Labelling] | None:
    """How `load_recogniser` decodes by a beam. None: greedily, which is a beam of one without a
    language model.

    load_lm: of the recogniser's tokens, what scores them, with `lm_weight`.

    Errors (ValueError), when tokens are given: those of `load_lm`."""
    if beam == 1 and not lm_weight:
        return None
    from .beam_search import BeamSearch

    def of_tokens(token_list: list[str]) -> Labelling:
        lm = load_lm(token_list) if lm_weight and load_lm else None
        return BeamSearch(len(token_list), beam, lm, lm_weight)

    return of_tokens


@torch.inference_mode()
def transcribe(
    model: CTCESPnetModel,
    to_text: Callable[[list[str]], str],
    batch: Sequence[Utterance],
    device: str = "cpu",
    label: Labelling = greedy,
) -> list[str]:
    """The hypotheses of one batch.

    to_text: turns tokens into words (SentencePiece's own)."""
    model.eval()
    log_posterior_BTV, frames_B = model.log_posteriors(*read_batch(batch, device))
    rows = zip(log_posterior_BTV, frames_B.tolist(), strict=True)
    labels = (label(log_posterior_TV[:frames]) for log_posterior_TV, frames in rows)
    return [to_text([model.token_list[i] for i in ids]).strip() for ids in labels]
