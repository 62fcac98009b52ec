"""Speech LMs of a list, each with each seed, through stages 3 to 12 of run.sh; and their table.

exp/speechlm_ablation_NAME_seedN_*/   an experiment of stage 8, its answers and its results
exp/ablation/table.md                 the table
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from ablation_runs import Entry, Recipe, by_name, get_parser, read_entries, run_all, show

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.report.tables import NONE, Table, within

# A column: its header, how the block of the answers' task ends, the step and the measure there.
COLUMNS = (
    ("ASR: WER %", ".asr_english", "ASR", "WER %"),
    ("QA: success %", ".qa_english", "QA", "success %"),
    ("SQA: success %", ".sqa_english", "SQA", "success %"),
    ("SQA by the chain: success %", ".asr_sqa_sqsa_english", "SQA", "success %"),
    ("SQSA: success %", ".sqsa_english", "SQSA", "spoken success %"),
    ("SQSA by the chain: success %", ".asr_sqa_sqsa_english", "SQSA", "spoken success %"),
    ("TTS: ASR-WER %", ".tts_english", "TTS", "ASR-WER %"),
    ("true units: ASR-WER %", ".tts_english", "TTS", "ASR-WER %, units"),
)


OPTIONS = "--lm_tag", "--lm_config", "--lm_args"
RECIPE = Recipe("speechlm", *OPTIONS, first=3, last=12)


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Train what is missing, print the table."""
    args = get_parser(__doc__.splitlines()[0]).parse_args(argv)
    entries = read_entries(args)
    run_all(RECIPE, entries, args.more)
    show(table(entries).markdown())
    return 0


def table(entries: Sequence[Entry]) -> Table:
    """A row for each entry."""
    rows = [
        (entry.label, str(entry.seed), *_cells(_measures(entry)), *RECIPE.cost(entry))
        for entry in by_name(entries)
    ]
    headers = (f"{header} [95 % CI]" for header, *_ in COLUMNS)
    return Table(("System", "seed", *headers, "s a step", "memory, GB"), tuple(rows))


def _measures(entry: Entry) -> list[dict]:
    experiment = RECIPE.experiment(entry)
    if experiment is None:
        return []
    [system] = json.loads((experiment / "results.json").read_text("utf-8"))["task_systems"]
    return system["measures"]


def _cells(measures: Sequence[dict]) -> list[str]:
    return [_cell(measures, *column) for _, *column in COLUMNS]


def _cell(measures: Sequence[dict], block: str, step: str, name: str) -> str:
    found = (
        each
        for each in measures
        if each["block"].endswith(block) and (each["step"], each["name"]) == (step, name)
    )
    each = next(found, None)
    if each is None or each["value"] is None:
        return NONE
    return within(each["value"], each["ci95"], 1)


if __name__ == "__main__":
    sys.exit(main())
