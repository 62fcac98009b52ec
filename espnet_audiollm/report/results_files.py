"""The numbers that scoring leaves: results.json, and utterances.<test set>.npz beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..score import conversations
from ..score.comparison.kept import keep
from ..score.comparison.kept import write as write_kept
from ..score.results import Results
from ..store.atomic import atomic_write
from . import sweep as sweep_report


def write(
    output: Path,
    everything: Sequence[Results],
    scored: Sequence[conversations.Scored],
    stores: Sequence[str],
    recipe: str,
    llm: str,
) -> None:
    """results.json of the first test set; where there are several, results.<name>.json of each.

    What is of several test sets, or of conversations, is in results.json alone. `stores`: of the
    references of each test set."""
    items = []
    for results, store in zip(everything, stores, strict=True):
        name = f"utterances.{results.test_set.name}.npz"
        write_kept(output / name, keep(results))
        kept = {"utterances": name, "llm_fingerprint": _fingerprint(Path(store))}
        items.append(results.as_dict(recipe, llm) | kept)
    if len(items) > 1:
        for item in items:
            _write_json(output / f"results.{item['test_set']}.json", item)
    over_all = {
        "sweeps": sweep_report.as_dict(everything),
        "conversations": conversations.as_dict(scored),
    }
    _write_json(output / "results.json", items[0] | {k: v for k, v in over_all.items() if v})


def _write_json(path: Path, item: dict) -> None:
    with atomic_write(path) as out:
        out.write(json.dumps(item, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _fingerprint(store: Path) -> str | None:
    """Of the LLM that gave the references, whatever its directory is called. None: not kept."""
    try:
        about = json.loads((store / "store.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return about.get("fingerprint") if isinstance(about, dict) else None
