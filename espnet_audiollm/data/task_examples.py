"""Examples of speech tasks as token ids, for training; the rows of one block lie together.

prompt_ids      "covost.asr_spanish!u1 1 518 32000 32007 32001 9": read, never in the loss
response_ids    what is predicted, its end of turn included
lengths         positions of both together: batches are made by them
tasks.json      the blocks, their sizes and weights; the LLM's vocabulary
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..store.atomic import new_directories
from ..store.json_files import read_object, write_json
from ..types import Units
from .instructions import Wording
from .kaldi_dir import TableWriter
from .prompt import encode, lines_before, reply_ids
from .speech_tasks import Field, Task, Value
from .task_mixture import MARK, Mixture, Source
from .unit_tokens import UnitTokens, UnitVocabulary
from .weighting import shares

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROMPTS, RESPONSES, LENGTHS, FACTS = "prompt_ids", "response_ids", "lengths", "tasks.json"
NEXT = "prepare the tasks again (bin/prepare_tasks)"

Values: TypeAlias = Mapping[Field, Value]
Sequences: TypeAlias = tuple[list[int], list[int]]  # prompt, response
Row: TypeAlias = tuple[str, list[int], list[int]]  # utterance, prompt, response
Encode: TypeAlias = Callable[[Task, Values, str | None], Sequences]


@dataclass(frozen=True)
class Block:
    """The examples of one task from one source: consecutive rows."""

    name: str
    tag: str
    size: int  # examples
    left_out: int  # that are longer than the LLM's context
    tokens: int  # that are predicted in one pass
    weight: float  # share of an epoch
    incomplete: int = 0  # utterances that were left out since a table lacks them
    wording: Wording | None = None  # how they ask. None: an earlier version did not note it


@dataclass(frozen=True)
class About:
    """What a directory of examples holds."""

    blocks: tuple[Block, ...]  # in the order of their rows
    alpha: float  # a task's weight is its number of examples to this power
    vocabulary: UnitVocabulary  # of the LLM that they are for
    merged: bool | None = None  # repeated units are written once. None: not the same in all of them
    system_prompt: str | None = None  # of every prompt. None: no such turn

    @property
    def tags(self) -> tuple[str, ...]:
        """The tasks, each once."""
        return tuple(dict.fromkeys(block.tag for block in self.blocks))

    def wordings(self, where: str | Path) -> tuple[Wording, ...]:
        """How each of `tags` is asked for, in the first block that has it.

        Errors (ValueError): the examples do not say so."""
        found = {block.tag: block.wording for block in reversed(self.blocks)}
        known = [found[tag] for tag in self.tags]
        if lacking := [tag for tag, wording in zip(self.tags, known, strict=True) if not wording]:
            raise ValueError(
                f"the examples in {where} do not say how {lacking[0]} is asked for: an earlier "
                "version made them; remove them and prepare them again (bin/prepare_tasks, "
                "stage 7)"
            )
        return tuple(wording for wording in known if wording)

    def check_vocabulary(self, vocabulary: UnitVocabulary, where: str | Path, llm: str) -> None:
        """Refuse (ValueError) an LLM that these token ids were not made for."""
        for name, theirs, own in self.vocabulary.differences(vocabulary):
            raise ValueError(
                f"the examples in {where} were made for an LLM with another {name} ({theirs}) than "
                f"{llm} has ({own}): {NEXT}"
            )

    def check_form(self, where: str | Path) -> None:
        """Refuse (ValueError) examples that do not say whether repeated units are merged."""
        if self.merged is None:
            raise ValueError(
                f"the examples in {where} do not say whether repeated units are written once, or "
                "not all are alike: prepare them again (bin/prepare_tasks) from units of one form"
            )


@dataclass(frozen=True)
class Encoder:
    """Turns an example into token ids, by the LLM's chat template."""

    tokenizer: PreTrainedTokenizerBase
    units: UnitTokens
    eos_ids: Sequence[int]
    system_prompt: str | None = None

    def __call__(self, task: Task, values: Values, template: str | None = None) -> Sequences:
        """The prompt, and the reply that is learned. Without a dialogue the prompt is the token
        that begins a text, and the reply what `pack` may join with others.

        template: how the task is asked for (None: by its tag).

        Errors (ValueError): units that the LLM does not have, a template that does not fit."""
        if task.given is None:
            return [self._begin()], self._alone(values[task.made[0]])
        turns = task.prompt(values[task.given], self.system_prompt, template)
        *first, last = task.outputs(values)
        prompt = encode(turns, self.tokenizer, units=self.units)
        before = lines_before(first, self.tokenizer, self.eos_ids, self.units)
        reply = reply_ids(turns, last, self.tokenizer, self.eos_ids, self.units, prompt)
        return prompt, before + reply

    def _begin(self) -> int:
        begin = self.tokenizer.bos_token_id
        return next(iter(self.eos_ids)) if begin is None else begin

    def _alone(self, value: Value) -> list[int]:
        assert isinstance(value, Units)
        return self.units.encode(value)


