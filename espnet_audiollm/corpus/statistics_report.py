"""The statistics of a data directory for people (text, a picture) and for programs (JSON)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import IO, TYPE_CHECKING

import numpy as np

from .statistics import CHARACTERS_A_SECOND, WORDS_A_SECOND, Spread, Statistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 40
RARE = 20  # characters named
SHOWN = 5  # outliers of a kind in the text; the JSON has more
SERIES = ("#1f6f8b", "#c8553d")


def as_dict(found: Statistics) -> dict:
    """All numbers, fit for JSON."""
    per_speaker = np.array([seconds for _, seconds in found.speakers.values()])
    outliers: dict[str, dict] = {
        kind: {"count": extremes.count, "named": [asdict(one) for one in extremes.named()]}
        for kind, extremes in found.outliers.items()
    }
    for kind in ("longest", "shortest"):
        outliers[kind].pop("count")  # of all utterances
    histograms = {"seconds": _histogram(found.seconds)}
    result: dict[str, object] = {
        "directory": found.directory,
        "utterances": len(found.seconds),
        "hours": found.hours,
        "seconds": asdict(Spread.of(found.seconds)),
        "speakers": len(found.speakers),
        "seconds_per_speaker": asdict(Spread.of(per_speaker)),
        "sample_rates": {str(rate): n for rate, n in sorted(found.rates.items())},
        "sample_rates_of": found.rates_of,
        "unreadable": found.num_unreadable,
        "unreadable_first": [{"id": id_, "why": why} for id_, why in found.unreadable],
        "outliers": outliers,
        "histograms": histograms,
    }
    if len(found.words):
        result |= {
            "words": int(found.words.sum()),
            "distinct_words": len(found.vocabulary),
            "characters": int(found.characters.sum()),
            "alphabet": dict(found.alphabet.most_common()),
            "rate_unit": _unit(found),
            "rate": asdict(Spread.of(found.rate)),
            "words_per_utterance": asdict(Spread.of(found.words)),
        }
        histograms["rate"] = _histogram(found.rate)
    return result


def as_text(found: Statistics) -> str:
    """A screenful."""
    per_speaker = np.array([seconds for _, seconds in found.speakers.values()])
    lines = [
        f"{found.directory}: {len(found.seconds):,} utterances, {found.hours:,.2f} hours, "
        f"{len(found.speakers):,} speakers",
        "",
        f"{'':26}{'min':>9}{'5 %':>9}{'median':>9}{'mean':>9}{'95 %':>9}{'max':>9}",
        _row("seconds", found.seconds),
        _row("minutes a speaker", per_speaker / 60),
    ]
    if len(found.words):
        lines += [_row("words", found.words), _row(_unit(found), found.rate), ""]
        rare = sorted(found.alphabet.items(), key=lambda item: (item[1], item[0]))[:RARE]
        lines += [
            f"{int(found.words.sum()):,} words, {len(found.vocabulary):,} distinct; "
            f"{len(found.alphabet)} characters, the rarest: "
            + " ".join(f"{_shown(char)}×{count}" for char, count in rare)
        ]
    else:
        lines += ["", "no text"]
    lines += [_rates(found)]
    if found.num_unreadable:
        lines += [f"{found.num_unreadable:,} recordings cannot be read, and are not counted:"]
        lines += [f"  {id_}: {why}" for id_, why in found.unreadable]
    lines += ["", *_outliers(found)]
    return "\n".join(lines) + "\n"


def plot(found: Statistics, out: IO[bytes]) -> None:
    """A picture: lengths, rates, speakers, and length against words."""
    from matplotlib.figure import Figure

    spoken = bool(len(found.words))
    figure = Figure(figsize=(9.0, 6.4) if spoken else (9.0, 3.4), layout="constrained")
    axes = figure.subplots(2 if spoken else 1, 2).flatten()
    _plot_histogram(axes[0], found.seconds, "seconds", "utterances")
    per_speaker = np.array([seconds for _, seconds in found.speakers.values()]) / 60
    _plot_histogram(axes[1], per_speaker, "minutes a speaker", "speakers")
    if spoken:
        _plot_histogram(axes[2], found.rate, _unit(found), "utterances")
        for limit in _plausible(found):
            if limit <= axes[2].get_xlim()[1]:
                axes[2].axvline(limit, color=SERIES[1], linewidth=1, linestyle="--")
        _plot_density(axes[3], found)
    title = f"{found.directory}: {len(found.seconds):,} utterances, {found.hours:,.1f} hours"
    figure.suptitle(title[-90:], fontsize=11)
    figure.savefig(out, format="png", dpi=130, facecolor="white")


def _plot_histogram(axes: Axes, values: np.ndarray, name: str, what: str) -> None:
    top = float(np.percentile(values, 99.9))
    shown = values[values <= top] if top > 0 else values
    axes.hist(shown, BINS, color=SERIES[0])
    axes.set_xlabel(name)
    axes.set_ylabel(what)
    axes.spines[["top", "right"]].set_visible(False)
    median = float(np.median(values))
    axes.axvline(median, color="black", linewidth=1)
    axes.set_title(f"median {median:.3g}, largest {values.max():.4g}", fontsize=9)


def _plot_density(axes: Axes, found: Statistics) -> None:
    from matplotlib.colors import LogNorm

    counts = found.words if found.by_words else found.characters
    top = np.percentile(counts, 99.9)
    edges = [
        np.linspace(0, np.percentile(found.seconds, 99.9) or 1.0, BINS + 1),
        np.arange(-0.5, top + 2, max(1, top // BINS)),
    ]
    density, *_ = np.histogram2d(found.seconds, counts, bins=edges)
    shown = np.ma.masked_equal(density.T, 0)
    mesh = axes.pcolormesh(*edges, shown, norm=LogNorm(1), cmap="viridis")
    axes.figure.colorbar(mesh, ax=axes, label="utterances")
    axes.set_xlabel("seconds")
    axes.set_ylabel("words" if found.by_words else "characters")


def _histogram(values: np.ndarray) -> dict:
    counts, edges = np.histogram(values, BINS)
    return {"edges": [round(float(edge), 4) for edge in edges], "counts": counts.tolist()}


def _plausible(found: Statistics) -> tuple[float, float]:
    return WORDS_A_SECOND if found.by_words else CHARACTERS_A_SECOND


def _unit(found: Statistics) -> str:
    return "words a second" if found.by_words else "characters a second"


def _row(name: str, values: np.ndarray) -> str:
    spread: Mapping[str, float] = asdict(Spread.of(values))
    return f"{name:26}" + "".join(f"{value:9.2f}" for value in spread.values())


def _shown(char: str) -> str:
    return char if char.isprintable() and not char.isspace() else f"U+{ord(char):04X}"


def _rates(found: Statistics) -> str:
    named = ", ".join(
        f"{rate} Hz: {count:,}" if rate else f"not readable: {count:,}"
        for rate, count in sorted(found.rates.items())
    )
    few = "" if found.rates_of == len(found.seconds) else f" (of {found.rates_of} looked at)"
    return f"sample rates: {named or 'not looked at'}{few}"


def _outliers(found: Statistics) -> list[str]:
    slow, fast = _plausible(found)
    heads = {
        "longest": ("longest", "s"),
        "shortest": ("shortest", "s"),
        "fastest": (f"more than {fast:g} {_unit(found)}", "/s"),
        "slowest": (f"less than {slow:g} {_unit(found)}", "/s"),
    }
    lines = []
    for kind, extremes in found.outliers.items():
        head, unit = heads[kind]
        count = f": {extremes.count:,}" if unit == "/s" else ""
        lines.append(f"{head}{count}")
        lines += [f"  {one.value:10.2f} {unit:3} {one.id}" for one in extremes.named()[:SHOWN]]
    return lines
