"""How alike voices are: mean cosines of speaker embeddings, with intervals.

Voice similarity compares generated speech with a recording of the voice that it should have,
acoustic consistency the first half of a recording with the rest of it. A cosine by itself says
little: it stands beside another true recording of the same speaker (the ceiling) and one of another
speaker (the floor).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from .bootstrap import RESAMPLES, bootstrap_sums, percentile_interval


@dataclass(frozen=True)
class MeanCosine:
    """Of `recordings` pairs of embeddings."""

    mean: float
    ci95: tuple[float, float]
    recordings: int


@dataclass(frozen=True)
class VoiceScores:
    """Of one system's speech. None: there was nothing to compare."""

    similarity: MeanCosine | None
    consistency: MeanCosine | None

    def as_dict(self) -> dict:
        """For a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping) -> VoiceScores:
        """What `as_dict` made. Errors (ValueError): something else."""
        try:
            return cls(*(_cosine_of(found[name]) for name in ("similarity", "consistency")))
        except (KeyError, TypeError) as error:
            raise ValueError(f"no voice scores ({error}): judge the speech again") from error


def _cosine_of(found: Mapping | None) -> MeanCosine | None:
    if found is None:
        return None
    low, high = found["ci95"]
    return MeanCosine(float(found["mean"]), (float(low), float(high)), int(found["recordings"]))


def mean_cosine(
    cosines: Mapping[str, float],
    speakers: Mapping[str, str],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> MeanCosine | None:
    """The mean of {id: cosine}; None: there are none. The interval is over speakers, {id: name},
    or over recordings where there is one speaker."""
    if not cosines:
        return None
    stats_N2 = np.array([(cosine, 1.0) for cosine in cosines.values()])
    names = [speakers[id_] for id_ in cosines]
    units = names if len(set(names)) > 1 else None
    sums_R2 = bootstrap_sums(stats_N2, resamples, seed, units)
    interval = percentile_interval(sums_R2[:, 0] / sums_R2[:, 1])
    return MeanCosine(float(stats_N2[:, 0].mean()), interval, len(cosines))
