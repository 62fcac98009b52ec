"""A language model of n-grams in ESPnet's beam search: of the recogniser's own tokens."""

# V tokens of the recogniser, B hypotheses, L tokens of a hypothesis with its start

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from espnet.nets.scorer_interface import BatchScorerInterface

from ..text import arpa
from ..text.tokens import BLANK, END, UNKNOWN
from .beam_search import LOG_ZERO

UNKNOWN_WORDS = (UNKNOWN, "<UNK>")  # as KenLM and SRILM write it


class NGramScorer(BatchScorerInterface):
    """The log-probability of each next token after the last ones; its end after all.

    A token that the model lacks is its `<unk>`; the recogniser's own `<unk>` never comes where the
    model has none.

    path: an ARPA file of the recogniser's tokens, in the forms that tokens.txt has.

    Errors (ValueError): no ARPA file; it is of other tokens, or lacks some and has no `<unk>`."""

    def __init__(self, path: str | Path, token_list: Sequence[str]):
        spoken = [token for token in token_list if token not in (BLANK, END)]
        self._model = arpa.read_arpa(path, {*spoken, *UNKNOWN_WORDS})
        place_of = dict(self._model.place_of)
        check_tokens(path, spoken, place_of)
        unknown = next((place_of[word] for word in UNKNOWN_WORDS if word in place_of), 0)
        place_of |= {END: place_of[arpa.END], BLANK: 0}
        self._place_V = np.array([place_of.get(token, unknown) for token in token_list])
        self._read_V = self._place_V.copy()  # as a context: the sign that ends also begins
        self._read_V[token_list.index(END)] = place_of[arpa.BEGIN]
        scored = place_of.keys() - {BLANK}
        if any(word in place_of for word in UNKNOWN_WORDS):
            scored |= set(token_list) - {BLANK}
        self._cannot_V = np.array([token not in scored for token in token_list])

    def batch_score(
        self, ys: torch.Tensor, states: list[None], xs: torch.Tensor
    ) -> tuple[torch.Tensor, list[None]]:
        """Log-probabilities (B, V) of each hypothesis' next token; ys: (B, L)."""
        length = self._model.order - 1
        context_BL = self._read_V[ys[:, ys.shape[1] - min(length, ys.shape[1]) :].cpu().numpy()]
        rows = [self._model.log_p(context) for context in context_BL.tolist()]
        log_p_BV = np.stack(rows)[:, self._place_V]
        log_p_BV[:, self._cannot_V] = LOG_ZERO
        return torch.from_numpy(log_p_BV).to(xs.device, xs.dtype), states


def check_tokens(path: str | Path, tokens: Sequence[str], known: dict[str, int]) -> None:
    """Errors (ValueError): a model of other tokens, or one with no score for some."""
    missing = [token for token in tokens if token not in known and token != UNKNOWN]
    if not missing:
        return
    which = f"{len(missing)} of {len(tokens)} tokens of the recogniser (first: {missing[0]!r})"
    if 2 * len(missing) > len(tokens):
        raise ValueError(
            f"{path} lacks {which}, so it is a model of something else: it must be of the "
            "recogniser's tokens as tokens.txt has them (a model of words is one only for "
            "--token_type word); bin/ngram_train makes one"
        )
    if not any(word in known for word in UNKNOWN_WORDS):
        raise ValueError(
            f"{path} lacks {which}, and has no {UNKNOWN} to score them by: estimate it with an "
            "open vocabulary, or with bin/ngram_train"
        )
