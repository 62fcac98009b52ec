"""The tables of the results, as Markdown for RESULTS.md and aligned for the screen."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .results import Results, Row
from .success import RULE, SuccessCount

PACKAGES = ("torch", "espnet", "transformers", "jiwer", "numpy")
NONE = "–"
HEADER = (
    "System",
    "prompt WER %",
    "response PPL [95 % CI]",
    "success %",
    "utterances",
    "response tokens",
)


@dataclass(frozen=True)
class Table:
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]  # the first column is text, the others are numbers

    def markdown(self) -> str:
        bar = ("---",) + ("---:",) * (len(self.header) - 1)
        lines = (self.header, bar, *self.rows)
        return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in x) + " |" for x in lines)

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
    now = datetime.now(timezone.utc)
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
    return Table(HEADER, tuple(_main_row(row, results) for row in results.rows))


def _main_row(row: Row, results: Results) -> tuple[str, ...]:
    low, high = row.perplexity.ci95
    return (
        row.system.label,
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


def _wer(row: Row) -> str:
    if row.word_errors:
        words = row.word_errors
        return f"{words.rate:.1f} ({words.errors}/{words.reference_words})"
    return NONE if row.prompt_wer is None else f"{row.prompt_wer:.1f}"


def category_table(results: Results) -> Table | None:
    """Success by category, a column for each; None where nothing was judged by category."""
    names = sorted({name for row in results.rows for name in row.by_category})
    if not names:
        return None
    rows = tuple(
        (row.system.label, *(rate(row.by_category.get(name)) for name in names))
        for row in results.rows
        if row.by_category
    )
    return Table(("System", *names), rows)


def comparison_table(results: Results) -> Table | None:
    """Each cascade's perplexity over each AudioLLM's, with the p-value of the difference."""
    audio, cascades = results.of("audiollm"), results.of("cascade")
    if not audio or not cascades:
        return None
    rows = tuple(
        (row.system.label, *(_ratio(results, row, other) for other in audio)) for row in cascades
    )
    return Table(("Cascade PPL / AudioLLM PPL", *(row.system.label for row in audio)), rows)


def _ratio(results: Results, cascade: Row, audio: Row) -> str:
    p = results.p_value(cascade, audio)
    p_text = f"p < {0.001:g}" if p < 0.001 else f"p = {p:.3f}"
    return f"{cascade.perplexity.value / audio.perplexity.value:.3f} ({p_text})"


def notes(results: Results) -> list[str]:
    """What the numbers mean, in the sentences that every report carries."""
    lines = [
        "Perplexity is exp(sum of nats / number of response tokens) over the test set, on the "
        "same reference response tokens for every system, the end-of-turn token included, prompt "
        "tokens not counted. The interval is a paired bootstrap over utterances "
        f"({len(results.comparison.log_ppl_RS)} resamples)."
    ]
    if any(row.success for row in results.rows):
        lines.append(f"Success: {RULE}")
    else:
        lines.append("Success was not judged: the test set has no accepted answers.")
    return lines


def screen(everything: Sequence[Results]) -> str:
    """The main tables for the terminal."""
    return "\n\n".join(
        f"{results.test_set.name}\n{main_table(results).screen()}" for results in everything
    )


def markdown(everything: Sequence[Results], made: Origin, images: Sequence[str]) -> str:
    """RESULTS.md. `images` are paths relative to it."""
    parts = [f"# Results: {made.recipe}", f"```\n{made.command}\n```", _made(made)]
    for results in everything:
        parts += _markdown_section(results)
    parts += [f"![{Path(image).stem}]({image})" for image in images]
    return "\n\n".join(parts) + "\n"


def _made(made: Origin) -> str:
    return (
        f"- LLM: `{made.llm}`\n- {made.versions}\n- git commit: {made.commit}\n- date: {made.date}"
    )


def _markdown_section(results: Results) -> list[str]:
    parts = [f"## {results.test_set.name}", main_table(results).markdown(), *notes(results)]
    for title, table in extra_tables(results):
        parts += [f"### {title}", table.markdown()]
    return parts


def extra_tables(results: Results) -> list[tuple[str, Table]]:
    """(title, table) of what comes after the main table, where there is any."""
    tables = (
        ("Success by category, % (counts)", category_table(results)),
        ("AudioLLM against the cascades", comparison_table(results)),
    )
    return [(title, table) for title, table in tables if table is not None]
