"""ROUGE of summaries, by rouge-score (Google Research): F1, mean over the utterances.

English: its own tokenizer (ASCII letters and digits) and Porter stemmer, as is usual for ROUGE.
Other languages: the words of `text.normalize`, no stemmer; of a language without blanks its
characters. ROUGE-L is of the complete summary
(rougeL), not of its lines.

N utterances, R resamples, M measures
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np

from ..store.tables import check_none_empty, check_same_ids
from ..text.languages import by_code
from ..text.normalize import normalizer, words
from .bootstrap import RESAMPLES, Units, bootstrap_sums, percentile_interval, two_sided_p

MEASURES = ("rouge1", "rouge2", "rougeL")


@dataclass(frozen=True)
class RougeScores:
    """Of one system, 0 to 100; {measure: ...} for `MEASURES`."""

    utterances: int
    values: dict[str, float]
    ci95: dict[str, tuple[float, float]]  # paired bootstrap over utterances
    signature: str
    values_RM: np.ndarray = field(repr=False)  # of each resample

    def as_dict(self) -> dict:
        """For results.json."""
        intervals = {name: list(interval) for name, interval in self.ci95.items()}
        kept = {"utterances": self.utterances, "signature": self.signature}
        return {**kept, **self.values, "ci95": intervals}


@dataclass(frozen=True)
class _Words:
    """The tokenizer of languages other than English."""

    language: str  # code, without a region

    def tokenize(self, text: str) -> list[str]:
        known = by_code(self.language)
        unspaced = known is not None and not known.spaced
        return normalizer(self.language)(text).split() if unspaced else words(text)


def rouge(
    references: Mapping[str, str],
    responses: Mapping[str, str],
    language: str = "en",
    resamples: int = RESAMPLES,
    seed: int = 0,
    units: Units = None,
) -> RougeScores:
    """Score `responses` {id: text} against one summary each.

    ValueError when they are not of the same utterances, or a reference summary is empty."""
    from rouge_score.rouge_scorer import RougeScorer

    check_same_ids(references, responses, "the responses", "rerun stage 10")
    empty = [id for id, text in references.items() if not words(text)]
    what = "reference summaries are empty"
    check_none_empty(empty, len(references), what, "correct the table summary")
    code = language.replace("_", "-").partition("-")[0].lower()
    tokenizer = None if code == "en" else _Words(code)
    scorer = RougeScorer(MEASURES, use_stemmer=tokenizer is None, tokenizer=tokenizer)
    scores_NM = np.array(
        [
            [100.0 * one.fmeasure for one in scorer.score(text, responses[id]).values()]
            for id, text in references.items()
        ]
    )
    counted_NM = np.column_stack([scores_NM, np.ones(len(scores_NM))])
    sums_RM = bootstrap_sums(counted_NM, resamples, seed, units)
    values_RM = sums_RM[:, :-1] / sums_RM[:, -1:]
    form = "words" if tokenizer else "stemmed"
    signature = f"rouge-score:{version('rouge-score')}|{form}|f1|mean"
    means = dict(zip(MEASURES, scores_NM.mean(axis=0).tolist(), strict=True))
    intervals = map(percentile_interval, values_RM.T)
    ci95 = dict(zip(MEASURES, intervals, strict=True))
    return RougeScores(len(scores_NM), means, ci95, signature, values_RM)


def p_value(a: RougeScores, b: RougeScores, measure: str = "rougeL") -> float:
    """Two-sided paired-bootstrap p-value of a difference; see `translation.p_value`."""
    assert a.utterances == b.utterances
    m = MEASURES.index(measure)
    return two_sided_p(a.values_RM[:, m] - b.values_RM[:, m])
