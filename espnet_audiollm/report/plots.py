"""Pictures of numbers: perplexity against WER, and the losses of training runs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..score.results import Results, Row
from ..score.wer import WordErrors
from .tables import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

RESULTS_LINE = re.compile(r"(\d+)epoch results: (.*)")
SECTION = re.compile(r"\[(train|valid)\] (.*?)(?=, \[|$)")
NUMBER = re.compile(r"(?:^|, )loss=([-+.\dnaife]+)")
COLOURS = ("#0b6e4f", "#c8553d", "#3d5a98", "#8e5572", "#b8860b", "#4f6d7a")
GREY = "#666666"
WIDTH = 4.8  # inches of a picture: its text is still read on a phone


@dataclass(frozen=True)
class Losses:
    """Loss per epoch of one training run, {epoch: loss}."""

    name: str
    train: dict[int, float]
    valid: dict[int, float]


def read_losses(directory: str | Path) -> Losses:
    """The losses in a training run's logs: train.log, and train.N.log of the runs before it.

    A resumed run may train an epoch again; the newest line counts. ValueError if there is no log,
    or no finished epoch in any."""
    directory = Path(directory)
    logs = sorted(directory.glob("train*.log"), key=lambda path: path.stat().st_mtime)
    if not logs:
        raise ValueError(f"{directory}: there is no train.log; train first (stage 5 or 9)")
    losses = Losses(directory.name, {}, {})
    for log in logs:
        with open(log, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                _parse(line, losses)
    if not losses.train and not losses.valid:
        raise ValueError(f"{directory}: no epoch is finished in {logs[-1].name}; wait for one")
    return losses


def _parse(line: str, losses: Losses) -> None:
    """Add what ESPnet's reporter says at an epoch's end: "3epoch results: [train] …, [valid] …"."""
    found = RESULTS_LINE.search(line.rstrip())
    if not found:
        return
    for section, values in SECTION.findall(found.group(2)):
        found_loss = NUMBER.search(values)
        if found_loss:
            getattr(losses, section)[int(found.group(1))] = float(found_loss.group(1))


def save(figure: Figure, out: IO[bytes]) -> None:
    """Write a figure as PNG, on white."""
    figure.savefig(out, format="png", dpi=150, bbox_inches="tight", facecolor="white")


def plot_losses(run: Losses) -> Figure:
    """The valid loss decides when to stop, so it is the strong line."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    for values, name, colour in ((run.train, "train", GREY), (run.valid, "valid", COLOURS[0])):
        epochs = sorted(values)
        losses = [values[e] for e in epochs]
        axes.plot(epochs, losses, color=colour, label=name, marker="o", markersize=3)
    axes.set_title(run.name, fontsize=10)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    tidy(axes)
    return figure


def plot_perplexity(results: Results) -> Figure:
    """The cascades' curve of perplexity against WER, with the AudioLLM systems across it."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    axes = figure.subplots()
    cascades = [row for row in results.of("hypothesis") if row.prompt_wer is not None]
    lines = [row for row in results.rows if row.run.kind.input != "hypothesis"]
    colours = itertools.cycle(COLOURS[1:])
    for row in lines:
        kind = row.run.kind
        style = {"color": kind.colour or next(colours), "linestyle": kind.line}
        wide = {} if kind.colour else {"linewidth": 1.8}
        axes.axhline(row.perplexity.value, label=_legend(row), **style, **wide)
        axes.axhspan(*row.perplexity.ci95, color=style["color"], alpha=0.12, linewidth=0)
    if cascades:
        wer = [row.cascade_wer for row in cascades]
        ppl = [row.perplexity.value for row in cascades]
        ends = [row.perplexity.ci95 for row in cascades]
        bars = [
            [p - low for p, (low, _) in zip(ppl, ends, strict=True)],
            [high - p for p, (_, high) in zip(ppl, ends, strict=True)],
        ]
        axes.errorbar(
            wer, ppl, bars, color=COLOURS[0], marker="o", capsize=3, label="cascade", zorder=3
        )
        axes.set_xlim(0, max(wer) * 1.1 or 1)
    axes.set_yscale("log")
    log_ticks(axes, [end for row in results.rows for end in row.perplexity.ci95], FuncFormatter)
    axes.set_xlabel("prompt WER of the cascade (%)")
    axes.set_ylabel("response perplexity (log)")
    _legend_below(figure)
    tidy(axes)
    return figure


def plot_groups(
    groups: Mapping[str, Mapping[str, WordErrors]], systems: Sequence[str], what: str
) -> Figure:
    """Word error rate of each system over groups of utterances, in their order."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    for system, colour in zip(systems, itertools.cycle(COLOURS)):  # noqa: B905
        places = [i for i, found in enumerate(groups.values()) if system in found]
        rates = [found[system].rate for found in groups.values() if system in found]
        axes.plot(places, rates, color=colour, marker="o", markersize=4, label=system)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set_ylim(bottom=0)
    axes.set_xlabel(what)
    axes.set_ylabel("WER (%)")
    _legend_below(figure)
    tidy(axes)
    return figure


def plot_positions(rows: Sequence[Row], bands: Sequence[str]) -> Figure:
    """Perplexity of each system in each band of positions."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.subplots()
    colours = itertools.cycle(COLOURS)
    for row in rows:
        grey = row.run.kind.colour if not row.run.kind.uses_audio else ""
        style = {"color": grey or next(colours), "linestyle": row.run.kind.line}
        values = [position.value for position in row.measures.positions]
        label = row.label
        axes.plot(range(len(bands)), values, marker="o", markersize=4, label=label, **style)
    axes.set_xticks(range(len(bands)), bands)
    axes.set_yscale("log")
    log_ticks(axes, [p.value for row in rows for p in row.measures.positions], FuncFormatter)
    axes.set_xlabel("response token")
    axes.set_ylabel("perplexity (log)")
    _legend_below(figure)
    tidy(axes)
    return figure


def _legend_below(figure: Figure) -> None:
    """Wide labels leave the axes their width, on a phone too."""
    labels = figure.axes[0].get_legend_handles_labels()[1]
    columns = 1 if max(map(len, labels)) > 30 else 2
    figure.legend(frameon=False, fontsize=9, loc="outside lower center", ncols=columns)


def _legend(row: Row) -> str:
    return f"{row.label}: {number(row.perplexity.value)}"


def log_ticks(axes: Axes, values: list[float], formatter: type[FuncFormatter]) -> None:
    """Plain numbers, few enough to read, for a log axis that spans a part of a decade or many."""
    low, high = min(values), max(values)
    span = high / low
    steps = (1, 1.2, 1.5, 2, 3, 5, 7) if span < 8 else (1, 2, 5) if span < 1000 else (1,)
    ticks = [step * 10**decade for decade in range(0, 12) for step in steps]
    bottom, top = low * 0.93, high * 1.15
    axes.set_ylim(bottom, top)
    inside = [tick for tick in ticks if bottom <= tick <= top]
    axes.set_yticks(inside if len(inside) > 1 else [low, high], minor=False)
    axes.yaxis.set_major_formatter(formatter(lambda value, _: f"{value:.4g}"))
    axes.yaxis.set_minor_formatter(formatter(lambda *_: ""))


def tidy(axes: Axes) -> None:
    """A light grid, no frame above and on the right."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
