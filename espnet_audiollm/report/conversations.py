"""Conversations of several turns as tables and sentences (see conversations.py)."""

from __future__ import annotations

from collections.abc import Sequence

from ..score.conversations import ALL, Cell, Row, Scored, System, carried, succeeds
from ..score.success import RULES
from .contents import Part, Section
from .tables import NONE, Table, number, p_text, rate

EXAMPLES = 2  # of a category
CARRIED = (
    "Conversations that end with a spoken turn: how often a system answers word for word as the "
    "text system does, to all of it and to its last turn alone (McNemar's exact test). "
    "Alignment knows the second form only.",
)
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


def parts(scored: Sequence[Scored]) -> list[Part]:
    """What a report says of each set."""
    return [_part(each) for each in scored]


def table(scored: Scored, group: str) -> Table:
    """One group of a set: each system with the conversation's context and without."""
    return Table(HEADER, tuple(_row(row) for row in scored.of(group)))


def carried_table(scored: Scored) -> Table | None:
    """Does what works in a single spoken turn carry over to the last of several?"""
    rows = [
        (f"{row.system.label}: {row.group}", rate(row.several), rate(row.single), p_text(row.p))
        for row in carried(scored)
    ]
    header = ("Answered as text is, %", "several turns", "the last turn alone", "p")
    return Table(header, tuple(rows)) if rows else None


def examples(scored: Scored, group: str, number_of: int = EXAMPLES) -> Table:
    """Conversations of a category with every system's answer; first where the systems differ."""
    header = ("Conversation", "expected", *(system.label for system in scored.systems))
    ids = [id for id, r in scored.systems[0].records.items() if r["category"] == group]
    context = scored.systems[0].contexts()[0]
    spread = {id: sum(succeeds(s.records[id], context) for s in scored.systems) for id in ids}
    most = len(scored.systems)
    ids.sort(key=lambda id: (spread[id] in (0, most), id))
    return Table(header, tuple(_example(scored.systems, id, context) for id in ids[:number_of]))


def _part(scored: Scored) -> Part:
    groups = scored.groups()
    sections = [
        Section(group if group != ALL else "All conversations", (table(scored, group),))
        for group in (*[g for g in groups if g == ALL], *[g for g in groups if g != ALL])
    ]
    first = sections[0]
    sections[0] = Section(first.title, first.tables, tuple(notes()))
    sections.append(
        Section("Does one turn carry over to several?", (carried_table(scored),), CARRIED)
    )
    for group in groups:
        if group != ALL:
            title = f"{group}: examples"
            sections.append(Section(title, (examples(scored, group),), aside=True))
    return Part(f"Conversations: {scored.set_name}", tuple(sections))


def notes() -> list[str]:
    return [
        "Conversations of several turns (AudioChatLlama, section 4.5); the last turn is answered. "
        "Without context a system has the last turn alone (and the system turn, if there is one). "
        "“text” reads the transcripts of the spoken turns, a cascade what its recogniser made of "
        "them, AudioLLM hears them; it was aligned on single spoken turns. Assistant's turns that "
        "the set leaves open are answered by each system itself.",
        "Perplexity is that of the reference responses, the same for every system: the set's own, "
        "or what the LLM answers to the conversation in text. Intervals: Wilson's for success, a "
        "paired bootstrap over conversations for perplexity. “p, context”: of the difference "
        "between with and without; “p, against text”: of the difference from the text system, both "
        "with context; McNemar's exact test for success, the paired bootstrap for perplexity.",
        f"Success: {RULES['contains'].sentence}",
    ]


def _row(row: Row) -> tuple[str, ...]:
    full, none = row.cells.get("full"), row.cells.get("none")
    shown = full or none
    return (
        row.system.label,
        f"{row.word_errors.rate:.1f}" if row.word_errors else NONE,
        _success(full, True),
        _success(none),
        _p(row.p_success),
        _p(shown.p_success_text),
        _perplexity(full, True),
        _perplexity(none),
        _p(row.p_perplexity),
        _p(shown.p_perplexity_text),
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


def _example(systems: Sequence[System], id: str, context: str) -> tuple[str, ...]:
    record = systems[0].records[id]
    turns = record["answers"][context]["turns"]
    said = " / ".join(
        f"{turn['role']}{' (spoken)' if 'audio' in turn else ''}: {turn['text']}" for turn in turns
    )
    answers = []
    for system in systems:
        answer = system.records[id]["answers"][context]
        heard = "; ".join(f"heard “{turn['hyp']}”" for turn in answer["turns"] if "hyp" in turn)
        answers.append(f"{answer['response']}{f' ({heard})' if heard else ''}")
    return (said, " | ".join(record["expected"]) or record["reference"], *answers)
