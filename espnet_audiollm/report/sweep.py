"""The sweep over word error rates as tables, a picture and sentences (see sweep.py)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..score.results import Results, Row
from ..score.sweep import CLEAN, Condition, Sweep, curve, equal_wer, sweeps, worse
from .contents import Part, Picture, Section
from .plots import COLOURS, GREY, WIDTH, log_ticks, tidy
from .tables import NONE, Table, number, p_text, rate, within

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vPX*<>"


def parts(everything: Sequence[Results]) -> list[Part]:
    """What a report says of each test set that has noisy copies."""
    found = sweeps(everything)
    return [_part(sweep, f".{sweep.name}" if number else "") for number, sweep in enumerate(found)]


def as_dict(everything: Sequence[Results]) -> list[dict]:
    """For results.json: of each sweep, what the tables say."""
    return [
        {
            "test_set": sweep.name,
            "conditions": [_condition_as_dict(sweep, c) for c in sweep.conditions],
        }
        for sweep in sweeps(everything)
    ]


def _condition_as_dict(sweep: Sweep, condition: Condition) -> dict:
    return {
        "name": condition.name,
        "test_set": condition.results.test_set.name,
        "best_cascade": _row_as_dict(condition.best),
        "cascades": [_row_as_dict(row) for row in condition.cascades],
        "audiollm": [
            {
                **_row_as_dict(row),
                "p_value_best_cascade": condition.results.p_value(row, condition.best),
                "equal_wer": equal_wer(sweep, condition, row).as_dict(),
                "equal_wer_alone": equal_wer(sweep, condition, row, only_its=True).as_dict(),
            }
            for row in condition.audio
        ],
    }


def _row_as_dict(row: Row) -> dict:
    return {
        "label": row.label,
        "prompt_wer": row.prompt_wer,
        "prompt_wer_ci95": list(row.wer_ci95) if row.wer_ci95 else None,
        "response_ppl": row.perplexity.value,
        "response_ppl_ci95": list(row.perplexity.ci95),
    }


def _part(sweep: Sweep, tag: str) -> Part:
    alt = f"Response perplexity on {sweep.name} against word error rate, with and without noise"
    picture = Picture(f"ppl_vs_wer_noise{tag}", alt, partial(plot, sweep))
    sections = [
        Section("Systems", (table(sweep),), (SYSTEMS_NOTE,), (picture,)),
        Section(
            "At which WER would a cascade equal AudioLLM?", (equal_table(sweep),), (EQUAL_NOTE,)
        ),
    ]
    if sweep.conditions[0].name == CLEAN:
        sections.append(Section("What noise does", (worse_table(sweep),), (WORSE_NOTE,)))
    success = success_table(sweep)
    if success:
        sections.append(Section("Success with noise", (success,)))
    return Part(f"{sweep.name}, with noise", tuple(sections))


# --- tables -------------------------------------------------------------------------------------


def table(sweep: Sweep) -> Table:
    """Perplexity under each noise: of the best cascade, at its WER, and of AudioLLM."""
    labels = _labels(sweep)
    header = ("Noise", "cascade's WER %", "best cascade, PPL", *(f"{s}, PPL" for s in labels))
    return Table(header, tuple(_row(condition, labels) for condition in sweep.conditions))


def _row(condition: Condition, labels: list[str]) -> tuple[str, ...]:
    best, audio = condition.best, {row.label: row for row in condition.audio}
    cells = []
    for label in labels:
        row = audio.get(label)
        p = row and p_text(condition.results.p_value(row, best))
        cells.append(f"{_ppl(row)} ({p})" if row else NONE)
    return condition.name, _wer(best), _ppl(best), *cells


def success_table(sweep: Sweep) -> Table | None:
    """Success under each noise; None where it was not judged."""
    rows = [row for c in sweep.conditions for row in (*c.cascades, *c.audio)]
    if not any(row.success for row in rows):
        return None
    labels = list(dict.fromkeys(row.label for row in rows))
    lines = []
    for condition in sweep.conditions:
        found = {row.label: row for row in condition.results.rows}
        cells = (rate(found[s].success) if s in found else NONE for s in labels)
        lines.append((condition.name, *cells))
    return Table(("Success % under", *labels), tuple(lines))


def equal_table(sweep: Sweep) -> Table:
    """At which word error rate a cascade is as good as AudioLLM, for each noise."""
    lines = [
        (
            f"{condition.name}: {row.label}",
            number(row.perplexity.value),
            _wer(condition.best),
            str(equal_wer(sweep, condition, row)),
            str(equal_wer(sweep, condition, row, only_its=True)),
        )
        for condition in sweep.conditions
        for row in condition.audio
    ]
    header = ("AudioLLM", "PPL", "best cascade's WER %", "equal at WER %", "this noise only")
    return Table(header, tuple(lines))


def worse_table(sweep: Sweep) -> Table:
    """Perplexity over that without noise, of the cascade that is best there and of AudioLLM."""
    cascade = sweep.conditions[0].best.label
    labels = [cascade, *_labels(sweep)]
    lines = []
    for condition in sweep.conditions[1:]:
        cells = (_worse_cell(sweep, condition, label, cascade) for label in labels)
        lines.append((condition.name, *cells))
    return Table(("PPL / PPL without noise", *labels), tuple(lines))


def _worse_cell(sweep: Sweep, condition: Condition, label: str, cascade: str) -> str:
    present = ({row.label for row in c.results.rows} for c in (condition, sweep.conditions[0]))
    if not all({label, cascade} <= labels for labels in present):
        return NONE
    found = worse(sweep, condition, label, cascade)
    low, high = found.ci95
    p = "" if found.p_value is None else f" ({p_text(found.p_value)})"
    return f"{found.ratio:.2f} [{low:.2f}, {high:.2f}]{p}"


def _labels(sweep: Sweep) -> list[str]:
    return list(dict.fromkeys(row.label for c in sweep.conditions for row in c.audio))


def _wer(row: Row) -> str:
    return within(row.cascade_wer, row.wer_ci95, 1)


def _ppl(row: Row) -> str:
    low, high = row.perplexity.ci95
    return f"{number(row.perplexity.value)} [{number(low)}, {number(high)}]"


# --- sentences ----------------------------------------------------------------------------------

SYSTEMS_NOTE = (
    "The best cascade is the one of the lowest perplexity under that noise; AudioLLM is given "
    "the same audio. The references are the responses to the transcripts. Intervals are of 95 %, "
    "from the draws that all systems and noises share. p is of AudioLLM against this cascade "
    "(paired bootstrap, two-sided)."
)
EQUAL_NOTE = (
    "Interpolated: log perplexity along the cascades by WER, straight between neighbours, those "
    "that fall averaged so that it does not fall; at 0 % stands the transcript itself. Once over "
    "the cascades of all noises; once of this noise only, where below its best cascade's WER "
    "nothing but the transcript was measured, so that a straight line stands for all. “> 50” "
    "means beyond the worst recogniser measured, where the answer is not known. The interval is a "
    "paired bootstrap: each resample has word error rates and perplexities of its own."
)
WORSE_NOTE = (
    "How many times the perplexity is that without noise [95 % interval]; p says whether "
    "AudioLLM's grows otherwise than the cascade's. What is bad without noise has less to lose: "
    "compare perplexities first."
)


# --- the picture --------------------------------------------------------------------------------


def plot(sweep: Sweep) -> Figure:
    """Perplexity against WER: the cascades and their curve; AudioLLM at the WER of the best cascade
    under the same noise. A shape is a noise, a colour a system."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(WIDTH, 5.4), layout="constrained")
    axes = figure.subplots()
    wer_CR, log_ppl_CR = curve(sweep, sweep.conditions)
    wer_C = wer_CR[:, 0]
    axes.plot(wer_C, np.exp(log_ppl_CR[:, 0]), color=COLOURS[0], linewidth=1, alpha=0.6)
    colours = dict(zip(_labels(sweep), COLOURS[1:] * 99, strict=False))
    for label, colour in colours.items():
        axes.plot(*_audio_points(sweep, label), color=colour, linewidth=1, alpha=0.6)
    ends: list[float] = []
    for number_of, condition in enumerate(sweep.conditions):
        marker = MARKERS[number_of % len(MARKERS)]
        for row in condition.cascades:
            _point(axes, row.cascade_wer, row, COLOURS[0], marker, ends)
        for row in condition.audio:
            colour = colours[row.label]
            _point(axes, condition.best.cascade_wer, row, colour, marker, ends)
    axes.set_yscale("log")
    log_ticks(axes, [float(np.exp(log_ppl_CR[0, 0])), *ends], FuncFormatter)
    axes.set_xlim(0, float(wer_C[-1]) * 1.05 or 1)
    axes.set_xlabel("prompt WER of the cascade (%)")
    axes.set_ylabel("response perplexity (log)")
    systems = {"cascade": COLOURS[0], **colours}
    keys = [Line2D([], [], color=colour, label=label) for label, colour in systems.items()]
    keys += [
        Line2D([], [], color=GREY, linestyle="", marker=MARKERS[n % len(MARKERS)], label=c.name)
        for n, c in enumerate(sweep.conditions)
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    tidy(axes)
    return figure


def _audio_points(sweep: Sweep, label: str) -> tuple[list[float], list[float]]:
    """Of an AudioLLM: the best cascades' WERs, rising; its perplexities under the same noise."""
    points = [
        (condition.best.cascade_wer, row.perplexity.value)
        for condition in sweep.conditions
        for row in condition.audio
        if row.label == label
    ]
    return [wer for wer, _ in sorted(points)], [ppl for _, ppl in sorted(points)]


def _point(axes: Axes, wer: float, row: Row, colour: str, marker: str, ends: list[float]) -> None:
    value, (low, high) = row.perplexity.value, row.perplexity.ci95
    bars = [[max(0.0, value - low)], [max(0.0, high - value)]]
    axes.errorbar([wer], [value], bars, color=colour, marker=marker, capsize=2, linewidth=1)
    ends += [low, high]
