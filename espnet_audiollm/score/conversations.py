"""What systems answered in conversations of several turns: success and perplexity with the context
and without, by category, paired by conversation.

A system directory (bin/converse.py) holds system.json and answers.jsonl. All systems of a set are
measured on the same reference responses, which the text system gave."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..store.tables import check_same_ids
from ..text.normalize import normalize
from . import success
from .bootstrap import RESAMPLES
from .perplexity import Perplexity, PerplexityTable, compare
from .success import SuccessCount
from .wer import WordErrors, word_errors

NAMES = ("text", "cascade", "audiollm")  # the order of the table
CONTEXTS = ("full", "none")
ALL = "all"  # the group of every conversation


@dataclass(frozen=True)
class System:
    """What one system answered; a column is a context, "full" or "none"."""

    name: str  # one of NAMES
    label: str
    set_name: str
    directory: Path
    records: dict[str, dict]  # by id; see bin/converse.py

    def contexts(self) -> list[str]:
        first = next(iter(self.records.values()))["answers"]
        return [context for context in CONTEXTS if context in first]


@dataclass(frozen=True)
class Cell:
    """A system's answers to a group of conversations in one context."""

    success: SuccessCount
    perplexity: Perplexity
    p_success_text: float | None  # against the text system in this context. None: it is this one
    p_perplexity_text: float | None


@dataclass(frozen=True)
class Row:
    system: System
    group: str  # a category, or ALL
    cells: dict[str, Cell]  # by context
    p_success: float | None  # full against none, paired. None: one of them was not asked
    p_perplexity: float | None
    word_errors: WordErrors | None  # of what a cascade read. None: no cascade, nothing spoken


@dataclass(frozen=True)
class Carried:
    """How often a system says word for word what the text system says: to conversations that end
    with a spoken turn, and to that turn alone, the only form that an alignment is trained on."""

    system: System
    group: str
    several: SuccessCount
    single: SuccessCount
    p: float  # of their difference, paired


@dataclass(frozen=True)
class Scored:
    """One set: its systems in the order of the table, and a row for each group and system."""

    set_name: str
    systems: tuple[System, ...]
    rows: tuple[Row, ...]

    def groups(self) -> list[str]:
        return list(dict.fromkeys(row.group for row in self.rows))

    def of(self, group: str) -> list[Row]:
        return [row for row in self.rows if row.group == group]


def read(directories: Sequence[str | Path]) -> list[System]:
    """System directories. Errors (ValueError): one is not whole, or damaged."""
    return [_read_system(Path(directory)) for directory in directories]


def score(systems: Sequence[System], resamples: int = RESAMPLES, seed: int = 0) -> list[Scored]:
    """The numbers of every set.

    Errors (ValueError): systems of one set with other conversations or references, two with one
    label, none that reads the text."""
    names = list(dict.fromkeys(system.set_name for system in systems))
    return [
        _score_set(name, [s for s in systems if s.set_name == name], resamples, seed)
        for name in names
    ]


def carried(scored: Scored) -> list[Carried]:
    """Whether what works in one turn works in several; [] where a context was not asked."""
    text, *others = scored.systems
    if len(text.contexts()) < len(CONTEXTS):
        return []
    rows = []
    for group in scored.groups():
        ids = [id for id in text.records if _ends_spoken(text.records[id], group)]
        for system in others if ids else []:
            several, single = ({id: _as_text(system, text, id, c) for id in ids} for c in CONTEXTS)
            counts = success.count(several), success.count(single)
            rows.append(Carried(system, group, *counts, success.p_value(several, single)))
    return rows


def as_dict(scored: Sequence[Scored]) -> list[dict]:
    """For results.json, "conversations"."""
    return [
        {
            "set": each.set_name,
            "systems": [
                {
                    "name": system.name,
                    "label": system.label,
                    "groups": {
                        row.group: _row_as_dict(row) for row in each.rows if row.system is system
                    },
                }
                for system in each.systems
            ],
            "as_the_text_answers": [_carried_as_dict(row) for row in carried(each)],
        }
        for each in scored
    ]


# --- reading ------------------------------------------------------------------------------------


def _read_system(directory: Path) -> System:
    for needed in ("system.json", "answers.jsonl"):
        if not (directory / needed).is_file():
            raise ValueError(f"{directory}: there is no {needed}; rerun stage 10 (converse)")
    try:
        about = json.loads((directory / "system.json").read_text(encoding="utf-8"))
        name, label, set_name = (about[key] for key in ("name", "label", "set"))
        if name not in NAMES:
            raise ValueError(name)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{directory}/system.json: not the name ({', '.join(NAMES)}), label and set of a "
            f"system ({error}); rerun stage 10 (converse)"
        ) from None
    return System(name, label, set_name, directory, _read_records(directory / "answers.jsonl"))


def _read_records(path: Path) -> dict[str, dict]:
    records: dict[str, dict] = {}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                _check_record(record)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"{path}: line {number} is not an answered conversation ({error!r}); make this "
                    "file again (stage 10)"
                ) from None
            if record["id"] in records:
                raise ValueError(f"{path}: line {number}: the id {record['id']} comes twice")
            records[record["id"]] = record
    if not records:
        raise ValueError(f"{path} is empty; rerun stage 10 (converse)")
    return records


def _check_record(record: dict) -> None:
    for key in ("id", "category", "expected", "reference", "reference_ids"):
        record[key]
    for answer in record["answers"].values():
        if len(answer["token_nats"]) != len(record["reference_ids"]) or not answer["token_nats"]:
            raise ValueError(f"{record['id']}: not a number of nats for each reference token")
        answer["response"], answer["turns"]


# --- scoring ------------------------------------------------------------------------------------


