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
            write_json(output / f"results.{item['test_set']}.json", item, allow_nan=False)
    over_all = {
        "sweeps": sweep_report.as_dict(everything),
        "conversations": [item for each in talks for item in as_list(each)],
    }
    first = items[0] | {k: v for k, v in over_all.items() if v}
    write_json(output / "results.json", first, allow_nan=False)
