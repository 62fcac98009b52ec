"""The tables of the results, as Markdown for RESULTS.md and aligned for the screen."""

from __future__ import annotations

import platform
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..score.results import Results, Row
from ..score.success import RULES, SuccessCount

PACKAGES = ("torch", "espnet", "transformers", "jiwer", "sacrebleu", "rouge-score", "numpy")
NONE = "–"
HEADER = (
    "System",
    "prompt WER % [95 % CI]",
    "response PPL [95 % CI]",
    "success %",
    "utterances",
    "response tokens",
)


_MARKUP = re.compile(r"[\\|`*]|(?<=\])\(|^#")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")


def plain(text: str) -> str:
    """A label or a name as it is, in one line of Markdown: no cell, tag, link or picture begins
    or ends in it."""
    return _TAG.sub("&lt;", _MARKUP.sub(r"\\\g<0>", " ".join(text.split())))


@dataclass(frozen=True)
class Table:
    """Cells as text, for markdown and for the screen."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]  # the first column is text, the others are numbers

    def markdown(self) -> str:
        """With numbers aligned to the right."""
        bar = ("---",) + ("---:",) * (len(self.header) - 1)
        lines = (self.header, bar, *self.rows)
        return "\n".join("| " + " | ".join(map(plain, x)) + " |" for x in lines)

    def screen(self) -> str:
        """Aligned columns: text to the left, numbers to the right."""
        lines = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = [
            "  ".join([x[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(x[1:], widths[1:]))])  # noqa: B905
            for x in lines
        ]
        return "\n".join([padded[0], "-" * len(padded[0]), *padded[1:]])


@dataclass(frozen=True)
class Origin:
    """Where results come from: what one needs to make them again."""

    command: str
    recipe: str
    llm: str
    versions: str
    commit: str
    date: str


def origin(command: str, recipe: str, llm: str) -> Origin:
    """The command, versions, commit and time of a report that is made now."""
    now = datetime.now(UTC)
    return Origin(command, recipe, llm, versions(), git_commit(), f"{now:%Y-%m-%d %H:%M} UTC")


def versions() -> str:
    """ "Python 3.11.7, torch 2.11.0, …", read without importing any of them."""
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    return ", ".join(found)


def git_commit() -> str:
    """The commit of this package's source, "+" if a tracked file differs; "unknown" outside git."""
    here = Path(__file__).resolve().parent
    git = ["git", "-C", str(here)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.strip() + ("+" if changed.returncode else "")


def main_table(results: Results) -> Table:
    """The table of systems: WER, perplexity, success."""
    judged = any(row.measures.judged for row in results.rows)
    rows = (_main_row(row, results) for row in results.rows)
    if not judged:
        return Table(HEADER, tuple(rows))
    judgements = (rate(row.measures.judged) for row in results.rows)
    return Table(
        (*HEADER[:4], "judged success %", *HEADER[4:]),
        tuple((*row[:4], cell, *row[4:]) for row, cell in zip(rows, judgements, strict=True)),
    )


def _main_row(row: Row, results: Results) -> tuple[str, ...]:
    low, high = row.perplexity.ci95
    return (
        row.label,
        _wer(row),
        f"{number(row.perplexity.value)} [{number(low)}, {number(high)}]",
        rate(row.success),
        str(len(results.test_set.references.ids)),
        str(row.perplexity.tokens),
    )


def number(ppl: float) -> str:
    """Three decimals near 1, where good systems differ; fewer for large ones."""
    return f"{ppl:.3f}" if ppl < 10 else f"{ppl:.1f}" if ppl < 10_000 else f"{ppl:.2e}"


def rate(success: SuccessCount | None) -> str:
    """ "87.3 (262/300)": the rate in % and its counts."""
    return f"{success.rate:.1f} ({success.successes}/{success.total})" if success else NONE


def within(value: float, ends: tuple[float, float] | None, digits: int) -> str:
    """ "8.4 [7.1, 9.9]": a figure and its interval (None: there is none)."""
    interval = f" [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]" if ends else ""
    return f"{value:.{digits}f}{interval}"


def _wer(row: Row) -> str:
    if row.word_errors:
        words = row.word_errors
        return f"{within(words.rate, row.wer_ci95, 1)} ({words.errors}/{words.reference_words})"
    return NONE if row.prompt_wer is None else f"{row.prompt_wer:.1f}"


def category_table(results: Results) -> Table | None:
    """Success by category, a column for each; None where nothing was judged by category."""
    names = sorted({name for row in results.rows for name in row.by_category})
    if not names:
        return None
    rows = tuple(
        (row.label, *(rate(row.by_category.get(name)) for name in names))
        for row in results.rows
        if row.by_category
    )
    return Table(("System", *names), rows)


def comparison_table(results: Results) -> Table | None:
    """Each cascade's perplexity over each AudioLLM's, with the p-value of the difference."""
    audio, cascades = results.of("audio"), results.of("hypothesis")
    if not audio or not cascades:
        return None
    rows = tuple((row.label, *(_ratio(results, row, other) for other in audio)) for row in cascades)
    return Table(("Cascade PPL / AudioLLM PPL", *(row.label for row in audio)), rows)


def _ratio(results: Results, cascade: Row, audio: Row) -> str:
    p = p_text(results.p_value(cascade, audio))
    return f"{cascade.perplexity.value / audio.perplexity.value:.3f} ({p})"


def success_lines(results: Results) -> list[str]:
    """Success of each AudioLLM against the best cascade's, a line each."""
    return [
        f"Success, {each.label} against {each.other}: {each.success.rate:.1f} % against "
        f"{each.other_success.rate:.1f} %: {p_text(each.p_value)}, {each.only_here} right only "
        f"here, {each.only_there} only there"
        for each in results.against
    ]


def success_note(results: Results) -> list[str]:
    """`success_lines` for a report, with what was tested; nothing where success is not judged."""
    if not (lines := success_lines(results)):
        return []
    how = "McNemar's exact test, over utterances"
    if results.against[0].test == "bootstrap":
        how = f"the paired bootstrap over {_drawn(results)}"
    best = "The cascade is the one that is right most often on this very set, beam and language"
    return [*(f"{line}." for line in lines), f"{best} model included; p is two-sided, by {how}."]


def p_text(p: float) -> str:
    """ "p = 0.012", or "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _drawn(results: Results) -> str:
    """What the bootstrap draws, in words."""
    table, units = results.test_set.resample_by, results.test_set.units
    if table is None or units is None:
        return "utterances"
    number = len({units[id] for id in results.test_set.references.ids})
    return f"the {number} values of {table}, whose utterances are drawn together"


def notes(results: Results) -> list[str]:
    """What the numbers mean, in the sentences that every report carries."""
    lines = [
        "Perplexity is exp(sum of nats / number of response tokens) over the test set, on the "
        "same reference response tokens for every system, the end-of-turn token included, prompt "
        "tokens not counted. Its interval and those of WER and CER are a paired bootstrap over "
        f"{_drawn(results)} "
        f"({len(results.comparison.log_ppl_RS)} resamples)."
    ]
    if any(row.success for row in results.rows):
        lines.append(f"Success: {RULES[results.test_set.rule].sentence}")
    else:
        lines.append("Success was not judged: the test set has no accepted answers.")
    lost = [(row.label, row.run.unanswered) for row in results.rows if row.run.unanswered]
    if lost:
        counts = ", ".join(f"{label} {len(ids)} (first: {ids[0]})" for label, ids in lost)
        lines.append(
            f"Not answered, because the LLM's context does not hold them with an answer: {counts}. "
            "They count as no success, and with the perplexity after an empty prompt."
        )
    return lines + _judge_notes(results)


def _judge_notes(results: Results) -> list[str]:
    """What each judge was asked, and how many of its replies, of all systems, say nothing."""
    unparsable: Counter[tuple[str, str]] = Counter()
    for row in results.rows:
        if judged := row.run.judged:
            unparsable[judged.llm, judged.prompt] += judged.unparsable
    return [
        f"Judged success: {llm} was asked of every response, and its reply was neither yes nor no "
        f"{times} times (counted as no success). Asked was: “{' '.join(prompt.split())}”"
        for (llm, prompt), times in unparsable.items()
    ]


def screen(everything: Sequence[Results]) -> str:
    """The main tables for the terminal."""
    return "\n\n".join(
        "\n".join([results.test_set.name, main_table(results).screen(), *success_lines(results)])
        for results in everything
    )


def head(made: Origin) -> str:
    """What RESULTS.md opens with."""
    command, llm = " ".join(made.command.splitlines()), made.llm.replace("`", "'")
    return (
        f"# Results: {plain(made.recipe)}\n\n```\n{command}\n```\n\n"
        f"- LLM: `{llm}`\n"
        f"- {made.versions}\n- git commit: {made.commit}\n- date: {made.date}"
    )
