"""Alignments of a list, each with each seed, through stages 7 to 11 of run.sh; and their table.

exp/audiollm_ablation_NAME_seedN_*/   an experiment of stage 9, and its answers
exp/ablation/                         stage 11's results, of these and of all else in exp/
exp/ablation/memory/NAME_seedN.json   the largest process of the training, MB
exp/ablation/table.md                 the table
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.report.tables import NONE, Table, number, within
from espnet_audiollm.store.atomic import atomic_write
from espnet_audiollm.store.yaml_files import read_yaml

RESULTS = Path("exp/ablation")
FIELDS = {"name", "label", "config", "align_args", "options"}
NEXT = "correct the list"


@dataclass(frozen=True)
class Entry:
    """A system of the list with one seed."""

    name: str
    label: str
    config: str
    align_args: str
    options: str
    seed: int

    @property
    def key(self) -> str:
        """Of its files."""
        return f"{self.name}_seed{self.seed}"

    @property
    def words(self) -> list[str]:
        """Its options of run.sh."""
        tag, more = f"ablation_{self.key}", f"{self.align_args} --seed {self.seed}".strip()
        words = ["--align_tag", tag, "--align_configs", self.config, "--align_args", more]
        return [*words, *shlex.split(self.options)]

    def is_model(self, name: str) -> bool:
        """Whether an experiment of this name is its own."""
        return f"{name}_".startswith(f"audiollm_ablation_{self.key}_")


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", default="local/ablation.yaml", help="the systems")
    parser.add_argument("--names", help="of the list, those to train (default: all)")
    parser.add_argument("--seeds", default="1 2 3", help="of the trainings")
    parser.add_argument("more", nargs="*", help="after --: options of run.sh, of every system")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Train what is missing, score all, print the table."""
    args = get_parser().parse_args(argv)
    if not all(re.fullmatch(r"\d{1,6}", seed) for seed in args.seeds.split()):
        raise ValueError(f"--seeds '{args.seeds}': give whole numbers, such as \"1 2 3\"")
    chosen = args.names.split() if args.names is not None else None
    entries = read_list(args.list, [int(seed) for seed in args.seeds.split()], chosen)
    if not list(Path("exp").glob("ctc_*/*.pth")):
        raise ValueError("exp/ has no recogniser of stage 5: run the main job (./run.sh) first")
    for entry in entries:
        print(f"=== {entry.key}", flush=True)
        train(entry, args.more)
    last = entries[-1]
    run_sh([*args.more, *last.words, "--resultsdir", str(RESULTS)], 11, 11, last.key)
    text = table(entries, read_results(RESULTS)).markdown()
    with atomic_write(RESULTS / "table.md") as out:
        out.write(text + "\n")
    print(text)
    return 0


def read_list(path: str, seeds: Sequence[int], names: Sequence[str] | None) -> list[Entry]:
    """The entries, each with each seed, seeds first: half a run has all systems with one seed.

    Errors (ValueError): not such a list, two of one name, names that it does not have."""
    items = read_yaml(path, NEXT)
    if not isinstance(items, list) or not items:
        raise ValueError(f"{path} is no list of systems: {NEXT}")
    for place, item in enumerate(items, 1):
        if not isinstance(item, dict) or not {"name", "config"} <= item.keys() <= FIELDS:
            raise ValueError(
                f"{path}: system {place} of {len(items)} needs a name and a config, and may have "
                f"label, align_args and options: {NEXT}"
            )
        if not re.fullmatch(r"[A-Za-z0-9]\w*", str(item["name"])):
            raise ValueError(f"{path}: system {place}: no name for a directory: {NEXT}")
        if not Path(item["config"]).is_file():
            raise ValueError(f"{path}: {item['name']}: {item['config']} does not exist: {NEXT}")
    known = [item["name"] for item in items]
    wrong = [name for name in names or () if name not in known]
    if wrong or len(set(known)) < len(known):
        fault = f"it has no system '{wrong[0]}'" if wrong else "two systems have one name"
        raise ValueError(f"{path}: {fault} (there are {', '.join(known)})")
    items = [item for item in items if names is None or item["name"] in names]
    if not items or not seeds:
        raise ValueError("there is nothing to train: give --names and --seeds, or neither")
    filled = [{"label": item["name"], "align_args": "", "options": ""} | item for item in items]
    return [Entry(**item, seed=seed) for seed in seeds for item in filled]


# --- training -----------------------------------------------------------------------------------


def train(entry: Entry, more: Sequence[str]) -> None:
    """Stages 7 to 10; what the training takes is kept.

    Errors (ValueError): a stage failed."""
    words = [*more, *entry.words]
    run_sh(words, 7, 8, entry.key)
    before = _log_time(entry)
    peak_MB = run_sh(words, 9, 9, entry.key)
    if _log_time(entry) != before:
        (RESULTS / "memory").mkdir(parents=True, exist_ok=True)
        with atomic_write(RESULTS / "memory" / f"{entry.key}.json") as out:
            json.dump({"peak_MB": peak_MB}, out)
    run_sh(words, 10, 10, entry.key)


def run_sh(words: Sequence[str], first: int, last: int, key: str) -> float:
    """run.sh from one stage to another; the memory of its largest process, MB."""
    stages = ["--stage", str(first), "--stop_stage", str(last)]
    child = subprocess.Popen(["./run.sh", *words, *stages])
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise ValueError(
            f"{key}: run.sh ended with exit status {child.returncode} in stages {first} to {last}, "
            "see above; once fixed, the same command goes on from there"
        )
    return usage.ru_maxrss / 1024


def _experiment(entry: Entry) -> Path | None:
    found = (path for path in Path("exp").glob("audiollm_*") if entry.is_model(path.name))
    return next(found, None)


def _log_time(entry: Entry) -> float:
    experiment = _experiment(entry)
    log = experiment / "train.log" if experiment else None
    return log.stat().st_mtime if log and log.exists() else 0.0


# --- the table ----------------------------------------------------------------------------------


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
    for entry in sorted(entries, key=lambda entry: [e.name for e in entries].index(entry.name)):
        cells = [_cells(each, lambda row, e=entry: e.is_model(row["model"])) for each in results]
        row = entry.label, str(entry.seed), *(cell for pair in cells for cell in pair)
        rows.append((*row, *_cost(entry)))
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


def _cost(entry: Entry) -> tuple[str, str]:
    """Seconds of a step (the median of the epochs), and the training's largest process."""
    experiment, memory = _experiment(entry), RESULTS / "memory" / f"{entry.key}.json"
    log = (experiment / "train.log").read_text("utf-8") if experiment else ""
    epochs = re.findall(r"epoch results: \[train\].*?[ ,]train_time=([\d.e+-]+)", log)
    seconds = f"{statistics.median(map(float, epochs)):.2f}" if epochs else NONE
    gpu = re.findall(r"gpu_max_cached_mem_GB=([\d.]+)", log)
    if gpu:
        return seconds, f"{max(map(float, gpu)):.1f} (GPU)"
    if not memory.is_file():
        return seconds, NONE
    return seconds, f"{json.loads(memory.read_text())['peak_MB'] / 1024:.1f}"


if __name__ == "__main__":
    sys.exit(main())
