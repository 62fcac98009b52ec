"""Alignments of a list, each with each seed, through stages 7 to 11 of run.sh; and their table.

exp/audiollm_ablation_NAME_seedN_*/   an experiment of stage 9, and its answers
exp/ablation/                         stage 11's results, of these and of all else in exp/
exp/ablation/table.md                 the table
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ablation_runs import (
    RESULTS,
    Entry,
    Recipe,
    by_name,
    get_parser,
    read_entries,
    run_all,
    run_sh,
    show,
)

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.report.tables import NONE, Table, number, within

OPTIONS = "--align_tag", "--align_configs", "--align_args"
RECIPE = Recipe("audiollm", *OPTIONS, first=7, last=10)


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Train what is missing, score all, print the table."""
    args = get_parser(__doc__.splitlines()[0]).parse_args(argv)
    entries = read_entries(args)
    if not list(Path("exp").glob("ctc_*/*.pth")):
        raise ValueError("exp/ has no recogniser of stage 5: run the main job (./run.sh) first")
    run_all(RECIPE, entries, args.more)
    last = entries[-1]
    run_sh([*args.more, *RECIPE.words(last), "--resultsdir", str(RESULTS)], 11, 11, last.key)
    show(table(entries, read_results(RESULTS)).markdown())
    return 0


def read_results(directory: Path) -> list[dict]:
    """results.json of every set, the first test set first."""
    first = json.loads((directory / "results.json").read_text(encoding="utf-8"))
    others = [json.loads(p.read_text("utf-8")) for p in sorted(directory.glob("results.*.json"))]
    return [first, *(each for each in others if each["test_set"] != first["test_set"])]


def table(entries: Sequence[Entry], results: Sequence[dict]) -> Table:
    """A row for the cascade that is right most often on the first set, and for each entry."""
    names = [each["test_set"] for each in results]
    header = ["System", "seed"]
    for name in names:
        header += [f"{name}: success % [95 % CI]", f"{name}: PPL [95 % CI]"]
    header += ["s a step", "memory, GB"]
    rows = []
    cascades = [row for row in results[0]["systems"] if row["name"] == "cascade"]
    if cascades:
        best = max(cascades, key=lambda row: row["success_rate"] or 0.0)["label"]
        cells = [_cells(each, lambda row: row["label"] == best) for each in results]
        rows.append((best, NONE, *(cell for pair in cells for cell in pair), NONE, NONE))
    for entry in by_name(entries):
        cells = [
            _cells(each, lambda row, e=entry: RECIPE.is_model(e, row["model"])) for each in results
        ]
        row = entry.label, str(entry.seed), *(cell for pair in cells for cell in pair)
        rows.append((*row, *RECIPE.cost(entry)))
    return Table(tuple(header), tuple(rows))


def _cells(results: dict, wanted) -> tuple[str, str]:
    """Success and perplexity of a set's system."""
    row = next((row for row in results["systems"] if wanted(row)), None)
    if row is None:
        return NONE, NONE
    low, high = row["response_ppl_ci95"]
    success = NONE
    if row["success_rate"] is not None:
        success = within(row["success_rate"], row["success_rate_ci95"], 1)
    return success, f"{number(row['response_ppl'])} [{number(low)}, {number(high)}]"


if __name__ == "__main__":
    sys.exit(main())
