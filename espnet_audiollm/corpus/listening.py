"""Which utterances of a data directory are listened to, and what their recordings are like."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data import audio, kaldi_dir, layout
from ..progress import progress
from ..types import Seconds
from . import derived, statistics

PARTS = 240  # of a recording whose loudness is shown
FULL_SCALE = 0.999  # of 1: samples from here on are clipped
CLIPPED = 10  # samples at full scale: a recording with so many is called clipped
KNOWN = ("utt2spk", "text")  # shown by themselves
REASONS = {
    "longest": "among the longest",
    "shortest": "among the shortest",
    "fastest": "much text for its length",
    "slowest": "little text for its length",
}


@dataclass(frozen=True)
class Chosen:
    """An utterance to listen to."""

    id: str
    source: str  # as in wav.scp
    values: dict[str, str]  # in the tables
    reason: str = ""


@dataclass(frozen=True)
class Excerpt:
    """A recording: at most `longest` seconds of it."""

    samples: np.ndarray  # float32 (N,) at 16 kHz
    peaks: tuple[int, ...]  # 0 to 100
    facts: tuple[str, ...]


def by_chance(directory: str | Path, number: int, seed: int) -> list[Chosen]:
    """`number` utterances, in order; all when there are fewer."""
    _check(number)
    sample = statistics.Sample(number, seed)
    for utterance in _all(directory):
        sample.add(utterance)
    return sorted((Chosen(*utterance) for utterance in sample.values), key=lambda one: one.id)


def outliers(directory: str | Path, number: int, allow_pipes: bool) -> list[Chosen]:
    """At most `number` of those that statistics.py names: the first of each kind, the second, …"""
    _check(number)
    found = statistics.collect(directory, allow_pipes).outliers
    ranked = [[(one.id, REASONS[kind]) for one in e.named()] for kind, e in found.items()]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*ranked))
    reasons: dict[str, str] = {}
    for id_, reason in filter(None, turns):
        if len(reasons) < number:
            reasons.setdefault(id_, reason)
    order = {id_: place for place, id_ in enumerate(reasons)}
    chosen = [Chosen(*u, reasons[u[0]]) for u in _all(directory) if u[0] in reasons]
    return sorted(chosen, key=lambda one: order[one.id])


def by_ids(directory: str | Path, ids: Collection[str]) -> list[Chosen]:
    """Those of `ids`, in their order. Raises ValueError where some are not there."""
    order = {id_: place for place, id_ in enumerate(ids)}
    chosen = [Chosen(*utterance) for utterance in _all(directory) if utterance[0] in order]
    if len(chosen) < len(order):
        lost = sorted(order.keys() - {one.id for one in chosen}, key=order.__getitem__)
        raise ValueError(
            f"{directory}: {len(lost)} of {len(order)} ids are not there (first: {lost[0]}); "
            "compare them with utt2spk"
        )
    return sorted(chosen, key=lambda one: order[one.id])


def read(source: str, longest: Seconds, text: str | None, allow_pipes: bool) -> Excerpt:
    """Read a recording, and say what it is like. Raises AudioError."""
    with audio.opened(source, allow_pipes) as recording:
        info = recording.info
        samples = recording.read()
    peak = float(np.abs(samples).max())
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    facts = [f"{info.duration:.2f} s", f"{info.rate / 1000:g} kHz {info.container}"]
    if info.channels > 1:
        facts.append(f"{info.channels} channels")
    if text:
        facts.append(f"{len(text.split()) / info.duration:.1f} words/s")
    facts.append(f"peak {_decibels(peak)}, mean {_decibels(level)}")
    if (np.abs(samples) >= FULL_SCALE).sum() >= CLIPPED:
        facts.append("clipped!")
    if level < 1e-4:
        facts.append("silent!")
    if info.duration > longest:
        facts.append(f"the first {longest:g} s are here")
    samples = audio.resample(samples[: round(longest * info.rate)], info.rate)
    return Excerpt(samples, _peaks(samples), tuple(facts))


def _check(number: int) -> None:
    if number < 1:
        raise ValueError(f"--number {number}: at least one utterance is needed")


def _all(directory: str | Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    found = layout.of(directory)
    total = kaldi_dir.count_lines(found.directory / "utt2spk")
    return progress(derived.utterances(found), total, f"read {directory}")


def _decibels(level: float) -> str:
    return f"{20 * np.log10(level):.0f} dB" if level > 1e-6 else "silence"


def _peaks(samples: np.ndarray) -> tuple[int, ...]:
    parts = np.array_split(np.abs(samples), min(PARTS, len(samples)))
    return tuple(min(100, round(100 * float(part.max(initial=0.0)))) for part in parts)
