"""Units of speech as tokens of an LLM: their names, and where they stand in its vocabulary.

Units become ids by counting, never through text: a name spelled out by a user stays text.

    unit_vocabulary.json    in the directory of an LLM with unit tokens: whose units they are
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..store.json_files import read_record
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

    def decode(self, ids: Iterable[int]) -> Units:
        """The units among token ids; marks and text are left out."""
        places = (id_ - self.first for id_ in ids)
        return Units(tuple(place for place in places if 0 <= place < self.size))


@dataclass(frozen=True)
class UnitVocabulary:
    """What an LLM's unit tokens are, and what it was made of."""

    quantiser: str  # fingerprint
    size: int  # number of units
    frames_per_second: float
    llm: str  # the text LLM's fingerprint
    init: str  # how the new rows began
    seed: int

    def as_text(self) -> str:
        """The contents of its file."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def check_units(self, unit_set: UnitSet, where: str | Path, llm: str) -> None:
        """Refuse (ValueError) units of another quantiser than the LLM's."""
        unit_set.check_quantiser(self.quantiser, where, f"the vocabulary of the LLM {llm}")


def read_vocabulary(llm: str | Path) -> UnitVocabulary:
    """Of an LLM's directory. Errors (ValueError): it has no unit tokens, or a damaged file."""
    path, again = Path(llm) / FACTS, "make the LLM again (bin/extend_llm)"
    if not path.is_file():
        raise ValueError(f"{path} does not exist: {llm} has no units in its vocabulary; {again}")
    return read_record(path, UnitVocabulary, again)
