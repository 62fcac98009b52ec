"""What a speech LM answered to the examples of tasks; each block of examples has a directory.

    OUTPUT/answers.jsonl          "id", "response_ids", "finish_reason" of all examples
    OUTPUT/replies.json           the blocks, the LLM
    OUTPUT/BLOCK/text             hypotheses of each text that the task makes ("" where none came)
    OUTPUT/BLOCK/audio/           units of what it speaks (data/unit_tables.py); none: left out
    OUTPUT/BLOCK/faults           "utterance fault" of answers that are not just the task's outputs
    OUTPUT/BLOCK/reference/text   what the examples hold

Ids are the utterances', without the block's name. Units are as the LLM gives them: where it was
trained on merged repeats, each is one of unknown duration.
"""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..store.json_files import read_object, write_json
from ..store.tables import write_table
from ..types import FinishReason, Units
from .speech_replies import SpeechReply, read_reply
from .speech_tasks import SPOKEN, Field, Task, Value
from .task_mixture import MARK
from .unit_tables import UNITS, UnitSet, write_set
from .unit_tokens import UnitTokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REPLIES, ANSWERS, FAULTS, REFERENCE = "replies.json", "answers.jsonl", "faults", "reference"
NEXT = "answer again (bin/respond_tasks)"


@dataclass(frozen=True)
class BlockReplies:
    """The answers to one task from one source."""

    name: str
    tag: str
    size: int  # examples

    @property
    def task(self) -> Task:
        """The parsed tag."""
        return Task.parse(self.tag)


@dataclass(frozen=True)
class Answer:
    """The token ids of one example's answer, and of its reference."""

    id: str  # BLOCK!UTTERANCE
    ids: tuple[int, ...]
    finish_reason: FinishReason
    reference: tuple[int, ...]


@dataclass(frozen=True)
class Reader:
    """Turns token ids into outputs."""

    tokenizer: PreTrainedTokenizerBase
    units: UnitTokens
    unit_set: UnitSet

    def read(self, task: Task, ids: Iterable[int], finish_reason: FinishReason) -> SpeechReply:
        """The outputs of an answer."""
        return read_reply(task, tuple(ids), finish_reason, self.tokenizer, self.units)


def write_replies(
    directory: str | Path, blocks: Iterable[BlockReplies], answers: Iterable[Answer], reader: Reader
) -> dict[str, dict[str, int]]:
    """Write a directory for each block; how often each fault came, by block. What was there before
    goes, and so does what was made of it (speech, its scores).

    answers: of all examples, in order of ids."""
    for facts in Path(directory).glob(f"*/{FAULTS}"):
        shutil.rmtree(facts.parent)
    tags = {block.name: block.task for block in blocks}
    found = {}
    for name, rows in itertools.groupby(answers, key=lambda answer: answer.id.partition(MARK)[0]):
        found[name] = _write_block(Path(directory) / name, tags[name], list(rows), reader)
    return found


def _write_block(
    directory: Path, task: Task, answers: list[Answer], reader: Reader
) -> dict[str, int]:
    replies, references = {}, {}
    for answer in answers:
        id_ = answer.id.partition(MARK)[2]
        replies[id_] = reader.read(task, answer.ids, answer.finish_reason)
        references[id_] = reader.read(task, answer.reference, "stop")
    for field in task.made:
        for where, each in ((directory, replies), (directory / REFERENCE, references)):
            values = {id_: reply.values.get(field) for id_, reply in each.items()}
            _write_field(where, field, values, reader.unit_set)
    faults = [(id_, str(reply.fault)) for id_, reply in replies.items() if reply.fault]
    write_table(directory / FAULTS, faults)
    return dict(sorted(Counter(fault for _, fault in faults).items()))


def _write_field(
    directory: Path, field: Field, values: Mapping[str, Value | None], unit_set: UnitSet
) -> None:
    if field not in SPOKEN:
        rows = [(id_, str(value or "")) for id_, value in values.items()]
        directory.mkdir(parents=True, exist_ok=True)
        write_table(directory / field, rows)
        return
    (directory / field).mkdir(parents=True, exist_ok=True)
    spoken = [
        (id_, " ".join(map(str, value.ids)))
        for id_, value in values.items()
        if isinstance(value, Units)
    ]
    write_table(directory / field / UNITS, spoken)
    write_set(directory / field, unit_set)


def write_facts(directory: str | Path, blocks: Iterable[BlockReplies], about: Mapping) -> None:
    """Write replies.json. about: which LLM answered, and how."""
    write_json(Path(directory) / REPLIES, {**about, "blocks": list(map(asdict, blocks))})


def read_facts(directory: str | Path) -> tuple[list[BlockReplies], dict[str, Any]]:
    """The blocks, and what else replies.json says.

    Errors (ValueError): there is none, or it is damaged."""
    path = Path(directory) / REPLIES
    if not path.is_file():
        raise ValueError(f"{path} does not exist: {directory} has no answers; {NEXT}")
    found = read_object(path, NEXT)
    names = [field.name for field in fields(BlockReplies)]
    try:
        blocks = [BlockReplies(*(block[name] for name in names)) for block in found.pop("blocks")]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}): {NEXT}") from error
    return blocks, found


def example_tables(prompts: Iterator, responses: Iterator) -> Iterator[tuple[str, list, list]]:
    """(id, prompt, response) of tables of examples, read side by side."""
    for (id_, prompt), (_, response) in zip(prompts, responses, strict=True):
        yield id_, *([int(word) for word in line.split()] for line in (prompt, response))
