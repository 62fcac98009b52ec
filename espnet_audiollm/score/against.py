"""Success against the best cascade: is AudioLLM right more often than what one would use instead?

Systems are compared utterance by utterance: those that both answer rightly, or neither, say nothing
of a difference. Where utterances are independent it is McNemar's exact test; where those of one
speaker (or another unit) are drawn together, the paired bootstrap over these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from .bootstrap import RESAMPLES, Units, bootstrap_sums, two_sided_p
from .success import SuccessCount, count, only, p_value

Verdicts = Mapping[str, bool]  # {id: success}


@dataclass(frozen=True)
class Against:
    """One system's success against another's."""

    label: str
    other: str  # label of the one that it is compared with
    success: SuccessCount
    other_success: SuccessCount
    only_here: int  # right here and wrong there
    only_there: int
    p_value: float  # two-sided
    test: str  # "mcnemar", or "bootstrap" over units

    def as_dict(self) -> dict:
        """For results.json."""
        return asdict(self) | {
            "success_rate": self.success.rate,
            "other_success_rate": self.other_success.rate,
        }


def compare(
    label: str,
    other: str,
    verdicts: Mapping[str, Verdicts],
    units: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Against:
    """The systems `label` and `other` of the verdicts. units: what is drawn together, by id; None:
    each utterance by itself."""
    here, there = verdicts[label], verdicts[other]
    counts = count(here), count(there), *only(here, there)
    if units is None:
        return Against(label, other, *counts, p_value(here, there), "mcnemar")
    difference_N1 = np.array([[float(here[id]) - float(there[id])] for id in here])
    drawn: Units = [units[id] for id in here]
    differences_R = bootstrap_sums(difference_N1, resamples, seed, drawn)[:, 0]
    return Against(label, other, *counts, two_sided_p(differences_R), "bootstrap")
