"""A report card of a set of units, before any language model is trained on them.

Rate, use and entropy are counts. How much a unit tells of the words, and how much of the voice, is
mutual information over the entropy of a unit, I(U; X) / H(U), estimated so that no alignment of
words and frames has to be at hand, and none can flatter:

- Each half of the recordings is predicted from the other. The bits that knowing X (the transcript,
  the speaker) saves on recordings that were not counted bound the mutual information from below
  (Barber and Agakov, 2003). A plug-in estimate instead grows with the number of words, speakers
  and units: for rare ones it is near 1, whatever is said.
- Voice: units as often as in the speaker's other recordings.
- Words: a mixture of the transcript's words, each with its own units, learned by EM from complete
  recordings as in word alignment (IBM model 1, with fast_align's preference for the diagonal;
  Dyer et al., 2013). Silence stands before and after the words. Words that the other half lacks
  say nothing, so this bound is loose where texts share few words. Compare unit sets on one
  data directory, not data directories.

Repeats are counted as they were spoken: merging units changes the rate and nothing else.
"""

# K units, W words of a recording with silences, T frames of a recording, V known words

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np

from .bootstrap import RESAMPLES, Units, rate_intervals

SILENCE, SILENCE_LETTERS = "", 2  # as long as a word of so many letters
DIAGONAL = 10.0  # 1 / share of a recording after which a word is e times less likely
ROUNDS = 4  # of EM
# Frames of the average statistics that are added to those of a word or a speaker: what predicts
# best inside the half that is known. Many: words or voices differ little, or are rare.
PRIORS = (20.0, 100.0, 500.0, 2500.0)


@dataclass(frozen=True)
class Spoken:
    """A recording: a unit for each frame, and what is known of it."""

    id: str
    frames: Sequence[int]
    stored: int  # units in the table: fewer than frames where repeats are merged
    words: tuple[str, ...]
    speaker: str

    @cached_property
    def units_T(self) -> np.ndarray:
        """The frames as an array."""
        return np.asarray(self.frames)

    @cached_property
    def prior_TW(self) -> np.ndarray:
        """How likely a frame belongs to a word by its place; rows sum to 1."""
        letters_W = np.array([SILENCE_LETTERS, *map(len, self.words), SILENCE_LETTERS], float)
        middles_W = (letters_W.cumsum() - letters_W / 2) / letters_W.sum()
        places_T = (np.arange(len(self.frames)) + 0.5) / len(self.frames)
        far_TW = np.abs(places_T[:, None] - middles_W)
        likely_TW = letters_W * np.exp(-DIAGONAL * far_TW)
        return likely_TW / likely_TW.sum(1, keepdims=True)


@dataclass(frozen=True)
class Share:
    """Bits that knowing something saves, of all bits of the held-out units."""

    saved: float
    total: float
    ci95: tuple[float, float]  # %, of words over recordings, of the voice over speakers

    @property
    def percent(self) -> float:
        """Of the units' entropy; below 0 where nothing is learned but noise."""
        return 100.0 * self.saved / self.total if self.total else 0.0


@dataclass(frozen=True)
class UnitReport:
    """Counts and shares of one unit set."""

    recordings: int
    speakers: int
    seconds: float
    units: int  # as stored
    frames: int
    runs: int  # of the same unit in consecutive frames
    size: int
    used: int  # units that occur
    entropy: float  # bits of a frame's unit, by itself
    words: Share
    voice: Share

    @property
    def units_per_second(self) -> float:
        """As stored."""
        return self.units / self.seconds

    @property
    def bits_per_second(self) -> float:
        """Of frames' units, each by itself: what a code without context would need."""
        return self.entropy * self.frames / self.seconds

    @property
    def run_length(self) -> float:
        """Frames that a unit lasts."""
        return self.frames / self.runs

    def as_dict(self) -> dict:
        """For JSON."""
        found: dict[str, object] = {
            name: getattr(self, name)
            for name in "recordings speakers seconds units frames runs size used entropy".split()
        }
        for name in ("units_per_second", "run_length", "bits_per_second"):
            found[name] = getattr(self, name)
        for name, share in (("words", self.words), ("voice", self.voice)):
            found |= {f"{name}_percent": share.percent, f"{name}_ci95": list(share.ci95)}
        return found


