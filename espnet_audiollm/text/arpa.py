"""Back-off language models of n-grams, and ARPA, the format of theirs that KenLM, SRILM and
PocketSphinx share.

The probability of a word after a context is that of the longest n-gram the model has; for each
word by which the context must be shortened, the context's back-off weight is a factor.
"""

# V words, N n-grams of one length n

from __future__ import annotations

import gzip
import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

BEGIN, END = "<s>", "</s>"
NEVER = -99.0  # log10 of what cannot come


@dataclass(frozen=True)
class Level:
    """The n-grams of one length, sorted by parent, then word."""

    parent_N: np.ndarray  # place of the first n-1 words in the level before; of words: 0
    word_N: np.ndarray  # place of the last word in the model's list
    log10_N: np.ndarray
    backoff_N: np.ndarray  # log10 of the back-off weight; 0 where nothing follows


class NGrams:
    """A language model of sentences.

    words: its vocabulary, BEGIN and END among it.
    levels: the words, each one in this order; the bigrams; and so on."""

    def __init__(self, words: Sequence[str], levels: Sequence[Level]):
        self.words, self.levels = list(words), list(levels)
        self.place_of = {word: place for place, word in enumerate(words)}
        self._keys = [level.parent_N * len(self.words) + level.word_N for level in levels]

    @property
    def order(self) -> int:
        """Words of its longest n-grams."""
        return len(self.levels)

    def log_p(self, context: Sequence[int]) -> np.ndarray:
        """Natural log-probabilities (V,) of the next word after the words at these places."""
        log10_V = self.levels[0].log10_N.copy()
        for length in range(1, min(self.order - 1, len(context)) + 1):
            place = self._find(context[-length:])
            if place is None:  # nor is there a longer one that ends with it
                break
            log10_V += self.levels[length - 1].backoff_N[place]
            ends = np.array([place, place + 1]) * len(self.words)
            followers = slice(*self._keys[length].searchsorted(ends))
            level = self.levels[length]
            log10_V[level.word_N[followers]] = level.log10_N[followers]
        return log10_V * math.log(10)

    def probability(self, word: str, *context: str) -> float:
        """Of a word after others. KeyError: one that the model lacks."""
        places = [self.place_of[each] for each in context]
        return math.exp(self.log_p(places)[self.place_of[word]])

    def sentence_log_p(self, words: Sequence[str]) -> float:
        """Natural log-probability of a sentence with its end. KeyError: a word that it lacks."""
        places = [self.place_of[word] for word in (BEGIN, *words, END)]
        return sum(
            float(self.log_p(places[max(0, i - self.order + 1) : i])[places[i]])
            for i in range(1, len(places))
        )

    def _find(self, words: Sequence[int]) -> int | None:
        """The place of an n-gram in its level."""
        place = words[0]
        for keys, word in zip(self._keys[1:], words[1:], strict=False):
            key = place * len(self.words) + word
            place = int(keys.searchsorted(key))
            if place == len(keys) or keys[place] != key:
                return None
        return place


def write_arpa(model: NGrams, out: IO[str]) -> None:
    """The model in ARPA's format."""
    out.write("\\data\\\n")
    out.writelines(f"ngram {n}={len(each.word_N)}\n" for n, each in enumerate(model.levels, 1))
    texts: list[str] = []
    for n, level in enumerate(model.levels, 1):
        out.write(f"\n\\{n}-grams:\n")
        last = [model.words[place] for place in level.word_N.tolist()]
        before = [texts[place] for place in level.parent_N.tolist()] if n > 1 else []
        texts = [" ".join(pair) for pair in zip(before, last, strict=True)] if n > 1 else last
        backoffs = level.backoff_N.tolist() if n < model.order else [None] * len(last)
        for log10, text, word, backoff in zip(
            level.log10_N.tolist(), texts, last, backoffs, strict=True
        ):
            tail = "" if backoff is None or word == END else f" {backoff:.6f}"
            out.write(f"{log10:.6f} {text}{tail}\n")
    out.write("\n\\end\\\n")


def read_arpa(path: str | Path, wanted: Collection[str] | None = None) -> NGrams:
    """The model of an ARPA file (plain, or compressed as .gz).

    wanted: words besides BEGIN and END that n-grams may have; others are left out. None: all.

    Errors (ValueError): the file is missing or no ARPA file, which is said with the line."""
    return _Reader(path, wanted).read()


def arpa_order(path: str | Path) -> int:
    """Words of the longest n-grams of an ARPA file, by its header.

    Errors (ValueError): it has none."""
    reader = _Reader(path, None)
    with reader.opened():
        return len(reader.header())


