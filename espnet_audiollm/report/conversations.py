"""Dialogues of several turns as tables and sentences (see score/conversations.py)."""

from __future__ import annotations

from ..score.conversations import ALL, Cell, Conversations, GroupRow
from ..store.runs import FULL, LAST_TURN
from .contents import Part, Section
from .sections import of_test_set
from .tables import NONE, Table, number, p_text, rate

HEADER = (
    "System",
    "spoken WER %",
    "success % [95 % CI]",
    "success without context",
    "p, context",
    "p, against text",
    "PPL [95 % CI]",
    "PPL without context",
    "PPL: p, context",
    "PPL: p, against text",
)
NOTES = (
    "The last turn is answered (AudioChatLlama, section 4.5). Without context a system has only "
    "the last turn (and the system turn, if there is one). The reference text has the transcripts "
    "of the spoken turns, a cascade its recogniser's hypotheses, AudioLLM the audio; it was "
    "aligned on single spoken turns. Assistant's turns that the set leaves open are answered by "
    "each system itself.",
    "Perplexity is that of the reference responses, the same for every system: the set's own, or "
    "what the LLM answers to the dialogue in text. Intervals: Wilson's for success, a paired "
    "bootstrap over dialogues for perplexity. “p, context”: of the difference between with and "
    "without; “p, against text”: of the difference from the reference text, both with context; "
    "McNemar's exact test for success, the paired bootstrap for perplexity.",
)
CARRIED = (
    "Dialogues that end with a spoken turn: how often a system answers word for word as the "
    "reference text does, to all of it and to its last turn only (McNemar's exact test). Alignment "
    "knows the second form only.",
)


def part(conversations: Conversations, tag: str) -> Part:
    """What a report says of a set of dialogues. tag: as for `of_test_set`."""
    name = conversations.results.test_set.name
    first, *others = of_test_set(conversations.results, tag).sections
    groups = sorted(conversations.groups, key=lambda group: group != ALL)
    contexts = [
        Section(
            "All dialogues" if group == ALL else group,
            (table(conversations.groups[group]),),
            NOTES if place == 0 else (),
        )
        for place, group in enumerate(groups)
    ]
    carried = carried_table(conversations)
    several = Section(
        "Does one turn carry over to several?", (carried,) if carried else (), CARRIED
    )
    return Part(f"Conversations: {name}", (first, *contexts, several, *others))


def table(rows: list[GroupRow]) -> Table:
    """A group of dialogues: each system with what comes before the last turn and without."""
    return Table(HEADER, tuple(map(_row, rows)))


def carried_table(conversations: Conversations) -> Table | None:
    """Does what works in a single spoken turn carry over to the last of several?"""
    rows = [
        (f"{row.label}: {row.group}", rate(row.several), rate(row.single), p_text(row.p))
        for row in conversations.carried
    ]
    header = ("Answered as text is, %", "several turns", "only the last turn", "p")
    return Table(header, tuple(rows)) if rows else None


def _row(row: GroupRow) -> tuple[str, ...]:
    full, last_turn = row.cells[FULL], row.cells.get(LAST_TURN)
    return (
        row.label,
        f"{row.word_errors.rate:.1f}" if row.word_errors else NONE,
        _success(full, True),
        _success(last_turn),
        _p(row.p_success),
        _p(full.p_success_text),
        _perplexity(full, True),
        _perplexity(last_turn),
        _p(row.p_perplexity),
        _p(full.p_perplexity_text),
    )


def _success(cell: Cell | None, interval: bool = False) -> str:
    if cell is None:
        return NONE
    counts = rate(cell.success)
    low, high = cell.success.ci95
    return f"{counts} [{low:.0f}, {high:.0f}]" if interval else counts


def _perplexity(cell: Cell | None, interval: bool = False) -> str:
    if cell is None:
        return NONE
    value = number(cell.perplexity.value)
    low, high = map(number, cell.perplexity.ci95)
    return f"{value} [{low}, {high}]" if interval else value


def _p(p: float | None) -> str:
    return NONE if p is None else p_text(p)
