"""Which runs are scored on which test set: what their run.json say decides, not where they are."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..store.runs import FULL, LAST_TURN, Run, RunInfo, find_runs, read_info, read_run
from .test_set import References, TestSet, check_run

Infos = dict[Path, RunInfo]


@dataclass(frozen=True)
class Found:
    """The runs of a test set."""

    test_set: TestSet
    runs: list[Run]  # of all turns
    last_turns: dict[str, Run]  # of the last turn only, by label


def find(
    roots: Iterable[str | Path], test_sets: Sequence[TestSet], judged: bool = True
) -> list[Found]:
    """The up-to-date runs below `roots` of each test set. Of runs that were measured on other
    responses, or answered by another LLM, than the references, stderr says how many are left out.

    judged: whether a judge's verdicts are read, if there are any.

    Errors (ValueError): a test set without a run; a damaged run, or one of other dialogues."""
    roots = list(roots)
    places = {path.resolve(): path for root in roots for path in find_runs(root)}
    infos = {path: read_info(path) for path in places.values()}
    kept: Infos = {}
    stale = []
    for test_set in test_sets:
        for path, info in infos.items():
            if info.set == test_set.name:
                reason = why_stale(info, test_set.references)
                kept |= {} if reason else {path: info}
                stale += [f"{path}: {reason}"] if reason else []
    if stale:
        print(
            f"{len(stale)} of {len(stale) + len(kept)} runs are not up to date and left out "
            f"(first: {stale[0]}); rerun stage 10",
            file=sys.stderr,
        )
    labels = labels_of({path: info for path, info in kept.items() if info.context == FULL})
    for test_set in test_sets:
        if not any(kept[path].set == test_set.name for path in labels):
            where = ", ".join(map(str, roots))
            raise ValueError(
                f"{test_set.name}: none of the {len(infos)} runs below {where} is of this set and "
                "up to date; run stage 10 first"
            )
    return [_read(test_set, kept, labels, judged) for test_set in test_sets]


def why_stale(info: RunInfo, references: References) -> str | None:
    """Why a run says nothing of these references; None: it does."""
    about = references.about
    if info.llm_fingerprint != about["fingerprint"]:
        return "another LLM than that of the references"
    if info.chat_template_hash != about["chat_template_hash"]:
        return "another chat template than that of the references"
    if info.system_prompt != about["system_prompt"]:
        return "another system prompt than that of the references"
    return None if info.references == references.hash else "measured on other reference responses"


def labels_of(infos: Infos) -> dict[Path, str]:
    """The rows' labels. Where two runs of a set have the same one, the model is added; where that
    does not help, the name of the run's directory. A label is the same in all sets."""
    labels = {path: info.label for path, info in infos.items()}
    for more in ({p: info.model for p, info in infos.items()}, {p: p.name for p in infos}):
        counts = Counter((infos[path].set, label) for path, label in labels.items())
        twice = {label for (_, label), number in counts.items() if number > 1}
        labels |= {
            path: f"{infos[path].label} ({more[path]})"
            for path, label in labels.items()
            if label in twice and more[path]
        }
    return labels


def _read(test_set: TestSet, infos: Infos, labels: dict[Path, str], judged: bool) -> Found:
    runs, last_turns = [], {}
    for path, info in infos.items():
        if info.set != test_set.name:
            continue
        if info.context == FULL:
            runs.append(read_labelled(path, labels[path], test_set, judged))
        elif path.name == LAST_TURN and path.parent in labels:
            label = labels[path.parent]
            last_turns[label] = read_labelled(path, label, test_set, judged)
    return Found(test_set, runs, last_turns)


def read_labelled(path: Path, label: str, test_set: TestSet, judged: bool = True) -> Run:
    """A run of the test set, under this label. Errors (ValueError): damaged, or not of the set."""
    run = read_run(path, judged)
    run = replace(run, info=replace(run.info, label=label))
    check_run(run, test_set)
    return run
