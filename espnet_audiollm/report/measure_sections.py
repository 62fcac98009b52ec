"""The sections of the measures: which tables and pictures they become."""

from __future__ import annotations

from functools import partial

from ..score.alignment import Mean
from ..score.diagnostics import LOOP_REPEATS, LOOP_WORDS, Diagnostics
from ..score.perplexity import PositionPerplexity
from ..score.results import Results
from ..score.similarity import picture_name, plot_similarity, read_embeddings
from ..score.summaries import RougeScores
from ..score.translation import TranslationScores
from .contents import Picture, Section
from .plots import plot_positions
from .tables import NONE, Table, number, within

PICTURED = 6  # utterances


def positions(results: Results, tag: str) -> Section:
    """Perplexity by the position of the response token."""
    rows = results.rows
    bands = [_band(position) for position in rows[0].measures.positions]
    lines = [("(tokens counted)", *(str(p.tokens) for p in rows[0].measures.positions))]
    for row in rows:
        lines.append((row.label, *map(_perplexity, row.measures.positions)))
    table = Table(("Response token", *bands), tuple(lines))
    alt = f"Perplexity on {results.test_set.name} by position in the response"
    picture = Picture(f"ppl_by_position{tag}", alt, partial(plot_positions, rows, bands))
    note = (
        "Counted from 0. What was asked shows in the first tokens; later ones follow from those of "
        "the reference response before them, which every system is given."
    )
    return Section("Perplexity by position in the response", (table,), (note,), (picture,))


def _perplexity(position: PositionPerplexity) -> str:
    low, high = position.ci95
    return f"{number(position.value)} [{number(low)}, {number(high)}]"


def _band(position: PositionPerplexity) -> str:
    if position.last is None:
        return f"{position.first} and later"
    if position.last == position.first:
        return str(position.first)
    return f"{position.first} to {position.last}"


def answers(results: Results, tag: str) -> Section | None:
    """Translations and summaries."""
    translated = [(row.label, t) for row in results.rows if (t := row.measures.translation)]
    summed = [(row.label, s) for row in results.rows if (s := row.measures.summaries)]
    if not translated and not summed:
        return None
    tables, notes = list[Table](), list[str]()
    if translated:
        lines = tuple(_translated(*each) for each in translated)
        tables.append(Table(("Translations", "BLEU", "chrF"), lines))
        first = translated[0][1]
        notes.append(
            f"{first.utterances} translations: {first.bleu_signature}; {first.chrf_signature}."
        )
    if summed:
        scores = summed[0][1]
        lines = tuple(_summed(*each) for each in summed)
        tables.append(Table(("Summaries", *scores.values), lines))
        notes.append(f"{scores.utterances} summaries: {scores.signature}.")
    return Section("Translations and summaries", tuple(tables), tuple(notes))


def _translated(label: str, scores: TranslationScores) -> tuple[str, ...]:
    return (
        label,
        within(scores.bleu, scores.bleu_ci95, 1),
        within(scores.chrf, scores.chrf_ci95, 1),
    )


def _summed(label: str, scores: RougeScores) -> tuple[str, ...]:
    cells = (within(value, scores.ci95[name], 1) for name, value in scores.values.items())
    return label, *cells


def diagnostics(results: Results, tag: str) -> Section:
    """What is unusual about the responses."""
    rows = [(row.label, d) for row in results.rows if (d := row.measures.diagnostics)]
    header = (
        "Responses of",
        "length / reference",
        "same as reference",
        "first difference",
        "empty",
        "refusals",
        "loops",
        "cut at the limit",
    )
    unit = rows[0][1].unit
    note = (
        f"Lengths and differences in {unit}. First difference: median position, from 0, of the "
        "responses that differ. Refusals: one of a list of English phrases. Loops: a stretch of "
        f"words {LOOP_REPEATS} times in a row, {LOOP_WORDS} words or more in all."
    )
    table = Table(header, tuple(_diagnosed(*each) for each in rows))
    return Section("What is odd about the responses", (table,), (note,), aside=True)


def _diagnosed(label: str, found: Diagnostics) -> tuple[str, ...]:
    counts = {name: getattr(found, name) for name in ("empty", "refusals", "loops", "length")}
    median = found.first_difference_median
    return (
        label,
        f"{found.length_ratio:.2f}",
        f"{found.rate('same_as_reference'):.1f} ({found.same_as_reference}/{found.total})",
        NONE if median is None else f"{median:g}",
        *map(str, counts.values()),
    )


def alignment(results: Results, tag: str) -> Section | None:
    """The paper's Figure 3: in numbers of the complete set, and pictures of some utterances."""
    rows = [(row.label, a) for row in results.rows if (a := row.measures.alignment)]
    pictures = tuple(_similarities(results, tag))
    if not rows and not pictures:
        return None
    tables, notes = list[Table](), list[str]()
    if rows:
        header = ("Embeddings of", "path", "words in order %", "centred: path", "in order %")
        lines = []
        for label, found in rows:
            means = found.path, found.in_order, found.centred_path, found.centred_in_order
            lines.append((label, *map(_mean, means)))
        tables.append(Table(header, tuple(lines)))
        notes.append(
            f"{rows[0][1].utterances} utterances. Path: mean cosine of text tokens "
            "and audio positions along the best path that never goes back. Words in order: the "
            "longest series of words whose best audio positions rise. In brackets: the same with "
            "the audio positions shuffled. Centred: after each side's mean is taken away."
        )
    return Section("Alignment of audio and text", tuple(tables), tuple(notes), pictures, aside=True)


def _mean(mean: Mean) -> str:
    digits = 1 if abs(mean.value) > 1 else 3
    return f"{mean.value:.{digits}f} (shuffled {mean.shuffled:.{digits}f})"


def _similarities(results: Results, tag: str) -> list[Picture]:
    by_id: dict[str, list] = {}
    for row in results.rows:
        if row.run.embeddings is not None:
            for id, embeddings in read_embeddings(row.run.embeddings).items():
                by_id.setdefault(id, []).append((row.label, embeddings))
    seconds, texts = results.test_set.seconds or {}, results.test_set.texts or {}
    return [
        Picture(
            f"{picture_name(id)}{tag}",
            f"Cosine of text tokens and audio, {id}: {texts.get(id, '')}".removesuffix(": "),
            partial(plot_similarity, systems, seconds.get(id)),
        )
        for id, systems in list(by_id.items())[:PICTURED]
    ]
