"""The numbers that scoring leaves: results.json, and utterances.<test set>.npz beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..score.comparison.kept import keep
from ..score.comparison.kept import write as write_kept
from ..score.conversations import Conversations, as_list
from ..score.results import Results
from ..store.atomic import atomic_write
from . import sweep as sweep_report


def write(
    output: Path,
    everything: Sequence[Results],
    talks: Sequence[Conversations],
    recipe: str,
    llm: str,
) -> None:
    """results.json of the first test set; where there are several, results.<name>.json of each.

    What is of several test sets, or of dialogues in both contexts, is only in results.json."""
    items = []
    for results in everything:
        test_set = results.test_set
        name = f"utterances.{test_set.name}.npz"
        write_kept(output / name, keep(results))
        kept = {"utterances": name, "llm_fingerprint": test_set.references.about["fingerprint"]}
        items.append(results.as_dict(recipe, llm) | kept)
    if len(items) > 1:
        for item in items:
            _write_json(output / f"results.{item['test_set']}.json", item)
    over_all = {
        "sweeps": sweep_report.as_dict(everything),
        "conversations": [item for each in talks for item in as_list(each)],
    }
    _write_json(output / "results.json", items[0] | {k: v for k, v in over_all.items() if v})


def _write_json(path: Path, item: dict) -> None:
    with atomic_write(path) as out:
        out.write(json.dumps(item, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