def pack(rows: Iterable[Row], context: int) -> Iterator[Row]:
    """Rows (id, prompt, response) whose responses follow one another as long as `context` positions
    hold them; the id and the prompt are those of the first. None is cut."""
    waiting: Row | None = None
    for id_, prompt, response in rows:
        if waiting and len(waiting[1]) + len(waiting[2]) + len(response) <= context:
            waiting = (*waiting[:2], waiting[2] + response)
            continue
        if waiting:
            yield waiting
        waiting = (id_, prompt, response)
    if waiting:
        yield waiting


def write_examples(
    directory: str | Path,
    mixture: Mixture,
    encoder: Encode,
    vocabulary: UnitVocabulary,
    context: int,
    system_prompt: str | None = None,
) -> list[Block]:
    """Write all examples of a mixture that fit into `context` positions; the directory appears
    whole or not at all.

    system_prompt: the encoder's, noted for those who ask the trained model.

    Errors (ValueError): a task of which no example is left; see `Source.examples`."""
    counted = []
    with new_directories(directory) as (aside,):
        with TableWriter(aside) as tables:
            for name, source, task in mixture.blocks():
                gaps: list[int] = []
                rows = _rows(mixture, source, task, encoder, vocabulary, gaps)
                if task.given is None:
                    rows = pack(rows, context)
                counts = _write_block(tables, name, rows, context)
                wording = source.wording(task)
                counted.append(Block(name, str(task), *counts, 0.0, sum(gaps), wording))
        weights = shares([block.size for block in counted], mixture.alpha)
        blocks = [replace(b, weight=share) for b, share in zip(counted, weights, strict=True)]
        facts = {
            "alpha": mixture.alpha,
            "vocabulary": vocabulary.as_record(),
            "merged": mixture.merged,
            "system_prompt": system_prompt,
            "blocks": list(map(asdict, blocks)),
        }
        write_json(aside / FACTS, facts)
    return blocks


def read_about(directory: str | Path) -> About:
    """What a directory of examples says of itself.

    Errors (ValueError): no examples there, or a damaged file."""
    path = Path(directory) / FACTS
    if not path.is_file():
        raise ValueError(f"{path} does not exist: {directory} has no examples; {NEXT}")
    try:
        found = read_object(path, NEXT)
        blocks = [_block(block) for block in found["blocks"]]
        return About(
            tuple(blocks),
            float(found["alpha"]),
            UnitVocabulary.of_record(found["vocabulary"], "its vocabulary", NEXT),
            found.get("merged"),
            found.get("system_prompt"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): {NEXT}") from error


def _block(found: Mapping[str, Any]) -> Block:
    wording = found.get("wording")
    return Block(**{**found, "wording": None if wording is None else Wording.of_record(wording)})


def _rows(
    mixture: Mixture,
    source: Source,
    task: Task,
    encoder: Encode,
    vocabulary: UnitVocabulary,
    gaps: list[int],
) -> Iterator[Row]:
    gaps.append(0)
    wording = source.wording(task)
    for id_, values in source.examples(task, vocabulary):
        if not mixture.has(id_):
            continue
        if values is None:
            gaps[0] += 1
        else:
            yield id_, *encoder(task, values, wording.template(id_))


def _write_block(
    tables: TableWriter, name: str, rows: Iterable[Row], context: int
) -> tuple[int, int, int]:
    """Examples written, those left out, tokens that are predicted."""
    size = left_out = tokens = 0
    for id_, prompt, response in rows:
        if len(prompt) + len(response) > context:
            left_out += 1
            continue
        size, tokens = size + 1, tokens + len(response)
        row = {PROMPTS: _spelled(prompt), RESPONSES: _spelled(response)}
        tables.add(f"{name}{MARK}{id_}", row | {LENGTHS: str(len(prompt) + len(response))})
    if not size and not left_out:
        raise ValueError(
            f"{name}: no utterance is left: a table lacks each of them, or none is among the share "
            "of the utterances: complete the tables, or give a larger share (--share)"
        )
    if not size:
        raise ValueError(
            f"{name}: none of {left_out} examples fits into the LLM's {context} positions: merge "
            "repeats (bin/extract_units --merge_repeats true), take shorter speech or larger units"
        )
    return size, left_out, tokens


def _spelled(ids: list[int]) -> str:
    return " ".join(map(str, ids))
