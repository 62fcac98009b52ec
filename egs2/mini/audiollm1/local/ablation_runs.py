"""A list of systems, each trained with each seed by run.sh: what local/ablation.py and speechlm1's
local/speech_ablation.py share.

    - name: hidden                     # of its experiments
      label: teacher's hidden states   # in the table (default: the name)
      config: conf/train_x.yaml        # of its training (default: the recipe's own)
      args: --hidden_weight 1          # more options of the training
      options: --teacher_prompts true  # more options of run.sh
      before: local/make.py exp/made   # a Python file and its words, run before its stages
"""

from __future__ import annotations

import argparse
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_audiollm.report.tables import NONE
from espnet_audiollm.store.atomic import atomic_write
from espnet_audiollm.store.training_cost import read_cost
from espnet_audiollm.store.yaml_files import read_yaml

RESULTS = Path("exp/ablation")
FIELDS = {"name", "label", "config", "args", "options", "before"}
NEXT = "correct the list"


@dataclass(frozen=True)
class Entry:
    """A system of the list with one seed."""

    name: str
    label: str
    config: str
    args: str
    options: str
    before: str
    seed: int

    @property
    def key(self) -> str:
        """Of its files."""
        return f"{self.name}_seed{self.seed}"

    @property
    def tag(self) -> str:
        """Of its experiment."""
        return f"ablation_{self.key}"

    @property
    def training_args(self) -> str:
        """The options of its training."""
        return f"{self.args} --seed {self.seed}".strip()


@dataclass(frozen=True)
class Recipe:
    """How run.sh trains an entry.

    kind: how its experiment's name begins (exp/KIND_TAG_...). tag, config, args: the options
    for the tag, the training's configuration, and more options of it. first, last: stages."""

    kind: str
    tag: str
    config: str
    args: str
    first: int
    last: int

    def words(self, entry: Entry) -> list[str]:
        """Its options of run.sh."""
        config = [self.config, entry.config] if entry.config else []
        words = [self.tag, entry.tag, *config, self.args, entry.training_args]
        return [*words, *shlex.split(entry.options)]

    def is_model(self, entry: Entry, name: str) -> bool:
        """Whether an experiment of this name is the entry's own."""
        return f"{name}_".startswith(f"{self.kind}_{entry.tag}_")

    def experiment(self, entry: Entry) -> Path | None:
        """Of an entry; None: it is not trained. Errors (ValueError): there are several."""
        places = sorted(Path("exp").glob(f"{self.kind}_*"))
        found = [path for path in places if self.is_model(entry, path.name)]
        if len(found) > 1:
            raise ValueError(
                f"{entry.key} was trained {len(found)} times, with other options (first: "
                f"{found[0]}, {found[1]}): move away those that are not meant"
            )
        return found[0] if found else None

    def train(self, entry: Entry, more: Sequence[str]) -> None:
        """Its stages. Errors (ValueError): a stage failed."""
        if entry.before:
            run([sys.executable, *shlex.split(entry.before)], entry.key, entry.before)
        run_sh([*more, *self.words(entry)], self.first, self.last, entry.key)

    def cost(self, entry: Entry) -> tuple[str, str]:
        """Seconds of a step (the median of the epochs), the training's largest process, GB."""
        experiment = self.experiment(entry)
        if experiment is None:
            return NONE, NONE
        log = (experiment / "train.log").read_text("utf-8")
        epochs = re.findall(r"epoch results: \[train\].*?[ ,]train_time=([\d.e+-]+)", log)
        seconds = f"{statistics.median(map(float, epochs)):.2f}" if epochs else NONE
        found = read_cost(experiment)
        if found is None or not (found.gpu_memory or found.memory):
            return seconds, NONE
        on_gpu = f"{found.gpu_memory / 2**30:.1f} (GPU)"
        return seconds, on_gpu if found.gpu_memory else f"{found.memory / 2**30:.1f}"


def get_parser(description: str) -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--list", default="local/ablation.yaml", help="the systems")
    parser.add_argument("--names", help="of the list, those to train (default: all)")
    parser.add_argument("--seeds", default="1 2 3", help="of the trainings")
    parser.add_argument("more", nargs="*", help="after --: options of run.sh, of every system")
    return parser