def _score_set(name: str, systems: list[System], resamples: int, seed: int) -> Scored:
    systems = sorted(systems, key=lambda system: NAMES.index(system.name))
    _check_set(name, systems)
    records = systems[0].records
    categories = sorted({record["category"] for record in records.values()})
    groups = {c: [id for id, r in records.items() if r["category"] == c] for c in categories}
    if len(categories) > 1:
        groups[ALL] = list(records)
    rows = [
        row
        for group, ids in groups.items()
        for row in _score_group(group, ids, systems, resamples, seed)
    ]
    return Scored(name, tuple(systems), tuple(rows))


def _check_set(name: str, systems: list[System]) -> None:
    text = [system for system in systems if system.name == "text"]
    if len(text) != 1:
        raise ValueError(
            f"{name}: {len(text)} systems read the text, one is needed to compare with; give the "
            "directory of --system text"
        )
    labels = [system.label for system in systems]
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise ValueError(f"{name}: {len(twice)} systems have the same label (first: {twice[0]})")
    for system in systems:
        check_same_ids(
            text[0].records, system.records, f"{system.directory}: answers", "rerun stage 10"
        )
        other = [
            id
            for id, record in system.records.items()
            if record["reference_ids"] != text[0].records[id]["reference_ids"]
        ]
        if other:
            raise ValueError(
                f"{system.directory}: {len(other)} of {len(system.records)} conversations have "
                f"other references than {text[0].directory} (first: {other[0]}); rerun stage 10"
            )
        for context in text[0].contexts():
            if context not in system.contexts():
                raise ValueError(
                    f"{system.directory} has no answers with the context '{context}', and "
                    f"{text[0].directory} has; rerun stage 10"
                )


def _score_group(
    group: str, ids: list[str], systems: list[System], resamples: int, seed: int
) -> list[Row]:
    """One row a system; the columns are every system in every context, the text system first."""
    contexts = systems[0].contexts()
    columns = [(system, context) for system in systems for context in contexts]
    verdicts = [_verdicts(*column, ids) for column in columns]
    tokens_N = np.array([len(systems[0].records[id]["reference_ids"]) for id in ids])
    table = compare([_nats(*column, ids) for column in columns], tokens_N, resamples, seed)
    cells = [_cell(i, i % len(contexts), verdicts, table) for i in range(len(columns))]
    rows = []
    for first, system in zip(range(0, len(columns), len(contexts)), systems, strict=True):
        both = len(contexts) == len(CONTEXTS)
        rows.append(
            Row(
                system,
                group,
                dict(zip(contexts, cells[first : first + len(contexts)], strict=True)),
                success.p_value(verdicts[first], verdicts[first + 1]) if both else None,
                table.p_value(first, first + 1) if both else None,
                _word_errors(system, ids),
            )
        )
    return rows


def _cell(column: int, text: int, verdicts: list[dict], table: PerplexityTable) -> Cell:
    """`text`: the text system's column in the same context."""
    same = column == text
    return Cell(
        success.count(verdicts[column]),
        table.perplexities[column],
        None if same else success.p_value(verdicts[column], verdicts[text]),
        None if same else table.p_value(column, text),
    )


def _nats(system: System, context: str, ids: Sequence[str]) -> np.ndarray:
    return np.array([sum(system.records[id]["answers"][context]["token_nats"]) for id in ids])


def _verdicts(system: System, context: str, ids: Sequence[str]) -> dict[str, bool]:
    return {id: succeeds(system.records[id], context) for id in ids}


def succeeds(record: Mapping, context: str) -> bool:
    """The rule of `success`: an expected answer is contained, or without one the reference met."""
    aliases = tuple(normalize(alias) for alias in record["expected"])
    response = record["answers"][context]["response"]
    return success.succeeds(response, record["reference"], aliases)


def _word_errors(system: System, ids: Sequence[str]) -> WordErrors | None:
    """Of what the recogniser made of the spoken turns."""
    said, heard = {}, {}
    for id in ids:
        answers = system.records[id]["answers"]
        for number, turn in enumerate(answers.get("full", next(iter(answers.values())))["turns"]):
            if "hyp" in turn:
                said[f"{id} {number}"], heard[f"{id} {number}"] = turn["text"], turn["hyp"]
    return word_errors(said, heard) if said else None


def _ends_spoken(record: Mapping, group: str) -> bool:
    return group in (ALL, record["category"]) and "audio" in record["answers"]["full"]["turns"][-1]


def _as_text(system: System, text: System, id: str, context: str) -> bool:
    said, read = (each.records[id]["answers"][context]["response"] for each in (system, text))
    return normalize(said) == normalize(read)


def _carried_as_dict(row: Carried) -> dict:
    return {
        "label": row.system.label,
        "group": row.group,
        "num_conversations": row.several.total,
        "with_context": row.several.successes,
        "last_turn_alone": row.single.successes,
        "p": row.p,
    }


def _row_as_dict(row: Row) -> dict:
    return {
        "prompt_wer": row.word_errors.rate if row.word_errors else None,
        **{context: _cell_as_dict(cell) for context, cell in row.cells.items()},
        "p_success_context": row.p_success,
        "p_ppl_context": row.p_perplexity,
    }


def _cell_as_dict(cell: Cell) -> dict:
    return {
        "success_rate": cell.success.rate,
        "success_rate_ci95": list(cell.success.ci95),
        "successes": cell.success.successes,
        "num_conversations": cell.success.total,
        "response_ppl": cell.perplexity.value,
        "response_ppl_ci95": list(cell.perplexity.ci95),
        "num_response_tokens": cell.perplexity.tokens,
        "response_nats": cell.perplexity.nats,
        "p_success_text": cell.p_success_text,
        "p_ppl_text": cell.p_perplexity_text,
    }
