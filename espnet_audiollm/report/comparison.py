"""Experiments beside each other as tables, for the screen, Markdown, HTML and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..score.comparison.experiments import Experiment
from ..score.comparison.pairs import (
    Comparison,
    Difference,
    Entry,
    Pair,
    counterparts,
    entries,
    groups,
)
from ..store.kinds import KINDS
from .contents import Part, Section
from .tables import NONE, Table, number, p_text

COMPARED = [kind.name for kind in KINDS.values() if kind.uses_audio]  # in the table of any two


@dataclass(frozen=True)
class Compared:
    """Experiments beside each other, with the differences of their systems."""

    experiments: tuple[Experiment, ...]
    pairs: tuple[Pair, ...]  # systems of the same name, of the first experiment and each other one
    any_two: tuple[Pair, ...]  # of COMPARED
    reasons: tuple[tuple[Experiment, Experiment, str], ...]  # why utterances are not pairs


def compare(experiments: Sequence[Experiment], resamples: int, seed: int) -> Compared:
    """Pair the systems of the experiments that share a test set and its responses."""
    together, reasons = groups(experiments)
    pairs, any_two = [], []
    for group in together:
        if len(group) > 1:
            comparison = Comparison(group, resamples, seed)
            for other in group[1:]:
                found = counterparts(group[0], other)
                pairs += [comparison.pair(*two) for two in found]
            chosen = [e for e in comparison.entries if e.system["name"] in COMPARED]
            any_two += [comparison.pair(a, b) for a in chosen for b in chosen if a is not b]
    return Compared(tuple(experiments), tuple(pairs), tuple(any_two), tuple(reasons))


def parts(compared: Compared) -> list[Part]:
    """The report's contents; `markdown` and `page` show them."""
    first = compared.experiments[0]
    sections = [Section("Systems", (systems_table(compared),), tuple(_notes(compared)))]
    if compared.pairs:
        sections.append(Section("Systems of the same name", (pairs_table(compared),), (_pairs(),)))
    if compared.any_two:
        sections.append(
            Section("Any two systems", (any_two_table(compared),), (_any_two(),), aside=True)
        )
    return [Part(first.results["test_set"], tuple(sections))]


def as_dict(compared: Compared) -> dict:
    """What compare.json holds."""
    return {
        "test_set": compared.experiments[0].results["test_set"],
        "experiments": [
            {
                "name": x.name,
                "path": str(x.path),
                **{key: x.results[key] for key in ("recipe", "llm", "systems")},
            }
            for x in compared.experiments
        ],
        "pairs": [_pair_as_dict(pair) for pair in compared.pairs],
        "any_two": [_pair_as_dict(pair) for pair in compared.any_two],
        "not_paired": [
            {"a": a.name, "b": b.name, "why": reason} for a, b, reason in compared.reasons
        ],
    }


def _pair_as_dict(pair: Pair) -> dict:
    kinds = {"ppl_ratio": pair.perplexity, "success": pair.success, "wer": pair.wer}
    return {
        "a": {"experiment": pair.a.experiment.name, "label": pair.a.system["label"]},
        "b": {"experiment": pair.b.experiment.name, "label": pair.b.system["label"]},
        **{name: found and found.as_dict() for name, found in kinds.items()},
    }


def screen(compared: Compared) -> str:
    """Without the table of any two systems, which is wider than a screen."""
    texts = []
    for section in [s for s in parts(compared)[0].sections if not s.aside]:
        texts += [section.title, *(table.screen() for table in section.tables), *section.notes, ""]
    return "\n".join(texts).rstrip()


# --- tables -------------------------------------------------------------------------------------


def systems_table(compared: Compared) -> Table:
    """Every system of every experiment."""
    header = ("System", "prompt WER %", "response PPL [95 % CI]", "success %", "utterances")
    return Table(header, tuple(map(_row, entries(compared.experiments))))


def _row(entry: Entry) -> tuple[str, ...]:
    system = entry.system
    low, high = map(number, system["response_ppl_ci95"])
    errors, success = system.get("word_errors", {}), system.get("success_counts", {})
    return (
        entry.label,
        _counted(system.get("prompt_wer"), errors.get("errors"), errors.get("reference_words")),
        f"{number(system['response_ppl'])} [{low}, {high}]",
        _counted(system.get("success_rate"), success.get("successes"), success.get("total")),
        str(len(entry.experiment.kept.ids)),
    )


def _counted(rate: float | None, count: int | None, total: int | None) -> str:
    if rate is None:
        return NONE
    return f"{rate:.1f}" if count is None else f"{rate:.1f} ({count}/{total})"


def pairs_table(compared: Compared) -> Table:
    """The differences between systems of the same name."""
    header = ("Second against first", "PPL, second / first", "success, points", "WER, points")
    lines = [
        (
            f"{pair.b.label} / {pair.a.label}",
            _difference(pair.perplexity, "{:.3f}"),
            _difference(pair.success, "{:+.1f}"),
            _difference(pair.wer, "{:+.1f}"),
        )
        for pair in compared.pairs
    ]
    return Table(header, tuple(lines))


def _difference(found: Difference | None, form: str) -> str:
    if found is None:
        return NONE
    low, high = map(form.format, found.ci95)
    return f"{form.format(found.value)} [{low}, {high}] ({p_text(found.p_value)})"


def any_two_table(compared: Compared) -> Table:
    """PPL of the row over that of the column."""
    ratios = {(pair.b.label, pair.a.label): pair.perplexity for pair in compared.any_two}
    here = {label for label, _ in ratios}
    labels = [e.label for e in entries(compared.experiments) if e.label in here]
    lines = [(row, *(_ratio(ratios.get((row, column))) for column in labels)) for row in labels]
    return Table(("PPL of the row / of the column", *labels), tuple(lines))


def _ratio(found: Difference | None) -> str:
    return NONE if found is None else f"{number(found.value)} ({p_text(found.p_value)})"


# --- sentences ----------------------------------------------------------------------------------


def _notes(compared: Compared) -> list[str]:
    return [
        f"No p-values between {a.name} and {b.name}: {reason}." for a, b, reason in compared.reasons
    ]


def _pairs() -> str:
    return (
        "Paired bootstrap over utterances: in brackets the 95 % interval, p is two-sided. Systems "
        "are put together by label, or where each experiment has one of its kind left."
    )


def _any_two() -> str:
    return "p is of one comparison: of 20 pairs that are alike, one has p < 0.05."
