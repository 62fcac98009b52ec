"""The sections of a test set: which tables and pictures its numbers become."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from ..score.results import Results, Row
from ..score.wer import WordErrors
from ..store.kinds import KINDS
from . import measure_sections
from .contents import Card, Part, Picture, Section
from .plots import Losses, plot_groups, plot_losses, plot_perplexity
from .tables import (
    NONE,
    Table,
    category_table,
    comparison_table,
    main_table,
    notes,
    number,
    p_text,
    success_note,
    within,
)

Groups = dict[str, dict[str, WordErrors]]  # {group of utterances: {system: errors}}

MOST_SPEAKERS = 30  # in a table; results.json has all
LEAST_GROUPS = 2  # that make a table


def of_test_set(results: Results, tag: str) -> Part:
    """`tag` ends the names of the pictures: "" for the first test set, ".NAME" for others."""
    makers = (
        _main,
        _comparison,
        _pairs,
        _categories,
        _words,
        _speakers,
        measure_sections.positions,
        measure_sections.answers,
        measure_sections.diagnostics,
        measure_sections.alignment,
    )
    found = [make(results, tag) for make in makers]
    return Part(results.test_set.name, tuple(section for section in found if section is not None))


def of_trainings(runs: list[Losses]) -> Part:
    """The loss curves of the trainings."""
    pictures = tuple(
        Picture(f"loss_{run.name}", f"Loss of each epoch of {run.name}", partial(plot_losses, run))
        for run in runs
    )
    return Part("Training", (Section("Losses", pictures=pictures),))


def headline(results: Results) -> list[Card]:
    """The numbers that one looks for first: the best of each kind of system."""
    cards = []
    for kind in reversed(KINDS.values()):
        rows = [row for row in results.rows if row.run.kind is kind]
        if rows and kind.input != "nothing":
            best = min(rows, key=lambda row: row.perplexity.value)
            title = f"Perplexity, {kind.title}"
            cards.append(Card(title, number(best.perplexity.value), _said_of(best, len(rows))))
    return cards


def _said_of(row: Row, number_of: int) -> str:
    said = [f"best of {number_of}: {row.label}" if number_of > 1 else row.label]
    if row.word_errors:
        said.append(f"WER {row.prompt_wer:.1f} %")
    if row.success:
        said.append(f"success {row.success.rate:.1f} %")
    return ", ".join(said)


def _main(results: Results, tag: str) -> Section:
    name = results.test_set.name
    picture = Picture(
        f"ppl_vs_wer{tag}",
        f"Response perplexity on {name} against the cascade's word error rate",
        partial(plot_perplexity, results),
    )
    return Section("Systems", (main_table(results),), tuple(notes(results)), (picture,))


def _comparison(results: Results, tag: str) -> Section | None:
    table = comparison_table(results)
    notes = tuple(success_note(results))
    return Section("AudioLLM against the cascades", (table,), notes) if table else None


def _pairs(results: Results, tag: str) -> Section | None:
    """Perplexity ratios of any two systems, with their p-values."""
    rows = results.rows
    if len(rows) < 2:
        return None
    cells = tuple((a.label, *(_pair(results, a, b) for b in rows)) for a in rows)
    table = Table(("PPL of the row / of the column", *(row.label for row in rows)), cells)
    note = (
        "p is two-sided, from the paired bootstrap: how often a difference in perplexity as large "
        "would come without one. It is of one comparison: of 20 pairs that are alike, one has "
        "p < 0.05."
    )
    return Section("Any two systems", (table,), (note,), aside=True)


def _pair(results: Results, a: Row, b: Row) -> str:
    if a is b:
        return NONE
    ratio = a.perplexity.value / b.perplexity.value
    return f"{number(ratio)} ({p_text(results.p_value(a, b))})"


def _categories(results: Results, tag: str) -> Section | None:
    table = category_table(results)
    return Section("Success by category, % (counts)", (table,)) if table else None


# --- word errors --------------------------------------------------------------------------------


def _words(results: Results, tag: str) -> Section | None:
    rows = _readers(results)
    if not rows:
        return None
    by_length = _grouped((row, dict(results.by_length(row))) for row in rows)
    tables, pictures = [_counts(rows)], list[Picture]()
    if len(by_length) >= LEAST_GROUPS:
        what = f"length of the utterance ({results.length_unit})"
        tables.append(_group_table(f"Length ({results.length_unit})", by_length))
        alt = f"Word error rate on {results.test_set.name} by length of the utterance"
        labels = [row.label for row in rows]
        draw = partial(plot_groups, by_length, labels, what)
        pictures.append(Picture(f"wer_by_length{tag}", alt, draw))
    normalize = results.test_set.normalize
    note = (
        "Errors in % (errors / reference words). Transcripts are normalised first "
        f"({normalize.name}: {normalize.sentence})."
    )
    return Section("Word errors", tuple(tables), (note,), tuple(pictures))


def _speakers(results: Results, tag: str) -> Section | None:
    groups = _grouped((row, results.by_speaker(row)) for row in _readers(results))
    if len(groups) < LEAST_GROUPS:
        return None
    worst = sorted(groups, key=lambda name: -max(e.rate for e in groups[name].values()))
    table = _group_table("Speaker", {name: groups[name] for name in worst[:MOST_SPEAKERS]})
    many = f"The {MOST_SPEAKERS} with most errors of {len(groups)} speakers; results.json has all."
    notes = (many,) if len(groups) > MOST_SPEAKERS else ()
    return Section("Word errors by speaker", (table,), notes, aside=True)


def _readers(results: Results) -> list[Row]:
    return [row for row in results.rows if row.errors_of is not None]


def _counts(rows: list[Row]) -> Table:
    header = (
        "Transcripts of",
        "WER %",
        "substitutions",
        "deletions",
        "insertions",
        "words",
        "CER %",
    )
    lines = []
    for row in rows:
        words = row.word_errors
        assert words is not None  # of `_readers`
        counts = (words.substitutions, words.deletions, words.insertions, words.reference_words)
        characters = row.measures.characters
        cer = NONE
        if characters is not None:
            cer = within(characters.rate, row.measures.cer_ci95, 2)
        lines.append((row.label, within(words.rate, row.wer_ci95, 2), *map(str, counts), cer))
    return Table(header, tuple(lines))


def _grouped(found: Iterable[tuple[Row, Mapping[str, WordErrors]]]) -> Groups:
    groups: Groups = {}
    for row, errors_of in found:
        for name, errors in errors_of.items():
            groups.setdefault(name, {})[row.label] = errors
    return groups


def _group_table(what: str, groups: Groups) -> Table:
    labels = list(dict.fromkeys(label for found in groups.values() for label in found))
    return Table(
        (what, *labels),
        tuple((name, *(_rate(found.get(s)) for s in labels)) for name, found in groups.items()),
    )


def _rate(errors: WordErrors | None) -> str:
    return (
        NONE if errors is None else f"{errors.rate:.1f} ({errors.errors}/{errors.reference_words})"
    )
