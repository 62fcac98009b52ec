"""Units of speech as tokens of an LLM: their names, and where they stand in its vocabulary.

Units become ids by counting, never through text: a name spelled out by a user stays text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..types import Units

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BEGIN, END = "<|audio|>", "<|/audio|>"


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
