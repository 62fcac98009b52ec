"""Units of speech as tokens of an LLM: their names, and where they stand in its vocabulary.

Units become ids by counting, never through text: a name spelled out by a user stays text.

A vocabulary has one set of units, or two: input units, which are read, and output units, which are
spoken. Those of the second set follow those of the first: unit i is <|a_{first + i}|>.

    unit_vocabulary.json    in the directory of an LLM with unit tokens: whose units they are
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..store.json_files import read_object, record_of
from ..types import Units
from .unit_tables import UnitSet

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BEGIN, END = "<|audio|>", "<|/audio|>"
FACTS = "unit_vocabulary.json"


def unit_names(size: int) -> tuple[str, ...]:
    """The tokens that a vocabulary of `size` units adds to an LLM's: two marks, and the units."""
    return (BEGIN, END, *(f"<|a_{unit}|>" for unit in range(size)))


@dataclass(frozen=True)
class UnitTokens:
    """Where the units stand among an LLM's tokens."""

    first: int  # id of unit 0; the others follow
    size: int  # number of units
    begin: int  # id of the mark before a turn's units
    end: int  # id of the mark after them
    output: int = 0  # the first unit that may be spoken; units before it are only read

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> UnitTokens:
        """Those that `unit_names` added to the tokenizer.

        Errors (ValueError): it has none, or their ids do not follow one another."""
        added = {token.content: id_ for id_, token in tokenizer.added_tokens_decoder.items()}
        size = sum(name.startswith("<|a_") for name in added)
        ids = [added.get(name, -1) for name in unit_names(size)]
        if not size or ids != list(range(ids[0], ids[0] + size + 2)):
            raise ValueError(
                f"the tokenizer has {size} unit tokens, not all of {BEGIN}, {END}, <|a_0|>, "
                "<|a_1|>, ... in a row: give an LLM whose vocabulary was enlarged by units"
            )
        return cls(first=ids[2], size=size, begin=ids[0], end=ids[1])

    @property
    def ids(self) -> range:
        """Of the marks and all units: what no text has."""
        return range(self.begin, self.first + self.size)

    def encode(self, units: Units) -> list[int]:
        """Token ids, the marks around them.

        Errors (ValueError): no unit at all, or one that the vocabulary does not have."""
        if not units.ids:
            raise ValueError("a turn has no units: leave it out, or take speech that is not empty")
        wrong = [unit for unit in units.ids if not 0 <= unit < self.size]
        if wrong:
            raise ValueError(
                f"{len(wrong)} of {len(units.ids)} units (first: {wrong[0]}) are not among the "
                f"{self.size} of the LLM: take the quantiser that its vocabulary was made for"
            )
        return [self.begin, *(self.first + unit for unit in units.ids), self.end]

    def spoken(self, id_: int) -> int | None:
        """The number of an output unit in its own set; None: another token."""
        place = id_ - self.first - self.output
        return place if 0 <= place < self.size - self.output else None

    def decode(self, ids: Iterable[int]) -> Units:
        """The units among token ids; marks and text are left out."""
        places = (id_ - self.first for id_ in ids)
        return Units(tuple(place for place in places if 0 <= place < self.size))


@dataclass(frozen=True)
class VocabularySet:
    """The units of one quantiser among an LLM's."""

    quantiser: str  # fingerprint
    size: int  # number of units
    frames_per_second: float
    first: int = 0  # its unit 0 is <|a_{first}|>


@dataclass(frozen=True, kw_only=True)
class _Record(VocabularySet):
    """A set as a file has it."""

    llm: str
    init: str
    seed: int


