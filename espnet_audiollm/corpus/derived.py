"""Data directories whose recordings are made from another's: copies at other speeds, segments cut.

Tables are read side by side and written in order; what is in memory is what the workers hold."""

from __future__ import annotations

import functools
import heapq
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path

import numpy as np

from ..data import audio, kaldi_dir, layout, segments, sources, workers
from ..progress import progress
from ..store.atomic import new_directories
from ..store.tables import write_table
from ..types import SAMPLE_RATE, Seconds

SHOWN = 20  # recordings that cannot be used, named in the report
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
SPEEDS = (0.5, 2.0)  # copies slower or faster than that are no speech
MEASURED = ("utt2dur", "utt2num_samples")  # of the recordings that are written


@dataclass(frozen=True)
class Copy:
    """One utterance to write: its values in the tables, and its speed."""

    id: str
    source: str  # as in wav.scp
    values: dict[str, str]  # of the tables that it is in
    speed: float = 1.0
    name: str = ""  # of the recording to write, in audio/; "": none
    samples: int = 0
    rate: int = 0  # Hz
    trouble: str = ""


@dataclass
class Made:
    """What a new directory has, and what could not be read."""

    utterances: int = 0
    written: int = 0  # recordings
    seconds: Seconds = 0.0  # of these
    bad: list[tuple[str, str]] = field(default_factory=list)  # the first SHOWN
    num_bad: int = 0

    def add_bad(self, id_: str, trouble: str) -> None:
        """Count a recording that cannot be used."""
        self.num_bad += 1
        if len(self.bad) < SHOWN:
            self.bad.append((id_, " ".join(trouble.split())))


def perturb_speed(
    src: str | Path, dst: str | Path, speeds: Sequence[str], nj: int = 1, allow_pipes: bool = False
) -> Made:
    """Make `dst`: the utterances of `src` once for each speed, as Kaldi's perturb_data_dir_speed.

    Speed changes tempo and pitch together: the samples are taken for those of `speed` times their
    rate, and resampled. Copies have ids and speakers that begin with "sp1.1-"; those of speed 1
    keep theirs, and their recordings. utt2uniq names the utterance that each was made from."""
    factors = _checked(speeds)
    found = layout.of(src)

    def prefix(speed: str) -> str:
        return "" if factors[speed] == 1 else f"sp{speed}-"

    def copies(speed: str) -> Iterator[Copy]:
        for id_, source, values in utterances(found):
            new = prefix(speed) + id_
            name = sources.file_name(new) if factors[speed] != 1 else ""
            values |= {"utt2uniq": id_, "utt2spk": prefix(speed) + values["utt2spk"]}
            yield Copy(new, source, values, factors[speed], name)

    prefixes = [prefix(speed) for speed in speeds]
    return _make(found, dst, [copies(speed) for speed in speeds], prefixes, nj, allow_pipes)


def cut(src: str | Path, dst: str | Path, nj: int = 1, allow_pipes: bool = False) -> Made:
    """Make `dst`: the utterances of `src`, each with a recording of its own, at its own rate."""
    found = layout.of(src)
    copies = (Copy(*each, name=sources.file_name(each[0])) for each in utterances(found))
    return _make(found, dst, [copies], [""], nj, allow_pipes)


def refer(src: str | Path, dst: str | Path) -> Made:
    """Make `dst`: the utterances of `src` with parts of recordings in wav.scp; no audio is read."""
    found = layout.of(src)
    copies = (Copy(*utterance) for utterance in utterances(found))
    return _make(found, dst, [copies], [""], 1, False)


def _checked(speeds: Sequence[str]) -> dict[str, float]:
    factors = {}
    for speed in speeds:
        if not NUMBER.fullmatch(speed):  # ids begin with it
            raise ValueError(f"speed '{speed}' is not a number, such as 0.9")
        factors[speed] = float(speed)
        if not SPEEDS[0] <= factors[speed] <= SPEEDS[1]:
            raise ValueError(f"speed {speed} is not between {SPEEDS[0]} and {SPEEDS[1]}")
    if len(set(factors.values())) < len(speeds):
        raise ValueError(f"speeds {' '.join(speeds)}: one is there twice")
    return factors


