"""BLEU and chrF of translations, by sacrebleu, over the corpus.

The tokenizer of BLEU depends on the language translated into: "zh" for Chinese, "char" for other
languages written without spaces (as CoVoST 2 does for Japanese; sacrebleu's "ja-mecab" would need
a dictionary), else "13a". It stands in the signature. Case and punctuation count.

N utterances, R resamples, F statistics that sacrebleu sums over the corpus
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..store.tables import check_none_empty, check_same_ids
from .bootstrap import RESAMPLES, Units, bootstrap_sums, percentile_interval, two_sided_p

NO_SPACES = ("ja", "th", "lo", "km", "my", "bo", "dz")  # ISO 639-1


@dataclass(frozen=True)
class TranslationScores:
    """Of one system; sacrebleu's scale, 0 to 100."""

    utterances: int
    bleu: float
    bleu_ci95: tuple[float, float]  # paired bootstrap over utterances
    bleu_signature: str
    chrf: float
    chrf_ci95: tuple[float, float]
    chrf_signature: str
    bleu_R: np.ndarray = field(repr=False)  # of each resample
    chrf_R: np.ndarray = field(repr=False)

    def as_dict(self) -> dict:
        """For results.json."""
        kept = {name: value for name, value in vars(self).items() if not name.endswith("_R")}
        return {**kept, "bleu_ci95": list(self.bleu_ci95), "chrf_ci95": list(self.chrf_ci95)}


def bleu_tokenizer(target_lang: str | None) -> str:
    """sacrebleu's name of it. `target_lang`: "de", "zh-CN", ...; None: a language with spaces."""
    language = (target_lang or "").replace("_", "-").split("-")[0].lower()
    if language in ("zh", "yue"):
        return "zh"
    return "char" if language in NO_SPACES else "13a"


def translation_scores(
    references: Mapping[str, str],
    responses: Mapping[str, str],
    target_lang: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    units: Units = None,
) -> TranslationScores:
    """Score `responses` {id: text} against one translation each.

    ValueError when they are not of the same utterances, or a reference translation is empty."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    check_same_ids(references, responses, "the responses", "rerun stage 10")
    empty = [id for id, text in references.items() if not text.strip()]
    what = "reference translations are empty"
    check_none_empty(empty, len(references), what, "correct the table translation")
    theirs, ours = list(references.values()), [responses[id] for id in references]
    bleu, chrf = BLEU(tokenize=bleu_tokenizer(target_lang)), CHRF()
    bleu_score, bleu_R = _score(bleu, ours, theirs, resamples, seed, units)
    chrf_score, chrf_R = _score(chrf, ours, theirs, resamples, seed, units)
    return TranslationScores(
        len(ours),
        bleu_score,
        percentile_interval(bleu_R),
        str(bleu.get_signature()),
        chrf_score,
        percentile_interval(chrf_R),
        str(chrf.get_signature()),
        bleu_R,
        chrf_R,
    )


def _score(
    metric: Any, ours: list[str], theirs: list[str], resamples: int, seed: int, units: Units
) -> tuple[float, np.ndarray]:
    """The corpus score and that of each resample (R,), from sums of sentence statistics."""
    score = metric.corpus_score(ours, [theirs]).score
    stats_NF = np.array(metric._extract_corpus_statistics(ours, [theirs]))
    sums_RF = bootstrap_sums(stats_NF, resamples, seed, units)
    scores = (metric._compute_score_from_stats(sums_F.astype(int).tolist()) for sums_F in sums_RF)
    return score, np.array([one.score for one in scores])


def p_value(a: TranslationScores, b: TranslationScores, measure: str = "bleu") -> float:
    """Two-sided paired-bootstrap p-value of the difference of two systems in "bleu" or "chrf".

    Both of the same utterances, in the same order, with the same resamples and seed."""
    assert a.utterances == b.utterances
    return two_sided_p(getattr(a, f"{measure}_R") - getattr(b, f"{measure}_R"))
