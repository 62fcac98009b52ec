"""What a speech LM is trained on: a YAML file that names tasks and where their data lies.

alpha: 1.0              # a task's weight is its number of examples to this power (default 1)
seed: 0                 # decides which instruction an example has (default 0)
system_prompt: ...      # of every dialogue (default: there is no system turn)
sources:
  - name: covost_es     # goes into the ids of its examples
    language: Spanish
    translation_language: English
    tasks: ["[ASR Spanish]", "[ASR AST S2ST Spanish English]"]
    instructions: conf/instructions/english.yaml  # ways to ask (default: the tag itself)
    fields:             # tables of text, LLM's responses, units (data/unit_tables.py)
      audio: dump/train/units_ctc200
      text: dump/train/text
      translation: dump/train/translation
      translation_audio: dump/train_target/units_ctc200
    incomplete: leave_out # utterances that a table lacks (default: refuse)

{language} and {translation_language} anywhere in it are the names of languages that the command
line gives by their codes (bin/prepare_tasks --language fr).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..store.responses import iter_responses
from ..store.tables import outer_join
from ..store.yaml_files import read_options
from ..text.languages import by_code
from ..types import Units
from .instructions import Instructions, Wording, read_instructions
from .kaldi_dir import existing, read_table
from .speech_tasks import FIELDS, LANGUAGE_SLOTS, SPOKEN, Field, Task, Value, check_values
from .unit_tables import iter_units, read_set
from .unit_tokens import UnitVocabulary, VocabularySet

NEXT = "correct the file and run the same command again"
SOURCE_FIELDS = {"name", "language", "translation_language", "tasks", "fields", "instructions"}
SOURCE_FIELDS |= {"incomplete"}
INCOMPLETE = ("refuse", "leave_out")  # what is done with an utterance that a table lacks
MARK = "!"  # between a block's name and an utterance's id: before all letters in order
_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Source:
    """Tables of one corpus, and the tasks that they are used for."""

    name: str
    tasks: tuple[Task, ...]
    fields: Mapping[Field, Path]
    instructions: Instructions | None = None  # None: the tag asks
    gaps: bool = False  # utterances that a table lacks are left out

    def wording(self, task: Task) -> Wording:
        """How the examples of a task ask for it."""
        if self.instructions is None:
            return Wording()
        return self.instructions.wording(task, self.name)

    def examples(
        self, task: Task, vocabulary: UnitVocabulary
    ) -> Iterator[tuple[str, dict[Field, Value] | None]]:
        """(utterance, its fields) of a task, in order of ids, streamed; units as the vocabulary
        numbers them. None in their place: a table lacks the utterance, and the source leaves such
        out.

        Errors (ValueError): tables with other ids, an empty text or no units; units of a quantiser
        that the vocabulary does not have."""
        names = list(dict.fromkeys(task.fields))
        for id_, values in outer_join(*(self._rows(name, vocabulary) for name in names)):
            found = {n: value for n, value in zip(names, values, strict=True) if value is not None}
            lacking = [str(self.fields[name]) for name in names if name not in found]
            if lacking and self.gaps:
                yield id_, None
                continue
            if lacking:
                raise ValueError(
                    f"{self.name}: {id_} is missing in {', '.join(lacking)}: {task} needs all of "
                    f"{', '.join(names)}; run the stages that make them again, or say incomplete: "
                    "leave_out in the source"
                )
            check_values(id_, task, found)
            yield id_, found

    def _rows(self, name: Field, vocabulary: UnitVocabulary) -> Iterator[tuple[str, Value]]:
        if name not in SPOKEN and self.fields[name].is_dir():
            for answer in iter_responses(self.fields[name]):
                yield answer.id, answer.response
            return
        if name not in SPOKEN:
            yield from read_table(existing(self.fields[name]))
            return
        place = self.fields[name]
        first = vocabulary.set_of(read_set(place), place, "that they are for").first
        for row in iter_units(place):
            yield row.id, Units(tuple(first + unit for unit in row.units))

    def check_units(self, vocabulary: UnitVocabulary, llm: str) -> None:
        """Refuse (ValueError) units of quantisers that the LLM lacks, and tasks that read its
        output units or speak its input units. Speech by itself may be of both."""
        for task in self.tasks:
            for name in (name for name in task.fields if name in SPOKEN):
                found = vocabulary.set_of(read_set(self.fields[name]), self.fields[name], llm)
                reads = name == task.given
                due = vocabulary.input if reads else vocabulary.output
                if task.given is not None and found != due:
                    raise ValueError(self._wrong_set(task, name, found, due, llm))

    def _wrong_set(
        self, task: Task, name: Field, found: VocabularySet, due: VocabularySet, llm: str
    ) -> str:
        does, other = ("reads", "speaks") if name == task.given else ("speaks", "reads")
        return (
            f"{self.name}: {task} {does} {name}, and its units in {self.fields[name]} are those "
            f"that the LLM {llm} {other} ({found.quantiser[:12]}), not those that it {does} "
            f"({due.quantiser[:12]}): give {name} of these units, in a source of its own, or leave "
            "the task out"
        )


@dataclass(frozen=True)
class Mixture:
    """The sources of a file."""

    sources: tuple[Source, ...]
    alpha: float
    system_prompt: str | None = None  # None: no system turn
    share: float = 1.0  # of all utterances; the others are left aside

    def has(self, id_: str) -> bool:
        """Whether an utterance is among the share, by chance: for all tasks or for none. A smaller
        share lies within a larger one."""
        return int(hashlib.sha256(id_.encode()).hexdigest()[:12], 16) < self.share * 16**12

    def blocks(self) -> list[tuple[str, Source, Task]]:
        """(name, source, task), so that ids NAME!UTTERANCE one block after the other are sorted."""
        found = [
            (f"{source.name}.{task.key}", source, task)
            for source in self.sources
            for task in source.tasks
        ]
        return sorted(found, key=lambda block: block[0] + MARK)

    def check_units(self, vocabulary: UnitVocabulary, llm: str) -> None:
        """As `Source.check_units` does, of all sources."""
        for source in self.sources:
            source.check_units(vocabulary, llm)

    def unit_places(self) -> Iterator[Path]:
        """The directories of units that the tasks need."""
        for source in self.sources:
            needed = {name for task in source.tasks for name in task.fields}
            yield from (source.fields[name] for name in sorted(needed & SPOKEN))

    @property
    def merged(self) -> bool | None:
        """Whether repeats are one unit; None: in some directories only."""
        found = {read_set(place).merged for place in self.unit_places()}
        return found.pop() if len(found) == 1 else None


def read_mixture(path: str | Path, languages: Sequence[str | None] = ()) -> Mixture:
    """The sources that a file names.

    languages: codes for {language} and {translation_language} (None: the file has no such slot).

    Errors (ValueError): unknown or missing keys, tags that are unknown or of a language that the
    source lacks, fields that a task needs and the source has not, names that come twice, codes of
    no language."""
    found = read_options(path, NEXT)
    try:
        codes = zip(LANGUAGE_SLOTS, languages, strict=False)
        found = _filled(found, {slot: _name(code) for slot, code in codes if code})
        _check_keys(found, {"alpha", "seed", "sources", "system_prompt"}, "the mixture")
        alpha = found.get("alpha", 1.0)
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 10:
            raise ValueError(f"alpha is {alpha!r}: give a number from 0 to 10")
        sources = found.get("sources")
        if not isinstance(sources, list) or not sources:
            raise ValueError("there are no sources")
        system = found.get("system_prompt")
        if system is not None and not isinstance(system, str):
            raise ValueError(f"system_prompt is {system!r}: give a text")
        seed = found.get("seed", 0)
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise ValueError(f"seed is {seed!r}: give a whole number")
        made = tuple(_source(source, seed) for source in sources)
        mixture = Mixture(made, float(alpha), system)
        names = [name for name, _, _ in mixture.blocks()]
        if twice := [name for i, name in enumerate(names) if name in names[:i]]:
            raise ValueError(f"{twice[0]} comes twice: sources have names of their own")
    except ValueError as error:
        raise ValueError(f"{path}: {error}; {NEXT}") from error
    return mixture


def _source(found: Any, seed: int) -> Source:
    if not isinstance(found, dict):
        raise ValueError(f"a source is {found!r}, not 'name: value' lines")
    name = found.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"a source's name is {name!r}: letters, digits, _ and -")
    _check_keys(found, SOURCE_FIELDS, f"the source {name}")
    fields, tags = found.get("fields"), found.get("tasks")
    if not isinstance(fields, dict) or not isinstance(tags, list) or not tags:
        raise ValueError(f"the source {name} needs fields ('text: PATH') and a list of tasks")
    _check_keys(fields, set(FIELDS), f"the fields of {name}")
    tasks = tuple(Task.parse(str(tag)) for tag in tags)
    languages = (found.get("language"), found.get("translation_language"))
    for task in tasks:
        _check_task(task, name, languages, fields)
    places = {field: Path(str(place)) for field, place in fields.items()}
    gaps = found.get("incomplete", INCOMPLETE[0])
    if gaps not in INCOMPLETE:
        raise ValueError(f"incomplete is {gaps!r} in {name}: {' or '.join(INCOMPLETE)}")
    instructions = _instructions(found.get("instructions"), tasks, seed)
    return Source(name, tasks, places, instructions, gaps == "leave_out")


def _filled(found: Any, names: Mapping[str, str]) -> Any:
    """What was read, with the slots of languages filled in all its texts."""
    if isinstance(found, dict):
        return {key: _filled(value, names) for key, value in found.items()}
    if isinstance(found, list):
        return [_filled(value, names) for value in found]
    if not isinstance(found, str):
        return found
    for slot, name in names.items():
        found = found.replace(slot, name)
    if lacking := [slot for slot in LANGUAGE_SLOTS if slot in found]:
        raise ValueError(f"{found!r} needs a language: give --{lacking[0].strip('{}')} CODE")
    return found


def _name(code: str) -> str:
    language = by_code(code)
    if language is None:
        raise ValueError(f"no language has the code {code!r}: give one as corpora do (fr, zh-CN)")
    return language.name


def _instructions(path: Any, tasks: Iterable[Task], seed: int) -> Instructions | None:
    if path is None:
        return None
    instructions = read_instructions(str(path), seed)
    for task in tasks:
        instructions.check(task, str(path))
    return instructions


def _check_task(task: Task, name: str, languages: tuple, fields: Mapping) -> None:
    if task.languages != languages[: len(task.languages)]:
        has = " and ".join(str(each) for each in languages if each) or "no language"
        raise ValueError(
            f"the source {name} has {has} (language, translation_language), and {task} asks for "
            f"{' to '.join(task.languages)}"
        )
    if lacking := [field for field in task.fields if field not in fields]:
        raise ValueError(
            f"{task} needs {', '.join(lacking)}, which the source {name} has not: name its table "
            "or its directory of units under fields"
        )


def _check_keys(found: Mapping, known: set[str], what: str) -> None:
    unknown = [str(key) for key in found if key not in known]
    if unknown:
        raise ValueError(
            f"{what} has {len(unknown)} unknown keys (first: {unknown[0]}): known are "
            f"{', '.join(sorted(known))}"
        )
