"""What is in a data directory, in numbers: durations, speakers, words, and what sticks out.

Read in one pass; what stays in memory is three numbers an utterance, and a few ids."""

from __future__ import annotations

import functools
import heapq
import random
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ..data import audio, kaldi_dir, segments, sources, workers
from ..progress import progress
from ..store.tables import is_table
from ..types import Seconds, Utterance

READERS = 8  # threads that read headers
SAMPLED = 200  # recordings whose headers tell the rates where durations are known
NAMED = 10  # utterances named of each kind of outlier
WORDS_A_SECOND = (0.3, 7.0)  # what people say; beyond that, text or audio is another's
CHARACTERS_A_SECOND = (1.0, 40.0)
UNSPACED = 12  # characters a word: from here on words are not divided by spaces


@dataclass(frozen=True)
class Spread:
    """How values are spread."""

    min: float
    p5: float
    median: float
    mean: float
    p95: float
    max: float

    @classmethod
    def of(cls, values: np.ndarray) -> Spread:
        """Of numbers (N,)."""
        p5, median, p95 = np.percentile(values, (5, 50, 95))
        return cls(*map(float, (values.min(), p5, median, values.mean(), p95, values.max())))


@dataclass(frozen=True, order=True)
class Outlier:
    """An utterance that stands out."""

    value: float
    id: str


class Extremes:
    """The `NAMED` largest (or, sign -1, smallest) values that were added, with their ids."""

    def __init__(self, sign: int = 1):
        self._sign, self._heap, self.count = sign, list[tuple[float, str]](), 0

    def add(self, value: float, id_: str) -> None:
        """Count a value, and keep it if it is one of the NAMED."""
        self.count += 1
        entry = (self._sign * value, id_)
        if len(self._heap) < NAMED:
            heapq.heappush(self._heap, entry)
        elif entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def named(self) -> list[Outlier]:
        """The most extreme first."""
        return [Outlier(self._sign * value, id_) for value, id_ in sorted(self._heap, reverse=True)]


@dataclass
class Statistics:
    """Of one directory. Arrays have one value an utterance, in no order that matters."""

    directory: str
    seconds: np.ndarray
    words: np.ndarray  # empty: there is no text
    characters: np.ndarray
    speakers: dict[str, tuple[int, Seconds]]  # utterances, seconds
    vocabulary: Counter[str]
    rates: Counter[int]  # Hz: recordings
    rates_of: int  # recordings that were asked for their rate
    outliers: dict[str, Extremes]
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # id, why; the first NAMED
    num_unreadable: int = 0

    @property
    def hours(self) -> float:
        """Of audio."""
        return float(self.seconds.sum(dtype=np.float64)) / 3600

    @cached_property
    def alphabet(self) -> Counter[str]:
        """Characters, but for white space: counted in the vocabulary, which is much shorter."""
        found = Counter[str]()
        for word, count in self.vocabulary.items():
            for char in word:
                found[char] += count
        return found

    @property
    def by_words(self) -> bool:
        """Whether words are what spaces divide, so that their rate says something."""
        total = self.words.sum()
        return bool(total) and self.characters.sum() / total < UNSPACED

    @property
    def rate(self) -> np.ndarray:
        """Words (or characters, see `by_words`) a second of each utterance."""
        counts = self.words if self.by_words else self.characters
        return counts / np.maximum(self.seconds, 1e-3)


def collect(directory: str | Path, allow_pipes: bool = False) -> Statistics:
    """Read a directory. Durations come from utt2dur, the times of segments, or else headers.

    Raises ValueError when there is no utterance, or none whose duration can be known."""
    with tempfile.TemporaryDirectory() as aside:
        view = segments.by_utterance(directory, Path(aside) / "source")
        return _collect(Path(directory), view, allow_pipes)


