"""Systems of one LLM beside each other on one test set: the numbers that their runs give.

Perplexity, success and their intervals are those of `results.score`; here each system is also set
against one other, the cascade, over the same draws of utterances.

R resamples
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.task_replies import REPLIES, read_facts
from ..store.runs import FULL, Run, read_info, read_run
from .bootstrap import RESAMPLES, percentile_interval, resampled_rates
from .find import labels_of, why_stale
from .results import Results, Row, score
from .speech_tasks import How, Measure, score_block
from .success import p_value
from .test_set import TestSet, check_run

Interval = tuple[float, float]


@dataclass(frozen=True)
class Versus:
    """A system and the one that it is set against."""

    ppl_ratio: float  # the system's over the other's
    ppl_ratio_ci95: Interval
    ppl_p: float
    success_points: float | None  # its rate minus the other's. None: not judged
    success_points_ci95: Interval | None
    success_p: float | None  # McNemar's exact test


@dataclass(frozen=True)
class System:
    """One row of the comparison."""

    row: Row
    against: Versus | None  # None: it is the one that the others are set against
    speech: tuple[Measure, ...]  # what a judge understood of its spoken answers, and the controls


def read_runs(directories: Sequence[str | Path], test_set: TestSet) -> list[Run]:
    """The runs, with labels that differ.

    Errors (ValueError): a run of another test set, LLM, template, or other responses; only a part
    of the dialogues' turns; damaged."""
    infos = {Path(path): read_info(path) for path in directories}
    for path, info in infos.items():
        if info.set != test_set.name:
            raise ValueError(
                f"{path} ({info.label}) is of the test set {info.set}, and --data is "
                f"{test_set.name}: compare runs of one test set"
            )
        if info.context != FULL:
            raise ValueError(f"{path} is of last turns only: give the run above it")
        if reason := why_stale(info, test_set.references):
            step = "compare systems of one LLM and its responses, or rerun stage 10"
            raise ValueError(
                f"{path} ({info.label}): {reason}{_difference(path, test_set)}; {step}"
            )
    labels = labels_of(infos)
    runs = []
    for path, info in infos.items():
        run = read_run(path)
        runs.append(replace(run, info=replace(info, label=labels[path])))
        check_run(runs[-1], test_set)
    return runs


def _difference(path: Path, test_set: TestSet) -> str:
    """Where a run's references begin to differ, as far as it says: ids, then numbers of tokens."""
    references, tokens = test_set.references, read_run(path, judged=False).tokens
    expected = dict(zip(references.ids, references.tokens_N.tolist(), strict=True))
    differ = [id for id in sorted({*expected, *tokens}) if expected.get(id) != tokens.get(id)]
    if not differ:
        return ""
    first = differ[0]
    return (
        f" in {len(differ)} dialogues at least (first: {first}, {tokens.get(first, 'no')} tokens, "
        f"expected {expected.get(first, 'none')})"
    )


def compare(
    test_set: TestSet,
    runs: Sequence[Run],
    against: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Results, list[System]]:
    """All systems, each set against the one labelled `against` (None: the first cascade; where
    there is none, nothing is).

    Errors (ValueError): no such label; those of `results.score`."""
    results = score(test_set, runs, resamples, seed)
    other = _chosen(results, against)
    found = []
    for row in results.rows:
        pair = _against(results, row, other, resamples, seed) if other not in (None, row) else None
        found.append(System(row, pair, tuple(spoken(row.run.directory.parent, test_set))))
    return results, found


def _chosen(results: Results, label: str | None) -> Row | None:
    named = {row.label: row for row in results.rows}
    if label is not None and label not in named:
        raise ValueError(f"--against {label}: no system has this label; {', '.join(named)} do")
    cascades = [row for row in results.rows if row.run.kind.input == "hypothesis"]
    return named[label] if label is not None else next(iter(cascades), None)


def _against(
    results: Results, row: Row, other: Row | None, resamples: int, seed: int
) -> Versus | None:
    assert other is not None
    mine, theirs = (results.rows.index(each) for each in (row, other))
    log_R = results.comparison.log_ppl_RS[:, mine] - results.comparison.log_ppl_RS[:, theirs]
    ratio = row.perplexity.value / other.perplexity.value
    ppl = (ratio, percentile_interval(np.exp(log_R)), results.p_value(row, other))
    if row.verdicts is None or other.verdicts is None:
        return Versus(*ppl, None, None, None)
    ids = results.test_set.references.ids
    counts = [
        np.array([(verdicts[id], 1.0) for id in ids]) for verdicts in (row.verdicts, other.verdicts)
    ]
    a_R, b_R = resampled_rates(counts, resamples, seed, results.test_set.units_of(ids))
    points = 100.0 * (counts[0] - counts[1])[:, 0].mean()
    p = p_value(row.verdicts, other.verdicts)
    return Versus(*ppl, float(points), percentile_interval(a_R - b_R), p)


def spoken(replies: Path, test_set: TestSet) -> list[Measure]:
    """What was understood of spoken answers to spoken questions, of the answers of
    bin/respond_tasks in this directory; nothing where there are none, or nobody judged them."""
    if not (replies / REPLIES).is_file():
        return []
    blocks, _ = read_facts(replies)
    return [
        measure
        for block in blocks
        if block.task.given == "audio" and block.task.made[-1] == "answer_audio"
        for measure in score_block(replies / block.name, block, {}, How(test_set.rule))
        if measure.name.startswith("spoken success")
    ]


def as_dict_of(system: System) -> dict[str, Any]:
    """For comparison.json: beside what results.json has of a system."""
    pair = system.against
    return {
        "against": pair and {**vars(pair)},
        "speech": [each.as_dict() for each in system.speech],
    }


def chosen_questions(ids: Iterable[str], number: int) -> list[str]:
    """So many of the ids, evenly spread over their order; all where there are no more."""
    ids = list(ids)
    number = min(number, len(ids))
    return [ids[i * len(ids) // number] for i in range(number)]


def speech_of(system: System, beside: str = "") -> Mapping[str, Measure]:
    """{block: success in speech} of the answers ("") or of a control ("true", "shuffled")."""
    name = "spoken success %" + (f", {beside}" if beside else "")
    return {each.block: each for each in system.speech if each.name == name}
