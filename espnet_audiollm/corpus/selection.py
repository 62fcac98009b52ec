"""Choosing utterances of a data directory: a label for each, in order, 1 where it is taken.

A label is a byte, so a choice among ten million takes 10 MB. The same seed chooses the same."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from ..data import audio, kaldi_dir, segments
from ..progress import progress
from ..store.tables import is_table
from ..types import Seconds

UNKNOWN_SHOWN = 3  # names in a complaint


def first(directory: Path, number: int) -> bytearray:
    """The first `number` utterances."""
    count = _at_least(directory, number, "--first")
    return bytearray(b"\1" * number + b"\0" * (count - number))


def sample(directory: Path, number: int, seed: int) -> bytearray:
    """`number` utterances, each as likely as any other."""
    labels = bytearray(_at_least(directory, number, "--random"))
    for place in random.Random(seed).sample(range(len(labels)), number):
        labels[place] = 1
    return labels


def by_ids(directory: Path, wanted: Collection[str]) -> bytearray:
    """These utterances."""
    left, labels = set(wanted), bytearray()
    for id_, _ in kaldi_dir.read_table(directory / "utt2spk"):
        labels.append(id_ in left)
        left.discard(id_)
    _refuse_unknown(directory, left, len(set(wanted)), "utterances")
    return labels


def by_speakers(directory: Path, wanted: Collection[str]) -> bytearray:
    """All utterances of these speakers."""
    wanted, found, labels = set(wanted), set(), bytearray()
    for _, speaker in kaldi_dir.read_table(directory / "utt2spk"):
        labels.append(speaker in wanted)
        if labels[-1]:
            found.add(speaker)
    _refuse_unknown(directory, wanted - found, len(wanted), "speakers")
    return labels


def sample_speakers(directory: Path, number: int, seed: int) -> bytearray:
    """All utterances of `number` speakers, each speaker as likely as any other."""
    there = sorted(Counter(speaker for _, speaker in kaldi_dir.read_table(directory / "utt2spk")))
    _refuse_too_many(directory, number, len(there), "--num_speakers", "speakers")
    return by_speakers(directory, random.Random(seed).sample(there, number))


def by_hours(directory: Path, hours: float, seed: int) -> bytearray:
    """Utterances by chance until the next would go beyond so many hours."""
    lengths = array("d", durations(directory))
    total, wanted = sum(lengths), hours * 3600
    if not 0 < wanted <= total:
        raise ValueError(
            f"--hours {hours:g}: {directory} has {total / 3600:.4g} hours; ask for more than 0 and "
            "at most these"
        )
    labels, taken = bytearray(len(lengths)), 0.0
    order = array("l", range(len(lengths)))
    random.Random(seed).shuffle(order)
    for place in order:
        if taken + lengths[place] > wanted:
            break
        labels[place], taken = 1, taken + lengths[place]
    if not taken:
        raise ValueError(f"--hours {hours:g}: the first utterance chosen is longer than that")
    return labels


def durations(directory: str | Path) -> Iterator[Seconds]:
    """Of the utterances in order: from utt2dur, the times in segments, or else, which takes long,
    the recordings' own headers. Constant memory; ValueError for what is no length."""
    directory = Path(directory)
    if is_table(directory / "utt2dur"):
        for id_, value in kaldi_dir.read_table(directory / "utt2dur"):
            yield kaldi_dir.seconds(directory, id_, value)
        return
    count = kaldi_dir.count_lines(directory / "utt2spk")
    rows = segments.resolved(directory) if segments.has(directory) else None
    rows = rows or kaldi_dir.read_table(directory / "wav.scp")
    for _, value in progress(rows, count, f"lengths of {directory}'s recordings (no utt2dur)"):
        yield audio.info(value).duration


def _at_least(directory: Path, number: int, option: str) -> int:
    """How many utterances there are; they must be `number` or more."""
    count = kaldi_dir.count_lines(directory / "utt2spk")
    _refuse_too_many(directory, number, count, option, "utterances")
    return count


def _refuse_too_many(directory: Path, number: int, count: int, option: str, what: str) -> None:
    if not 1 <= number <= count:
        raise ValueError(
            f"{option} {number}: {directory} has {count} {what}; ask for 1 to {count} of them"
        )


def _refuse_unknown(directory: Path, unknown: set[str], asked: int, what: str) -> None:
    if unknown:
        shown = ", ".join(sorted(unknown)[:UNKNOWN_SHOWN])
        raise ValueError(
            f"{directory}/utt2spk does not know {len(unknown)} of {asked} {what} asked for "
            f"(first: {shown}): correct the list, or leave them out of it"
        )