class _Reader:
    """Reads one file; knows its line for messages."""

    def __init__(self, path: str | Path, wanted: Collection[str] | None):
        self._path, self._number, self._line = path, 0, ""
        self._wanted = None if wanted is None else {*wanted, BEGIN, END}
        self._place_of: dict[str, int] = {}

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Errors (ValueError): it is missing, or no text."""
        if not Path(self._path).is_file():
            raise ValueError(f"{self._path} does not exist: give an ARPA file")
        how = gzip.open if str(self._path).endswith(".gz") else open
        try:
            with how(self._path, "rt", encoding="utf-8", newline="\n") as self._file:
                yield
        except (UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
            fault = f"{self._path} is no ARPA file of UTF-8 text ({error}): give one that is"
            raise ValueError(fault) from error

    def read(self) -> NGrams:
        """The model."""
        with self.opened():
            counts = self.header()
            levels: list[Level] = []
            for n, count in enumerate(counts, 1):
                levels.append(self._level(n, count, levels, n == len(counts)))
            if self._line != "\\end\\":
                raise self._bad("\\end\\ is missing: the file is cut off")
        for sign in (BEGIN, END):
            if sign not in self._place_of:
                raise ValueError(f"{self._path} has no {sign}: give a model of sentences")
        return NGrams(list(self._place_of), levels)

    def _bad(self, fault: str) -> ValueError:
        return ValueError(f"{self._path}, line {self._number}: {fault}; give an ARPA file")

    def _next(self) -> str | None:
        """The next line that is not empty; None at the end."""
        for line in self._file:
            self._number += 1
            self._line = line.strip(" \t\r\n")
            if self._line:
                return self._line
        self._line = ""
        return None

    def header(self) -> list[int]:
        """How many n-grams of each length there are."""
        while self._next() != "\\data\\":
            if not self._line:
                raise self._bad("there is no \\data\\ section")
        counts: list[int] = []
        while (self._next() or "").startswith("ngram "):
            number, _, count = self._line.removeprefix("ngram ").partition("=")
            if number.strip() != str(len(counts) + 1) or not count.strip().isdigit():
                raise self._bad(f"{self._line!r} is not 'ngram {len(counts) + 1}=COUNT'")
            counts.append(int(count))
        if not counts:
            raise self._bad("the \\data\\ section has no counts")
        return counts

    def _rows(self, n: int, count: int) -> Iterator[tuple[str, list[str], str]]:
        """log10, words and back-off weight ("0" where there is none) of one section's lines."""
        if self._line != f"\\{n}-grams:":
            raise self._bad(f"{self._line!r} stands where \\{n}-grams: should")
        found = 0
        while (line := self._next()) and not line.startswith("\\"):
            log10, *words = line.replace("\t", " ").split(" ")
            words = [word for word in words if word]
            if not n <= len(words) <= n + 1:
                raise self._bad(f"{line!r} is no line of {n} words with their log10")
            found += 1
            yield log10, words[:n], words[n] if len(words) > n else "0"
        if found != count:
            raise self._bad(f"{found} {n}-grams, and the \\data\\ section says {count}")

    def _level(self, n: int, count: int, levels: list[Level], last: bool) -> Level:
        places: list[list[int]] = []
        numbers: list[tuple[float, float]] = []
        for log10, words, backoff in self._rows(n, count):
            if n == 1 and (self._wanted is None or words[0] in self._wanted):
                if words[0] in self._place_of:
                    raise self._bad(f"{words[0]} comes twice")
                self._place_of[words[0]] = len(self._place_of)
            found = [self._place_of.get(word) for word in words]
            try:
                values = float(log10), 0.0 if last else float(backoff)
            except ValueError:
                raise self._bad(f"{log10!r} or {backoff!r} is no number") from None
            if not (values[0] <= 1e-4 and abs(values[1]) < math.inf):
                raise self._bad(f"log10 {log10} is above 0, or {backoff} no weight")
            if None not in found:
                places.append([place for place in found if place is not None])
                numbers.append(values)
        words_Nn = np.array(places, dtype=np.int64).reshape(-1, n)
        values_N2 = np.array(numbers, dtype=np.float64).reshape(-1, 2)
        return self._sorted(words_Nn, values_N2, levels)

    def _sorted(self, words_Nn: np.ndarray, values_N2: np.ndarray, levels: list[Level]) -> Level:
        number, n = len(self._place_of), words_Nn.shape[1]
        place_N = words_Nn[:, 0] if n > 1 else np.zeros(len(words_Nn), dtype=np.int64)
        for i in range(1, n - 1):
            key_N = place_N * number + words_Nn[:, i]
            keys = levels[i].parent_N * number + levels[i].word_N
            place_N = np.minimum(keys.searchsorted(key_N), max(len(keys) - 1, 0))
            lost = key_N != keys[place_N] if len(keys) else np.ones(len(key_N), dtype=bool)
            if lost.any():
                names = list(self._place_of)
                first = " ".join(names[place] for place in words_Nn[lost.argmax()].tolist())
                raise ValueError(
                    f"{self._path}: the first {n - 1} words of {lost.sum()} {n}-grams (first: "
                    f"{first!r}) are no {n - 1}-gram of the file; give a complete ARPA file"
                )
        key_N = place_N * number + words_Nn[:, -1]
        order = key_N.argsort(kind="stable")
        twice = int((np.diff(key_N[order]) == 0).sum())
        if twice:
            raise ValueError(f"{self._path}: {twice} {n}-grams come twice; give each once")
        log10_N, backoff_N = values_N2[order].T
        return Level(place_N[order], words_Nn[order, -1], log10_N, backoff_N)
