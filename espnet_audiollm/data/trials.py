"""Trials of speaker verification: pairs of recordings, of one speaker or of two.

A file of trials has a line for each, in VoxCeleb's form: "1 ID ID" of one speaker, "0 ID ID" of
two.
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FORM = 'lines are "1 ID ID" (one speaker) or "0 ID ID" (two)'


@dataclass(frozen=True)
class Trial:
    """Two recordings, and whether one speaker speaks in both."""

    same: bool
    first: str
    second: str


def read_trials(path: str | Path) -> list[Trial]:
    """The trials of a file, in order.

    Errors (ValueError): lines of another form; no trials of one speaker, or none of two."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines]
    wrong = [n for n, row in enumerate(rows, 1) if len(row) != 3 or row[0] not in ("0", "1")]
    if wrong:
        raise ValueError(
            f"{path}: {len(wrong)} of {len(rows)} lines are no trials (first: line {wrong[0]}, "
            f"{lines[wrong[0] - 1][:60]!r}); {FORM}"
        )
    trials = [Trial(row[0] == "1", row[1], row[2]) for row in rows]
    check_both_kinds(trials, str(path))
    return trials


def check_both_kinds(trials: Sequence[Trial], where: str) -> None:
    """ValueError: an error rate needs trials of one speaker and of two."""
    targets = sum(trial.same for trial in trials)
    if not 0 < targets < len(trials):
        raise ValueError(
            f"{where}: {targets} of {len(trials)} trials are of one speaker: give at least one of "
            "one speaker and one of two, of two speakers or more with two recordings of one"
        )


def check_trials(trials: Iterable[Trial], speakers: Mapping[str, str], where: str) -> None:
    """Refuse (ValueError) trials that do not fit utt2spk, {id: speaker}: unknown recordings, or
    speakers that are the same there and not here, or the other way around."""
    trials = list(trials)
    ids = sorted({id_ for t in trials for id_ in (t.first, t.second)})
    if unknown := [id_ for id_ in ids if id_ not in speakers]:
        raise ValueError(
            f"{where}: {len(unknown)} of {len(ids)} recordings (first: {unknown[0]}) are not in "
            "the data directory: give the one that the trials are made of"
        )
    wrong = [t for t in trials if t.same != (speakers[t.first] == speakers[t.second])]
    if wrong:
        raise ValueError(
            f"{where}: {len(wrong)} of {len(trials)} trials (first: {wrong[0].first} "
            f"{wrong[0].second}) say otherwise than utt2spk who speaks: correct one of them"
        )


def draw_trials(speakers: Mapping[str, str], number: int, seed: int = 0) -> list[Trial]:
    """All pairs of the recordings {id: speaker}, or, where those are more than `number`, half as
    many of one speaker and half as many of two, drawn by chance (fewer where there are no more).

    Errors (ValueError): there are no pairs of one of the kinds."""
    ids = sorted(speakers)
    if len(ids) * (len(ids) - 1) // 2 <= number:
        pairs: Iterable[tuple[str, str]] = itertools.combinations(ids, 2)
    else:
        rng = random.Random(seed)
        pairs = sorted(_same_pairs(speakers, number // 2, rng))
        pairs = [*pairs, *sorted(_other_pairs(speakers, ids, number // 2, rng))]
    trials = [Trial(speakers[a] == speakers[b], a, b) for a, b in pairs]
    check_both_kinds(trials, f"{len(ids)} recordings of {len(set(speakers.values()))} speakers")
    return trials


def other_recordings(
    audio: Mapping[str, str], speakers: Mapping[str, str], ids: Iterable[str], seed: int = 0
) -> tuple[dict[str, str], dict[str, str]]:
    """For each of `ids` another recording of its speaker, and one of another speaker, drawn by
    chance; ids for which there is none are left out. audio: {id: what wav.scp says}: one file under
    two ids is no other recording."""
    rng, same, other = random.Random(seed), {}, {}
    groups = _by_speaker(speakers)
    everybody = sorted(speakers)
    for id_ in sorted(ids):
        group = [each for each in groups[speakers[id_]] if audio[each] != audio[id_]]
        if group:
            same[id_] = rng.choice(group)
        if len(groups) > 1:
            while speakers[drawn := rng.choice(everybody)] == speakers[id_]:
                pass
            other[id_] = drawn
    return same, other


def _by_speaker(speakers: Mapping[str, str]) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for id_ in sorted(speakers):
        groups[speakers[id_]].append(id_)
    return groups


def _same_pairs(
    speakers: Mapping[str, str], number: int, rng: random.Random
) -> Iterable[tuple[str, str]]:
    groups = list(_by_speaker(speakers).values())
    sizes = [len(group) * (len(group) - 1) // 2 for group in groups]
    if sum(sizes) <= number:
        return [pair for group in groups for pair in itertools.combinations(group, 2)]
    found: set[tuple[str, str]] = set()
    while len(found) < number:
        [group] = rng.choices(groups, sizes)
        found.add(_ordered(rng.sample(group, 2)))
    return found


def _other_pairs(
    speakers: Mapping[str, str], ids: Sequence[str], number: int, rng: random.Random
) -> Iterable[tuple[str, str]]:
    groups = _by_speaker(speakers).values()
    same = sum(len(group) * (len(group) - 1) // 2 for group in groups)
    there = len(ids) * (len(ids) - 1) // 2 - same
    found: set[tuple[str, str]] = set()
    while len(found) < min(number, there):
        pair = _ordered(rng.sample(ids, 2))
        if speakers[pair[0]] != speakers[pair[1]]:
            found.add(pair)
    return found


def _ordered(pair: Sequence[str]) -> tuple[str, str]:
    return min(pair), max(pair)
