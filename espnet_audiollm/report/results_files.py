"""The numbers that scoring leaves: results.json, and utterances.<test set>.npz beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..score.comparison.kept import keep
from ..score.comparison.kept import write as write_kept
from ..score.conversations import Conversations, as_list
from ..score.results import Results
from ..store.json_files import write_json
from . import sweep as sweep_report


def write(
    output: Path,
    everything: Sequence[Results],
    talks: Sequence[Conversations],
    recipe: str,
    llm: str,
) -> None:
    """results.json of the first test set; where there are several, results.<name>.json of each.

    What is of several test sets, or of dialogues in both contexts, is only in results.json. What
    an earlier scoring left of other test sets is removed; utterances only once results.json, which
    may be of them, is another one."""
    items = []
    for results in everything:
        write_kept(output / _utterances(results.test_set.name), keep(results))
        items.append(_item(results, recipe, llm))
    scored = [item["test_set"] for item in items]
    several = dict(zip(scored, items, strict=True)) if len(items) > 1 else {}
    for name, item in several.items():
        write_json(output / _own(name), item, allow_nan=False)
    there = _sets_of(output)
    for name in there.difference(several):
        (output / _own(name)).unlink(missing_ok=True)
    over_all = {
        "sweeps": sweep_report.as_dict(everything),
        "conversations": [item for each in talks for item in as_list(each)],
    }
    first = items[0] | {k: v for k, v in over_all.items() if v}
    write_json(output / "results.json", first, allow_nan=False)
    for name in there.difference(scored):
        (output / _utterances(name)).unlink(missing_ok=True)


def _item(results: Results, recipe: str, llm: str) -> dict:
    """What results.json holds of a test set; systems with a model say which checkpoint it is."""
    item = results.as_dict(recipe, llm)
    for system, row in zip(item["systems"], results.rows, strict=True):
        if checkpoint := row.run.checkpoint:
            system["checkpoint"] = checkpoint
    item["utterances"] = _utterances(results.test_set.name)
    item["llm_fingerprint"] = results.test_set.references.about["fingerprint"]
    return item


def _utterances(name: str) -> str:
    return f"utterances.{name}.npz"


def _own(name: str) -> str:
    return f"results.{name}.json"


def _sets_of(output: Path) -> set[str]:
    """The test sets whose utterances a scoring left there."""
    start, end = _utterances("*").split("*")
    found = (path.name for path in output.glob(_utterances("*")))
    return {name.removeprefix(start).removesuffix(end) for name in found}