def read_entries(args: argparse.Namespace) -> list[Entry]:
    """What the command line asks for. Errors (ValueError): as for `read_list`; no seeds."""
    if not all(re.fullmatch(r"\d{1,6}", seed) for seed in args.seeds.split()):
        raise ValueError(f"--seeds '{args.seeds}': give whole numbers, such as \"1 2 3\"")
    chosen = args.names.split() if args.names is not None else None
    return read_list(args.list, [int(seed) for seed in args.seeds.split()], chosen)


def read_list(path: str, seeds: Sequence[int], names: Sequence[str] | None) -> list[Entry]:
    """The entries, each with each seed, seeds first: half a run has all systems with one seed.

    Errors (ValueError): not such a list, two of one name, names that it does not have."""
    items = read_yaml(path, NEXT)
    if not isinstance(items, list) or not items:
        raise ValueError(f"{path} is no list of systems: {NEXT}")
    for place, item in enumerate(items, 1):
        if not isinstance(item, dict) or not {"name"} <= item.keys() <= FIELDS:
            raise ValueError(
                f"{path}: system {place} of {len(items)} needs a name, and may have label, config, "
                f"args, options and before: {NEXT}"
            )
        if not re.fullmatch(r"[A-Za-z0-9]\w*", str(item["name"])):
            raise ValueError(f"{path}: system {place}: no name for a directory: {NEXT}")
        if "config" in item and not Path(item["config"]).is_file():
            raise ValueError(f"{path}: {item['name']}: {item['config']} does not exist: {NEXT}")
    known = [item["name"] for item in items]
    wrong = [name for name in names or () if name not in known]
    if wrong or len(set(known)) < len(known):
        fault = f"it has no system '{wrong[0]}'" if wrong else "two systems have one name"
        raise ValueError(f"{path}: {fault} (there are {', '.join(known)})")
    items = [item for item in items if names is None or item["name"] in names]
    if not items or not seeds:
        raise ValueError("there is nothing to train: give --names and --seeds, or neither")
    empty = dict.fromkeys(("config", "args", "options", "before"), "")
    return [
        Entry(**(empty | {"label": item["name"]} | item), seed=seed)
        for seed in seeds
        for item in items
    ]


def run_all(recipe: Recipe, entries: Sequence[Entry], more: Sequence[str]) -> None:
    """Train what is missing. Errors (ValueError): a stage failed; options that each system has for
    itself, which would be lost."""
    lost = [recipe.tag, recipe.args] + [recipe.config] * any(entry.config for entry in entries)
    own = [word for word in more if _option(word) in lost]
    if own:
        raise ValueError(
            f"{own[0]} is each system's own, and would be lost: write it into the list, or give "
            "another list (--list FILE)"
        )
    for entry in entries:
        print(f"=== {entry.key}", flush=True)
        recipe.train(entry, more)


def _option(word: str) -> str:
    """--align_args of --align-args=..., as run.sh reads it."""
    return "--" + word.partition("=")[0].removeprefix("--").replace("-", "_")


def run_sh(words: Sequence[str], first: int, last: int, key: str) -> None:
    """run.sh from one stage to another. Errors (ValueError): it failed."""
    stages = ["--stage", str(first), "--stop_stage", str(last)]
    run(["./run.sh", *words, *stages], key, f"run.sh in stages {first} to {last}")


def run(words: Sequence[str], key: str, what: str) -> None:
    """A command. Errors (ValueError): it failed."""
    if status := subprocess.run(words, check=False).returncode:
        raise ValueError(
            f"{key}: {what} ended with exit status {status}, see above; once fixed, the same "
            "command goes on from there"
        )


def show(table: str) -> None:
    """Keep the table, and print it."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    with atomic_write(RESULTS / "table.md") as out:
        out.write(table + "\n")
    print(table)


def by_name(entries: Sequence[Entry]) -> list[Entry]:
    """Seeds of one system beside each other, systems in the list's order."""
    names = [entry.name for entry in entries]
    return sorted(entries, key=lambda entry: names.index(entry.name))
