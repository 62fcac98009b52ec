"""How well generated speech says what it should, from what a judge recognised in it.

ASR-WER and ASR-BLEU are of a recogniser's text, so that its own errors count: they say something
beside those of true speech and of only resynthesised true units (ceilings), and of shuffled units
(the floor). Intervals are paired bootstraps over utterances, the same draws for all systems.
"""

# N utterances, R resamples

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..text.normalize import normalize
from .bootstrap import RESAMPLES, rate_intervals
from .success import SuccessCount, count, judge, normalize_all
from .translation import TranslationScores, translation_scores
from .wer import WordErrors, total, utterance_errors


@dataclass(frozen=True)
class RecognisedSpeech:
    """Scores of one system's speech."""

    utterances: int
    errors: WordErrors
    wer_ci95: tuple[float, float]
    bleu: TranslationScores = field(repr=False)
    exact: SuccessCount  # utterances without any error
    empty: int  # in which nothing was recognised
    success: SuccessCount | None = None  # spoken answers. None: no accepted answers are known

    def as_dict(self) -> dict:
        """For a JSON file."""
        counts = {"exact": self.exact, "success": self.success}
        rates = {
            name: value and {"count": value.successes, "rate": value.rate, "ci95": value.ci95}
            for name, value in counts.items()
        }
        return {
            "utterances": self.utterances,
            **self.errors.as_dict(),
            "wer_ci95": list(self.wer_ci95),
            "asr_bleu": self.bleu.bleu,
            "asr_bleu_ci95": list(self.bleu.bleu_ci95),
            "bleu_signature": self.bleu.bleu_signature,
            "empty": self.empty,
            **rates,
        }


def score_speech(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    accepted: Mapping[str, Sequence[str]] | None = None,
    rule: str = "contains",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> RecognisedSpeech:
    """Score what was recognised, {id: text}, against what was to be said. Both are normalised
    first, for BLEU, too: a recogniser writes no case and no punctuation.

    accepted: answers of each utterance, any of which makes it a success, as the rule looks for it.

    Errors (ValueError): other ids, references without words, an accepted answer that the rule
    cannot look for."""
    errors = utterance_errors(references, hypotheses)
    counts_N2 = np.array([(each.errors, each.reference_words) for each in errors.values()])
    said, understood = (
        {id: normalize(text) for id, text in t.items()} for t in (references, hypotheses)
    )
    success = None
    if accepted is not None:
        success = count(judge(hypotheses, references, normalize_all(accepted, rule), rule))
    return RecognisedSpeech(
        len(errors),
        total(errors.values()),
        rate_intervals([counts_N2], resamples, seed)[0],
        translation_scores(said, understood, resamples=resamples, seed=seed),
        count({id: each.errors == 0 for id, each in errors.items()}),
        sum(not text for text in understood.values()),
        success,
    )
