"""Splitting by speakers: no speaker is in two parts, and parts are as large as was asked.

Speakers come in an order of chance, which the seed decides; each goes to the part that lacks most,
so what is large is filled first, and a part misses its size by about one speaker at most. That
every part gets a speaker comes before its size."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data import kaldi_dir
from ..types import Seconds
from . import selection

SIZE = re.compile(r"(?P<number>\d*\.?\d+)(?P<unit>%|h|spk|)$")
EXAMPLES = "0.9, 90%, 2h (hours), 500 (utterances), 20spk (speakers), or rest"


@dataclass(frozen=True)
class Part:
    """A directory to make, and how large."""

    directory: str
    size: str  # as given

    def share(self, total: Total) -> float | None:
        """Of all utterances (of all hours, of all speakers, by its unit); None: the rest."""
        if self.size == "rest":
            return None
        found = SIZE.match(self.size)
        if not found or not float(found["number"]):
            raise ValueError(f"{self.directory}={self.size}: a size is one of {EXAMPLES}")
        number, unit = float(found["number"]), found["unit"]
        if unit == "h":
            return number * 3600 / total.seconds
        if unit == "spk":
            return number / len(total.speakers)
        if unit == "%":
            return number / 100
        return number if "." in found["number"] else number / total.utterances

    @property
    def unit(self) -> str:
        """Of what it is a share: "h", "spk", or "" for utterances."""
        return next((unit for unit in ("h", "spk") if self.size.endswith(unit)), "")


@dataclass(frozen=True)
class Total:
    """What there is to split."""

    speakers: dict[str, list[float]]  # {speaker: [utterances, seconds]}
    utterances: int
    seconds: Seconds  # 0: not asked for

    def shares(self, speaker: str) -> dict[str, float]:
        """{unit: share} of a speaker."""
        utterances, seconds = self.speakers[speaker]
        return {
            "": utterances / self.utterances,
            "h": seconds / self.seconds if self.seconds else 0.0,
            "spk": 1 / len(self.speakers),
        }


def measure(directory: str | Path, with_hours: bool) -> Total:
    """What a directory has. Raises ValueError where that is nothing."""
    speakers: dict[str, list[float]] = {}
    directory, utterances, total = Path(directory), 0, 0.0
    lengths = selection.durations(directory) if with_hours else None
    for _, speaker in kaldi_dir.read_table(directory / "utt2spk"):
        seconds = next(lengths, 0.0) if lengths else 0.0
        counts = speakers.setdefault(speaker, [0, 0.0])
        counts[0] += 1
        counts[1] += seconds
        utterances, total = utterances + 1, total + seconds
    if not utterances:
        raise ValueError(f"{directory}/utt2spk is empty: run the stage that makes it again")
    if with_hours and not total:
        raise ValueError(f"{directory}: all utterances have 0 seconds; sizes in hours need lengths")
    return Total(speakers, utterances, total)


def assign(directory: str | Path, parts: Sequence[Part], seed: int = 0) -> tuple[bytearray, Total]:
    """For each utterance of a directory, in order, the number of its part, from 1 (0: none, where
    the parts together are less than all); and what there was in all.

    Raises ValueError for sizes that are more than there is, and for fewer speakers than parts."""
    total = measure(directory, any(part.unit == "h" for part in parts))
    shares = _shares(directory, parts, total)
    if len(total.speakers) < len(parts):
        raise ValueError(
            f"{directory} has {len(total.speakers)} speakers, fewer than {len(parts)} parts: no "
            "speaker may be in two; ask for fewer parts, or split otherwise (utils/data/subset.py)"
        )
    units = [part.unit for part in parts] + [""] * (len(shares) - len(parts))
    numbers = _deal(total, shares, units, len(parts), seed)
    number_of = {s: n if n <= len(parts) else 0 for s, n in numbers.items()}
    rows = kaldi_dir.read_table(Path(directory) / "utt2spk")
    return bytearray(number_of[speaker] for _, speaker in rows), total


def _shares(directory: str | Path, parts: Sequence[Part], total: Total) -> list[float]:
    """Of each part, and last of what no part gets, if that is more than nothing."""
    asked = [part.share(total) for part in parts]
    if asked.count(None) > 1:
        raise ValueError("more than one part is the rest: give the others their sizes")
    left = 1 - sum(share for share in asked if share is not None)
    if left < -1e-9 or (None in asked and left < 1e-9):
        given = " ".join(f"{part.directory}={part.size}" for part in parts)
        raise ValueError(
            f"{given} is {100 * (1 - left):.4g} % of {directory} ({total.utterances} utterances of "
            f"{len(total.speakers)} speakers{_hours(total)}): ask for less"
        )
    shares = [left if share is None else share for share in asked]
    return [*shares, left] if None not in asked and left > 1e-9 else shares


def _hours(total: Total) -> str:
    return f", {total.seconds / 3600:.2f} hours" if total.seconds else ""


def _deal(
    total: Total, shares: list[float], units: list[str], needed: int, seed: int
) -> dict[str, int]:
    """{speaker: number of its part, from 1}; the first `needed` parts get at least one each."""
    lacks, empty = list(shares), set(range(needed))
    order, numbers = sorted(total.speakers), {}
    random.Random(seed).shuffle(order)
    for done, speaker in enumerate(order):
        among = empty if len(order) - done == len(empty) else range(len(lacks))
        part = max(among, key=lambda number: lacks[number])
        lacks[part] -= total.shares(speaker)[units[part]]
        empty.discard(part)
        numbers[speaker] = part + 1
    return numbers
