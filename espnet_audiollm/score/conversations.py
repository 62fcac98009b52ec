"""Dialogues of several turns (AudioChatLlama, section 4.5): success and perplexity with what comes
before the last turn and without, by category, paired by dialogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..store.runs import CONTEXTS, FULL, LAST_TURN, Run
from ..text.normalize import normalize
from . import success
from .bootstrap import RESAMPLES
from .find import Found
from .perplexity import Perplexity, compare
from .results import Results, Row, nats_of, success_of
from .success import SuccessCount
from .wer import WordErrors, total

ALL = "all"  # the group of every dialogue
Column = tuple[str, str]  # label, context


@dataclass(frozen=True)
class Cell:
    """A system's answers to a group of dialogues in one context."""

    success: SuccessCount
    perplexity: Perplexity
    p_success_text: float | None  # against the reference text in this context. None: it is that
    p_perplexity_text: float | None


@dataclass(frozen=True)
class GroupRow:
    """A system's answers to a group of dialogues."""

    label: str
    cells: dict[str, Cell]  # by context
    p_success: float | None  # full against last turn, paired. None: one of them was not asked
    p_perplexity: float | None
    word_errors: WordErrors | None  # of a cascade's hypotheses. None: it has none


@dataclass(frozen=True)
class Carried:
    """How often a system answers word for word as the reference text does: dialogues that end with
    a spoken turn, and that turn only, the one form that an alignment is trained on."""

    label: str
    group: str
    several: SuccessCount
    single: SuccessCount
    p: float  # of their difference, paired


@dataclass(frozen=True)
class Conversations:
    """A set of dialogues: its results with all turns, and both contexts beside each other."""

    results: Results
    groups: dict[str, list[GroupRow]]  # by category, and ALL; rows as in the results
    carried: list[Carried]  # empty where the reference text was not asked in both contexts


def compare_contexts(
    results: Results, found: Found, resamples: int = RESAMPLES, seed: int = 0
) -> Conversations:
    """The numbers of a set of dialogues. results: of `found.runs`."""
    columns = {(row.label, FULL): row.run for row in results.rows}
    columns |= {(label, LAST_TURN): run for label, run in found.last_turns.items()}
    verdicts = {column: success_of(run, results.test_set) or {} for column, run in columns.items()}
    groups, rows = _groups(results), {}
    for name, ids in groups.items():
        group = _Group(results, columns, verdicts, ids, resamples, seed)
        rows[name] = [group.row(row) for row in results.rows]
    return Conversations(results, rows, _carried(results, found.last_turns, groups))


def as_list(conversations: Conversations) -> list[dict]:
    """For results.json, "conversations": one item a system."""
    results = conversations.results
    return [
        {
            "name": row.name,
            "label": row.label,
            "set": results.test_set.name,
            "success_rate": row.success.rate if row.success else None,
            "response_ppl": row.perplexity.value,
            "num_dialogues": len(results.test_set.references.ids),
            "groups": {
                group: _row_as_dict(rows[place]) for group, rows in conversations.groups.items()
            },
            "as_the_text_answers": {
                each.group: _carried_as_dict(each)
                for each in conversations.carried
                if each.label == row.label
            },
        }
        for place, row in enumerate(results.rows)
    ]


def _groups(results: Results) -> dict[str, list[str]]:
    """{category: ids}, and all of them where there is not just one category."""
    ids, categories = results.test_set.references.ids, results.test_set.categories or {}
    groups = {c: [id for id in ids if categories[id] == c] for c in sorted({*categories.values()})}
    return groups if len(groups) == 1 else groups | {ALL: list(ids)}


def _text(results: Results) -> Row | None:
    return next(iter(results.of("transcript")), None)


class _Group:
    """A group of dialogues, with a column for each system in each context that it was asked in."""

    def __init__(
        self,
        results: Results,
        columns: Mapping[Column, Run],
        verdicts: Mapping[Column, Mapping[str, bool]],
        ids: Sequence[str],
        resamples: int,
        seed: int,
    ):
        references = results.test_set.references
        places = {id: place for place, id in enumerate(references.ids)}
        tokens_N = references.tokens_N[[places[id] for id in ids]]
        nats = [nats_of(run, ids) for run in columns.values()]
        self._table = compare(nats, tokens_N, resamples, seed)
        self._columns = list(columns)
        self._verdicts = {column: {id: of[id] for id in ids} for column, of in verdicts.items()}
        self._ids, self._text = ids, _text(results)

    def row(self, row: Row) -> GroupRow:
        full, last_turn = ((row.label, context) for context in CONTEXTS)
        cells = {context: self._cell(row.label, context) for context in CONTEXTS}
        errors_of = row.errors_of or {}
        found = [errors_of[id] for id in self._ids if id in errors_of]
        return GroupRow(
            row.label,
            {context: cell for context, cell in cells.items() if cell is not None},
            *self._p_values(full, last_turn),
            total(found) if found else None,
        )

    def _cell(self, label: str, context: str) -> Cell | None:
        column = (label, context)
        if column not in self._verdicts:
            return None
        text = (self._text.label, context) if self._text else column
        return Cell(
            success.count(self._verdicts[column]),
            self._table.perplexities[self._columns.index(column)],
            *self._p_values(column, text),
        )

    def _p_values(self, a: Column, b: Column) -> tuple[float | None, float | None]:
        """Of success and of perplexity. None: there is nothing to compare."""
        if a == b or a not in self._verdicts or b not in self._verdicts:
            return None, None
        places = self._columns.index(a), self._columns.index(b)
        return success.p_value(self._verdicts[a], self._verdicts[b]), self._table.p_value(*places)


def _carried(
    results: Results, last_turns: dict[str, Run], groups: dict[str, list[str]]
) -> list[Carried]:
    text = _text(results)
    if text is None or text.label not in last_turns:
        return []
    dialogues, rows = results.test_set.dialogues or {}, []
    for group, members in groups.items():
        ids = [id for id in members if dialogues[id].turns[-1].audio]
        for row in results.rows if ids else ():
            if row is text or row.label not in last_turns:
                continue
            several = _same(row.run, text.run, ids)
            single = _same(last_turns[row.label], last_turns[text.label], ids)
            counts = success.count(several), success.count(single)
            rows.append(Carried(row.label, group, *counts, success.p_value(several, single)))
    return rows


def _same(run: Run, text: Run, ids: Sequence[str]) -> dict[str, bool]:
    return {id: normalize(run.responses[id]) == normalize(text.responses[id]) for id in ids}


def _carried_as_dict(row: Carried) -> dict:
    return {
        "num_dialogues": row.several.total,
        FULL: row.several.successes,
        LAST_TURN: row.single.successes,
        "p": row.p,
    }


def _row_as_dict(row: GroupRow) -> dict:
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
        "num_dialogues": cell.success.total,
        "response_ppl": cell.perplexity.value,
        "response_ppl_ci95": list(cell.perplexity.ci95),
        "num_response_tokens": cell.perplexity.tokens,
        "response_nats": cell.perplexity.nats,
        "p_success_text": cell.p_success_text,
        "p_ppl_text": cell.p_perplexity_text,
    }
