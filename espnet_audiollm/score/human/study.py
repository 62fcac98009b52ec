"""A study: which utterances raters judge, in which order they see the answers, and whose they are.

N utterances are drawn from each level of the cascade's word error rate (AudioChatLlama, section
4.3). Order is by a hash of the seed and the utterance, so the same seed draws the same study on
every machine, and an utterance more in the test set does not shuffle the others. The study is the
key of its page: raters never see it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from ..wer import WordErrors

FORMAT = "audiollm human evaluation key"
VERSION = 1
MOST_SYSTEMS = 6  # answers of an item; more, and nobody compares them with care


@dataclass(frozen=True)
class Level:
    """Utterances whose word error rate is `low` or more, and less than `high`."""

    low: float  # %
    high: float | None  # %; None: no limit

    def holds(self, rate: float) -> bool:
        """Whether a word error rate (%) is of this level."""
        return self.low <= rate and (self.high is None or rate < self.high)

    def __str__(self) -> str:
        if self.high is None:
            return f"{self.low:g} % and more"
        return f"{self.low:g} to {self.high:g} %" if self.low else f"under {self.high:g} %"


@dataclass(frozen=True)
class Item:
    """An utterance that is rated."""

    id: str  # of the utterance
    level: int  # index into Study.levels
    words: dict[str, WordErrors]  # label of a cascade: its errors in this utterance
    answers: tuple[tuple[str, ...], ...]  # for each answer shown, the systems that gave it

    def answer_of(self, system: str) -> int:
        """Index of the answer that this system gave."""
        return next(a for a, systems in enumerate(self.answers) if system in systems)


@dataclass(frozen=True)
class Study:
    """The key of a page: what raters are not to know."""

    page: str  # id of the page that goes with this key
    test_set: str
    seed: int
    cascade: str  # label: whose word error rate makes the levels
    systems: tuple[str, ...]  # labels, in the order of the table
    levels: tuple[Level, ...]
    available: tuple[int, ...]  # utterances of each level in the test set
    items: tuple[Item, ...]  # the first is item 1 of the page

    def as_dict(self) -> dict:
        """What key.json holds."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}


def levels(bounds: Sequence[float]) -> tuple[Level, ...]:
    """(10, 20) makes three levels: under 10 %, 10 to 20 %, 20 % and more."""
    edges = [0.0, *bounds]
    if any(not low < high for low, high in zip(edges, edges[1:], strict=False)):
        given = " ".join(f"{bound:g}" for bound in bounds)
        raise ValueError(f"--bounds {given}: give rising word error rates above 0, such as 10 20")
    return tuple(Level(low, high) for low, high in zip(edges, [*bounds, None], strict=True))


def draw(
    errors: Mapping[str, WordErrors], among: Sequence[Level], number: int, seed: int
) -> tuple[list[tuple[str, int]], tuple[int, ...]]:
    """`number` utterances of each level, or all where there are fewer: [(id, level)] in the order
    of the page, and how many each level had. ValueError for a level that has none."""
    pools = [[id for id in errors if level.holds(errors[id].rate)] for level in among]
    empty = [str(level) for level, pool in zip(among, pools, strict=True) if not pool]
    if empty:
        raise ValueError(
            f"{len(empty)} of {len(among)} levels of word error rate have no utterance (first: "
            f"{empty[0]}); give other --bounds"
        )
    chosen = [
        (id, number_of_level)
        for number_of_level, pool in enumerate(pools)
        for id in sorted(pool, key=lambda id: rank(seed, "draw", id))[:number]
    ]
    chosen.sort(key=lambda item: rank(seed, "order", item[0]))
    return chosen, tuple(map(len, pools))


def blind(id: str, answers: Mapping[str, str], seed: int) -> list[tuple[str, tuple[str, ...]]]:
    """{system: answer} to [(answer, the systems that gave it)] in an order that tells nothing.

    Systems that answered the same, but for white space at the ends, share one entry: it is judged
    once and counts for each."""
    systems: dict[str, list[str]] = {}
    for system, answer in answers.items():
        systems.setdefault(answer.strip(), []).append(system)
    in_order = sorted(systems, key=lambda answer: rank(seed, "answer", id, answer))
    return [(answer, tuple(systems[answer])) for answer in in_order]


def rank(seed: int, *what: str) -> bytes:
    """A random order that depends on the seed and the names only, on every machine."""
    return hashlib.sha256("\0".join([str(seed), *what]).encode()).digest()


def study_from_dict(found: dict) -> Study:
    """The inverse of `as_dict`. Raises KeyError, TypeError or ValueError for anything else."""
    if found["format"] != FORMAT or found["version"] != VERSION:
        raise ValueError(f"its version is {found['version']}")
    study = Study(
        _text(found["page"]),
        _text(found["test_set"]),
        int(found["seed"]),
        _text(found["cascade"]),
        _texts(found["systems"]),
        tuple(Level(level["low"], level["high"]) for level in found["levels"]),
        tuple(map(int, found["available"])),
        tuple(map(_item_from_dict, found["items"])),
    )
    systems = sorted(study.systems)
    for item in study.items:
        given = sorted(system for answer in item.answers for system in answer)
        if given != systems or item.level not in range(len(study.levels)):
            raise ValueError(f"{item.id} does not have one answer of every system")
    return study


def _item_from_dict(found: dict) -> Item:
    words = {label: WordErrors(**counts) for label, counts in found["words"].items()}
    answers = tuple(map(_texts, found["answers"]))
    return Item(_text(found["id"]), int(found["level"]), words, answers)


def _texts(values: Iterable) -> tuple[str, ...]:
    return tuple(map(_text, values))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value
