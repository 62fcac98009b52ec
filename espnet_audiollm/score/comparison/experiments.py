"""Reading results.json files, and whether two of them may be compared utterance by utterance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...store.json_files import parse_json
from ..results import VERSION
from .kept import Kept, read

NEEDED = ("recipe", "llm", "test_set", "systems", "utterances")
OF_SYSTEMS = ("name", "label", "response_ppl", "response_ppl_ci95", "num_response_tokens")


@dataclass(frozen=True, eq=False)
class Experiment:
    """A results.json with the numbers of its utterances."""

    name: str  # what tells it from the others
    path: Path
    results: dict  # of results.json
    kept: Kept

    @property
    def labels(self) -> list[str]:
        """Of its systems, in the order of the table."""
        return [system["label"] for system in self.results["systems"]]


def read_experiments(
    paths: Sequence[str | Path], names: Sequence[str] | None = None
) -> list[Experiment]:
    """ValueError for less than two, for one that comes twice, and for files that are missing,
    damaged, of another version, or of another test set than the first."""
    files = [Path(path) / "results.json" if Path(path).is_dir() else Path(path) for path in paths]
    if len(files) < 2:
        raise ValueError("give two results.json or more: there is nothing to compare one with")
    places = [file.resolve() for file in files]
    twice = [
        str(file) for file, place in zip(files, places, strict=True) if places.count(place) > 1
    ]
    if twice:
        raise ValueError(f"{twice[0]} is given twice; give each experiment once")
    names = names or _names(places)
    if len(names) != len(files) or len(set(names)) < len(names):
        raise ValueError(f"{len(files)} experiments need as many names, all different: {names}")
    experiments = [_read(name, file) for name, file in zip(names, files, strict=True)]
    first = experiments[0]
    for other in experiments[1:]:
        if other.results["test_set"] != first.results["test_set"]:
            raise ValueError(
                f"{other.path} is of the test set {other.results['test_set']}, {first.path} of "
                f"{first.results['test_set']}; give the results.<test set>.json of one test set"
            )
    return experiments


def _names(places: Sequence[Path]) -> list[str]:
    """What differs in the paths, without what all begin and end with."""
    parts = [place.parts for place in places]
    start = _common(parts)
    end = _common([part[start:][::-1] for part in parts])
    return ["/".join(part[start : len(part) - end]) or "." for part in parts]


def _common(parts: Sequence[Sequence[str]]) -> int:
    """How many parts all begin with."""
    same = 0
    for column in zip(*parts, strict=False):
        if len(set(column)) > 1:
            break
        same += 1
    return same


def _read(name: str, path: Path) -> Experiment:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; run stage 11 of that experiment first")
    try:
        results = parse_json(path.read_text(encoding="utf-8"))
        found = results.get("version")
    except (ValueError, AttributeError):
        raise ValueError(f"{path}: not a results.json; give the one that stage 11 wrote") from None
    if found != VERSION:
        which = "no version" if found is None else f"version {found}"
        raise ValueError(
            f"{path} has {which}, this program reads version {VERSION}; score that experiment "
            "again (stage 11) with the same version of the program"
        )
    if not _whole(results):
        raise ValueError(f"{path}: damaged, or not a results.json; rerun stage 11")
    return Experiment(
        name, path, results, read(path.parent / results["utterances"], len(results["systems"]))
    )


def _whole(results: dict) -> bool:
    try:
        file = results["utterances"]
        strings = all(isinstance(results[key], str) for key in NEEDED if key != "systems")
        numbers = all(math.isfinite(s["response_ppl"]) for s in results["systems"])
        keys = all(key in system for system in results["systems"] for key in OF_SYSTEMS)
    except (KeyError, TypeError):
        return False
    return strings and numbers and keys and Path(file).name == file and bool(results["systems"])


def why_not(a: Experiment, b: Experiment) -> str | None:
    """Why utterances of `a` and `b` are not pairs; None: they are."""
    return _other_llm(a, b) or _other_utterances(a, b) or _other_responses(a, b)


def _other_llm(a: Experiment, b: Experiment) -> str | None:
    prints = [x.results.get("llm_fingerprint") for x in (a, b)]
    names = [x.results["llm"] for x in (a, b)]
    same = prints[0] == prints[1] if all(prints) else names[0] == names[1]
    return None if same else f"the LLM is another one ({names[0]}, {names[1]})"


def _other_utterances(a: Experiment, b: Experiment) -> str | None:
    ours, theirs = set(a.kept.ids), set(b.kept.ids)
    if ours == theirs:
        return None
    return (
        f"the utterances are others ({len(ours - theirs)} of {len(ours)} are only in {a.name}, "
        f"{len(theirs - ours)} of {len(theirs)} only in {b.name})"
    )


def _other_responses(a: Experiment, b: Experiment) -> str | None:
    order = in_order(a, b)
    differ = (a.kept.tokens_N != b.kept.tokens_N[order]) | (
        a.kept.digests_N != b.kept.digests_N[order]
    )
    if not differ.any():
        return None
    first = a.kept.ids[int(differ.argmax())]
    return (
        f"{int(differ.sum())} of {len(differ)} reference responses have other tokens "
        f"(first: {first})"
    )


def in_order(a: Experiment, b: Experiment) -> np.ndarray:
    """Places (N,) of the utterances of `a` in `b`, which has the same."""
    place = {id: i for i, id in enumerate(b.kept.ids)}
    return np.array([place[id] for id in a.kept.ids])


def other_measure(a: Experiment, b: Experiment, key: str) -> bool:
    """Whether what is counted differs: the success rule, or the normalizer."""
    return a.results.get(key) != b.results.get(key)
