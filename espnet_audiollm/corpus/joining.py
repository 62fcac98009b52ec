"""Utterances behind each other in long recordings, with the table `segments` that finds them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..data import audio, kaldi_dir, layout, segments, sources
from ..data.sorting import sort_rows
from ..progress import progress
from ..store.atomic import new_directories
from ..store.tables import Row, write_table
from ..types import Seconds
from . import derived
from .derived import Made


@dataclass
class _Reel:
    """A recording that is being put together."""

    name: str
    rate: int  # Hz
    samples: list[np.ndarray] = field(default_factory=list)
    length: int = 0  # samples

    def add(self, samples: np.ndarray, gap: int) -> tuple[int, int]:
        """First sample and the one after the last, after `gap` samples of silence."""
        if self.samples:
            self.samples.append(np.zeros(gap, np.float32))
            self.length += gap
        self.samples.append(samples)
        self.length += len(samples)
        return self.length - len(samples), self.length


def join(
    src: str | Path,
    dst: str | Path,
    longest: Seconds = 600.0,
    gap: Seconds = 0.5,
    allow_pipes: bool = False,
) -> Made:
    """Make `dst`: the utterances of each speaker of `src`, in order, in recordings of up to
    `longest` seconds (one utterance may be longer) with `gap` of silence between them.

    A recording has one sample rate. Raises ValueError that names all that cannot be read."""
    if longest <= 0 or gap < 0:
        raise ValueError(f"--seconds {longest:g} and --gap {gap:g}: seconds, not below zero")
    found, made = layout.of(src), Made()
    total = kaldi_dir.count_lines(found.directory / "utt2spk")
    with new_directories(dst) as (aside,):
        rows, recordings = [], []
        for reel, placed in _reels(found, longest, gap, allow_pipes, total, made):
            name = sources.file_name(reel.name)
            audio.write_audio(aside / "audio" / name, np.concatenate(reel.samples), reel.rate)
            recordings.append((reel.name, f"{dst}/audio/{name}"))
            rows += placed
            made.written += 1
            made.seconds += reel.length / reel.rate
        if made.num_bad:
            raise ValueError(derived.complaint(found.directory, made))
        if not rows:
            raise ValueError(f"{found.directory}/utt2spk is empty: nothing to do")
        write_table(aside / segments.NAME, rows)
        left_out = {segments.NAME, "wav.scp"}
        for name in {*found.utterances, *found.partial, *found.speakers} - left_out:
            table = kaldi_dir.read_table(found.directory / name)
            write_table(aside / name, table, presorted=True)
        write_table(aside / "wav.scp", recordings)
    return made


def _reels(
    found: layout.Layout,
    longest: Seconds,
    gap: Seconds,
    allow_pipes: bool,
    total: int,
    made: Made,
) -> Iterator[tuple[_Reel, list[Row]]]:
    """Recordings, with the lines of their segments."""
    by_speaker = sort_rows(
        (values["utt2spk"], id_, source) for id_, source, values in derived.utterances(found)
    )
    reel: _Reel | None = None
    rows, last, number = list[Row](), None, 0
    for speaker, id_, source in progress(by_speaker, total, f"join {found.directory}"):
        made.utterances += 1
        try:
            samples, info = audio.read_mono(source, allow_pipes)
        except audio.AudioError as error:
            made.add_bad(id_, str(error))
            continue
        silence = round(gap * info.rate)
        full = reel and reel.length + silence + len(samples) > longest * reel.rate
        if reel is None or full or speaker != last or info.rate != reel.rate:
            if reel is not None:
                yield reel, rows
            number = number + 1 if speaker == last else 1
            reel, rows, last = _Reel(f"{speaker}-{number:04d}", info.rate), [], speaker
        begin, end = reel.add(samples, silence)
        rows.append((id_, str(segments.Segment(reel.name, begin / info.rate, end / info.rate))))
    if reel is not None:
        yield reel, rows