def report(
    spoken: Sequence[Spoken],
    size: int,
    frames_per_second: float,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> UnitReport:
    """The report card of a unit set of `size` units.

    Errors (ValueError): fewer than two recordings, of which none can be predicted from others."""
    if len(spoken) < 2:
        raise ValueError(f"{len(spoken)} recordings: a report on units needs at least 2")
    counts_K = _counts(spoken, size)
    halves = split_in_halves(spoken)
    bits = [held_out_bits(known, unseen, size) for known, unseen in (halves, halves[::-1])]
    bits_N3 = np.concatenate(bits)
    words = _share(bits_N3[:, [0, 2]], resamples, seed)
    speakers = [each.speaker for each in (*halves[1], *halves[0])]  # in the order of the bits
    several = len(set(speakers)) > 1
    voice = _share(bits_N3[:, [1, 2]], resamples, seed, speakers if several else None)
    frames = int(counts_K.sum())
    return UnitReport(
        recordings=len(spoken),
        speakers=len({each.speaker for each in spoken}),
        seconds=frames / frames_per_second,
        units=sum(each.stored for each in spoken),
        frames=frames,
        runs=sum(len(list(groupby(each.frames))) for each in spoken),
        size=size,
        used=int((counts_K > 0).sum()),
        entropy=entropy(counts_K),
        words=words,
        voice=voice,
    )


def entropy(counts_K: np.ndarray) -> float:
    """Bits of what was counted."""
    shares = counts_K[counts_K > 0] / counts_K.sum()
    return float(-(shares * np.log2(shares)).sum())


def split_in_halves(spoken: Iterable[Spoken]) -> tuple[list[Spoken], list[Spoken]]:
    """Every second recording of each speaker, and the others."""
    halves: tuple[list[Spoken], list[Spoken]] = ([], [])
    seen: Counter[str] = Counter()
    for n, each in enumerate(spoken):
        # speakers of one recording are dealt out in turn
        turn = seen[each.speaker] + (n if not seen[each.speaker] else 0)
        halves[turn % 2].append(each)
        seen[each.speaker] = turn + 1
    return halves


def held_out_bits(known: Sequence[Spoken], unseen: Sequence[Spoken], size: int) -> np.ndarray:
    """(recordings, 3) bits of the unseen: saved by words, saved by the voice, all of them."""
    inside = split_in_halves(known)
    tried_P3 = np.array([_saved_bits(*inside, size, prior, prior).sum(0) for prior in PRIORS])
    words, voice = (PRIORS[best] for best in tried_P3[:, :2].argmax(0))
    return _saved_bits(known, unseen, size, words, voice)


def _saved_bits(
    known: Sequence[Spoken], unseen: Sequence[Spoken], size: int, words: float, voice: float
) -> np.ndarray:
    """As `held_out_bits`, with the priors of words and voices."""
    counts_K = _counts(known, size) + 0.5
    average_K = counts_K / counts_K.sum()
    speakers = _by_speaker(known, average_K, voice)
    learned = WordUnits.learn(known, average_K, words)
    rows = []
    for each in unseen:
        alone_T = np.log2(average_K[each.units_T])
        voice_T = np.log2(speakers.get(each.speaker, average_K)[each.units_T])
        words_T = np.log2(learned.likely(each))
        rows.append(((words_T - alone_T).sum(), (voice_T - alone_T).sum(), -alone_T.sum()))
    return np.array(rows).reshape(-1, 3)


class WordUnits:
    """Which units a word is spoken with, learned without an alignment."""

    def __init__(self, rows: dict[str, int], average_K: np.ndarray, prior: float):
        self.rows = rows  # of words in the table; the last row is of words that are not known
        self.prior_K = prior * average_K
        self.table_VK = np.tile(average_K, (len(rows) + 1, 1))

    @classmethod
    def learn(
        cls, known: Sequence[Spoken], average_K: np.ndarray, prior: float = PRIORS[0]
    ) -> WordUnits:
        """By expectation maximisation; the first round knows places only."""
        words = {SILENCE, *(word for each in known for word in each.words)}
        made = cls({word: row for row, word in enumerate(sorted(words))}, average_K, prior)
        for _ in range(ROUNDS):
            made._improve(known)
        return made

    def likely(self, each: Spoken) -> np.ndarray:
        """(T,) probabilities of a recording's units, given its words."""
        return self._joint(each).sum(1)

    def _joint(self, each: Spoken) -> np.ndarray:
        """(T, W) of word and unit."""
        return each.prior_TW * self.table_VK[self._rows(each)[:, None], each.units_T].T

    def _rows(self, each: Spoken) -> np.ndarray:
        spoken = (SILENCE, *each.words, SILENCE)
        return np.array([self.rows.get(word, len(self.rows)) for word in spoken])

    def _improve(self, known: Sequence[Spoken]) -> None:
        counts_VK = np.tile(self.prior_K, (len(self.rows) + 1, 1))
        for each in known:
            joint_TW = self._joint(each)
            share_TW = joint_TW / joint_TW.sum(1, keepdims=True)
            np.add.at(counts_VK, (self._rows(each)[None], each.units_T[:, None]), share_TW)
        self.table_VK = counts_VK / counts_VK.sum(1, keepdims=True)


def _by_speaker(
    known: Sequence[Spoken], average_K: np.ndarray, prior: float
) -> dict[str, np.ndarray]:
    """How often each speaker says each unit, the average added."""
    counts: dict[str, np.ndarray] = {}
    for each in known:
        row_K = counts.setdefault(each.speaker, prior * average_K)
        row_K += np.bincount(each.units_T, minlength=len(average_K))
    return {speaker: row_K / row_K.sum() for speaker, row_K in counts.items()}


def _counts(spoken: Iterable[Spoken], size: int) -> np.ndarray:
    """(K,) frames of each unit."""
    return sum((np.bincount(each.units_T, minlength=size) for each in spoken), np.zeros(size))


def _share(bits_N2: np.ndarray, resamples: int, seed: int, units: Units = None) -> Share:
    """units: what is drawn (None: the recordings)."""
    saved, total = bits_N2.sum(0)
    return Share(float(saved), float(total), rate_intervals([bits_N2], resamples, seed, units)[0])