def utterances(found: layout.Layout) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(id, recording, values in the tables), in order; recordings are no table's any more."""
    if segments.has(found.directory):
        recordings = segments.resolved(found.directory)
    else:
        recordings = kaldi_dir.read_table(found.directory / "wav.scp")
    for (id_, values), (same, source) in zip(layout.side_by_side(found), recordings, strict=True):
        assert id_ == same
        yield id_, source, {n: v for n, v in values.items() if n not in ("wav.scp", segments.NAME)}


def _make(
    found: layout.Layout,
    dst: str | Path,
    streams: list[Iterator[Copy]],
    prefixes: list[str],  # of speakers
    nj: int,
    allow_pipes: bool,
) -> Made:
    if nj < 1:
        raise ValueError(f"--nj {nj}: at least one process is needed")
    if not (total := kaldi_dir.count_lines(found.directory / "utt2spk") * len(streams)):
        raise ValueError(f"{found.directory}/utt2spk is empty: nothing to do")
    made = Made()
    with new_directories(dst) as (aside,):
        work = functools.partial(write_copy, audio_dir=aside / "audio", allow_pipes=allow_pipes)
        results = heapq.merge(
            *(workers.in_order(work, stream, nj) for stream in streams), key=attrgetter("id")
        )
        with kaldi_dir.TableWriter(aside) as tables:
            for copy in progress(results, total, f"make {dst}"):
                made.utterances += 1
                if copy.trouble:
                    made.add_bad(copy.id, copy.trouble)
                    continue
                made.written += bool(copy.name)
                made.seconds += copy.samples / copy.rate if copy.name else 0.0
                tables.add(copy.id, _values(copy, dst))
        if made.num_bad:
            raise ValueError(complaint(found.directory, made))
        for name in found.speakers:
            rows = list(kaldi_dir.read_table(found.directory / name))
            write_table(aside / name, [(p + i, v) for p in prefixes for i, v in rows])
    return made


def write_copy(copy: Copy, audio_dir: Path, allow_pipes: bool) -> Copy:
    """Write the recording of one utterance (in a worker); what it is, or its trouble."""
    if not copy.name:
        return copy
    try:
        samples, found = audio.read_mono(copy.source, allow_pipes)
    except audio.AudioError as error:
        return replace(copy, trouble=str(error))
    if copy.speed != 1:
        samples = at_speed(samples, copy.speed)
    audio.write_audio(audio_dir / copy.name, samples, found.rate)
    return replace(copy, samples=len(samples), rate=found.rate)


def at_speed(samples: np.ndarray, speed: float) -> np.ndarray:
    """(N,) to float32 (N / speed,): tempo and pitch are `speed` times what they were."""
    return audio.resample(samples, SAMPLE_RATE * speed)


def _values(copy: Copy, dst: str | Path) -> dict[str, str]:
    """The line of an utterance in each table, measured where its recording is written."""
    values = {**copy.values, "wav.scp": copy.source}
    if copy.name:
        values["wav.scp"] = f"{dst}/audio/{copy.name}"
        measured = (f"{copy.samples / copy.rate:.3f}", str(copy.samples))
        values |= {n: v for n, v in zip(MEASURED, measured, strict=True) if n in copy.values}
    return values


def complaint(directory: Path, made: Made) -> str:
    """What is said of recordings that cannot be used."""
    listed = "".join(f"\n  {id_}: {trouble}" for id_, trouble in made.bad)
    more = f"\n  and {made.num_bad - SHOWN} more" if made.num_bad > SHOWN else ""
    return (
        f"{directory}: {made.num_bad} of {made.utterances} recordings cannot be used; nothing is "
        f"left: repair them, or take their lines out and run utils/data/fix.py:{listed}{more}"
    )
