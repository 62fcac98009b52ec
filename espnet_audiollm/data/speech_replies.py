"""What a speech LM's answer says: the outputs of its task, or what is wrong with it.

Text and units are read apart by the ids, never through the names of tokens, so that neither an
answer that writes "<|a_5|>" becomes speech, nor units are lost as special tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from ..types import FinishReason, Units
from .prompt import decode
from .speech_tasks import BETWEEN, SPOKEN, Field, Task, Value
from .unit_tokens import UnitTokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# the length limit came first | text in place of speech or speech of text | units outside their
# marks, or none within them | units that are read, not spoken, or both kinds in one output | fewer
# or more outputs than the task has
Fault: TypeAlias = Literal[
    "no end", "wrong modality", "broken units", "wrong units", "too few", "too many"
]


@dataclass(frozen=True)
class SpeechReply:
    """The outputs up to the first fault."""

    values: dict[Field, Value]
    fault: Fault | None = None  # None: just the task's outputs


def read_reply(
    task: Task,
    ids: Sequence[int],
    finish_reason: FinishReason,
    tokenizer: PreTrainedTokenizerBase,
    units: UnitTokens,
) -> SpeechReply:
    """Of generated ids, their end of turn included or not; units as their own quantiser numbers
    them. An answer without an end is no answer: of its last output nobody knows what is missing."""
    parts = list(_parts(ids, tokenizer, units))
    fault: Fault | None = None
    values: dict[Field, Value] = {}
    for field, part in zip(task.made, parts, strict=False):
        if part is None:
            fault = "broken units"
        elif isinstance(part, Units) != (field in SPOKEN):
            fault = "wrong modality"
        elif isinstance(part, Units) and min(part.ids) < 0:
            fault = "wrong units"
        if fault or part is None:
            break
        values[field] = part
    if finish_reason != "stop":
        if parts and len(values) == len(parts):
            values.popitem()
        return SpeechReply(values, "no end")
    if fault is None and len(parts) != len(task.made):
        fault = "too few" if len(parts) < len(task.made) else "too many"
    return SpeechReply(values, fault)


def _parts(
    ids: Iterable[int], tokenizer: PreTrainedTokenizerBase, units: UnitTokens
) -> Iterable[Value | None]:
    """Lines of text and units in order; None where units are broken. Units have the numbers of the
    output set, below 0 where they are input units."""
    text: list[int] = []
    spoken: list[int] | None = None  # None: outside the marks
    for id_ in ids:
        is_unit = units.first <= id_ < units.first + units.size
        if spoken is None and id_ != units.begin and id_ != units.end and not is_unit:
            text.append(id_)
            continue
        yield from _lines(text, tokenizer)
        text = []
        if spoken is None:
            if id_ != units.begin:
                yield None
                return
            spoken = []
        elif is_unit:
            spoken.append(id_ - units.first - units.output)
        elif id_ == units.end and spoken:
            yield Units(tuple(spoken))
            spoken = None
        else:
            yield None
            return
    yield from _lines(text, tokenizer)
    if spoken is not None:
        yield None


def _lines(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> Iterable[str]:
    lines = (line.strip() for line in decode(ids, tokenizer).split(BETWEEN))
    return [line for line in lines if line]