def _collect(directory: Path, view: Path, allow_pipes: bool) -> Statistics:
    seconds, words, characters = array("f"), array("i"), array("i")
    speakers, vocabulary, rates = dict[str, tuple[int, Seconds]](), Counter[str](), Counter[int]()
    unreadable, num_unreadable = list[tuple[str, str]](), 0
    longest, shortest = Extremes(), Extremes(-1)
    by_words, by_characters = (Extremes(), Extremes(-1)), (Extremes(), Extremes(-1))
    total = kaldi_dir.count_lines(kaldi_dir.existing(view / "wav.scp"))
    known = is_table(view / "utt2dur")
    sample = Sample(SAMPLED)
    for utt, duration, rate, trouble in progress(
        _measured(kaldi_dir.iter_utterances(view), known, allow_pipes), total, f"read {directory}"
    ):
        if trouble:
            num_unreadable += 1
            unreadable += [(utt.id, trouble)] * (len(unreadable) < NAMED)
            continue
        sample.add(utt.audio)
        if rate:
            rates[rate] += 1
        seconds.append(duration)
        count, held = speakers.get(utt.speaker, (0, 0.0))
        speakers[utt.speaker] = count + 1, held + duration
        longest.add(duration, utt.id)
        shortest.add(duration, utt.id)
        if utt.text is not None:
            said = utt.text.split()
            words.append(len(said))
            characters.append(len(utt.text))
            vocabulary.update(said)
            _add_rate(by_words, len(said) / max(duration, 1e-3), WORDS_A_SECOND, utt.id)
            _add_rate(
                by_characters, len(utt.text) / max(duration, 1e-3), CHARACTERS_A_SECOND, utt.id
            )
    if not seconds:
        raise ValueError(_nothing(directory, unreadable, num_unreadable))
    rates_of = len(seconds) if not known else len(sample.values)
    if known:
        rates = _rates(sample.values, allow_pipes)
    found = Statistics(
        str(directory),
        np.frombuffer(seconds, np.float32),
        np.array(words, np.int32),
        np.array(characters, np.int32),
        speakers,
        vocabulary,
        rates,
        rates_of,
        {"longest": longest, "shortest": shortest},
        unreadable,
        num_unreadable,
    )
    if len(words):
        fast, slow = by_words if found.by_words else by_characters
        found.outliers |= {"fastest": fast, "slowest": slow}
    return found


def _add_rate(
    extremes: tuple[Extremes, Extremes], rate: float, plausible: tuple[float, float], id_: str
) -> None:
    slowest, fastest = plausible
    if rate > fastest:
        extremes[0].add(rate, id_)
    elif rate < slowest:
        extremes[1].add(rate, id_)


class Sample:
    """So many of the values that are added, each as likely as any other."""

    def __init__(self, size: int, seed: int = 0):
        self._size, self._random, self._seen = size, random.Random(seed), 0
        self.values: list = []

    def add(self, value: object) -> None:
        """Take the value, perhaps."""
        self._seen += 1
        if len(self.values) < self._size:
            self.values.append(value)
        elif (place := int(self._random.random() * self._seen)) < self._size:
            self.values[place] = value


Measured = tuple[Utterance, Seconds, int, str]  # duration, rate (0: not looked at), trouble


def _measured(
    utterances: Iterable[Utterance], known: bool, allow_pipes: bool
) -> Iterator[Measured]:
    """Each utterance with its duration, in order; headers are read in threads, a little ahead."""
    measure = functools.partial(_measure, allow_pipes=allow_pipes)
    return workers.in_order(measure, utterances, 1 if known else READERS, threads=True)


def _measure(utt: Utterance, allow_pipes: bool) -> Measured:
    if utt.duration is not None:
        return utt, utt.duration, 0, ""
    source = sources.parse(utt.audio)
    if source.is_part and source.end is not None:
        return utt, source.end - source.begin, 0, ""
    try:
        found = audio.info(utt.audio, allow_pipes)
    except audio.AudioError as error:
        return utt, 0.0, 0, str(error)
    return utt, found.duration, found.rate, ""


def _rates(recordings: list[str], allow_pipes: bool) -> Counter[int]:
    """{Hz: recordings} of those that can be read."""
    rates = Counter[int]()
    for recording in recordings:
        try:
            rates[audio.info(recording, allow_pipes).rate] += 1
        except audio.AudioError:
            rates[0] += 1
    return rates


def _nothing(directory: Path, unreadable: list[tuple[str, str]], count: int) -> str:
    if not count:
        return f"{directory}/wav.scp is empty: nothing to count"
    return f"{directory}: none of {count} recordings can be read (first: {unreadable[0][1]})"