@dataclass(frozen=True)
class UnitVocabulary:
    """What an LLM's unit tokens are, and what it was made of."""

    sets: tuple[VocabularySet, ...]  # the input units, then the output units where these are others
    llm: str  # the text LLM's fingerprint
    init: str  # how the new rows began
    seed: int

    def __post_init__(self) -> None:
        begins = [sum(each.size for each in self.sets[:i]) for i in range(len(self.sets))]
        if len(self.sets) not in (1, 2) or begins != [each.first for each in self.sets]:
            raise ValueError(
                f"{len(self.sets)} sets of units that begin at "
                f"{', '.join(str(each.first) for each in self.sets)}: one or two follow one another"
            )

    @classmethod
    def of_record(cls, found: Any, path: str | Path, again: str) -> UnitVocabulary:
        """What `as_record` made; `path` is where it was read, `again` how it is made again.

        Errors (ValueError): it is damaged."""
        sets = found.get("sets", [{}]) if isinstance(found, dict) else found
        if not isinstance(sets, list) or not all(isinstance(each, dict) for each in sets):
            raise ValueError(f"{path} is damaged (sets of units are {sets!r:.60}): {again}")
        common = {name: value for name, value in found.items() if name != "sets"}
        records = [record_of({**common, **each}, path, _Record, again) for each in sets]
        facts = [VocabularySet(r.quantiser, r.size, r.frames_per_second, r.first) for r in records]
        try:
            return cls(tuple(facts), records[0].llm, records[0].init, records[0].seed)
        except (IndexError, ValueError) as error:
            raise ValueError(f"{path} is damaged ({error}): {again}") from error

    def as_record(self) -> dict[str, Any]:
        """An object of JSON; one set stands beside the other facts, as it always has."""
        about = {"llm": self.llm, "init": self.init, "seed": self.seed}
        if len(self.sets) > 1:
            return {"sets": [asdict(each) for each in self.sets], **about}
        [only] = self.sets
        facts = (only.quantiser, only.size, only.frames_per_second)
        names = ("quantiser", "size", "frames_per_second")
        return {**dict(zip(names, facts, strict=True)), **about}

    def as_text(self) -> str:
        """The contents of its file."""
        return json.dumps(self.as_record(), indent=2) + "\n"

    @property
    def size(self) -> int:
        """Number of units, of all sets."""
        return sum(each.size for each in self.sets)

    @property
    def input(self) -> VocabularySet:
        """The units that are read."""
        return self.sets[0]

    @property
    def output(self) -> VocabularySet:
        """The units that are spoken."""
        return self.sets[-1]

    @property
    def quantisers(self) -> tuple[str, ...]:
        """Fingerprints, one for each set."""
        return tuple(each.quantiser for each in self.sets)

    def differences(self, other: UnitVocabulary) -> list[tuple[str, str, str]]:
        """(fact, this one's, the other's) of all that differs, shortened."""
        own, theirs = self._facts(), other._facts()
        return [(n, _short(own[n]), _short(theirs[n])) for n in own if own[n] != theirs[n]]

    def _facts(self) -> dict[str, list[object]]:
        names = ("quantiser", "size", "frames_per_second")
        facts = {name: [getattr(each, name) for each in self.sets] for name in names}
        return facts | {name: [getattr(self, name)] for name in ("llm", "init", "seed")}

    def tokens(self, tokenizer: PreTrainedTokenizerBase) -> UnitTokens:
        """Where the units stand among the tokenizer's tokens.

        Errors (ValueError): it has no units, or another number of them."""
        found = replace(UnitTokens.of(tokenizer), output=self.output.first)
        if found.size != self.size:
            raise ValueError(
                f"the tokenizer has {found.size} unit tokens, and {FACTS} says {self.size}: take "
                "both from one directory of bin/extend_llm"
            )
        return found

    def set_of(self, unit_set: UnitSet, where: str | Path, llm: str) -> VocabularySet:
        """That of the units in a directory. Errors (ValueError): the LLM has no units of theirs."""
        for each in self.sets:
            if each.quantiser == unit_set.quantiser:
                return each
        unit_set.refuse(where, f"the vocabulary of the LLM {llm}", *self.quantisers)


def read_vocabulary(llm: str | Path) -> UnitVocabulary:
    """Of an LLM's directory. Errors (ValueError): it has no unit tokens, or a damaged file."""
    path, again = Path(llm) / FACTS, "make the LLM again (bin/extend_llm)"
    if not path.is_file():
        raise ValueError(f"{path} does not exist: {llm} has no units in its vocabulary; {again}")
    return UnitVocabulary.of_record(read_object(path, again), path, again)


def _short(values: Iterable[object]) -> str:
    return ", ".join(f"{value!s:.12}" for value in values)
