"""The mini recipe, cut down, killed again and again: the same command ends with the same results.

Moments are chosen by a seed, spread over all stages, each inside the time that its stage took in
an undisturbed run. What is killed is the shell alone, one process of the tree, or all of them:
what a closed terminal, an out-of-memory killer and a dying machine do.
"""

import json
import os
import random
import re
import signal
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from recipe_copies import TINY_OPTIONS, copy_recipe, environment

SEED = 20231
NUM_STAGES = 12
END_OF_REMAINS = 60.0  # seconds that children of what was killed may take to end by themselves
TRAINING = """
encoder: conformer
encoder_conf: {output_size: 16, attention_heads: 2, linear_units: 16, num_blocks: 1,
               dropout_rate: 0.1, subsampling: 8, subsampling_channels: 4}
specaug: specaug
specaug_conf: {apply_time_warp: false, apply_freq_mask: true, freq_mask_width_range: [0, 10],
               num_freq_mask: 1, apply_time_mask: true, time_mask_width_range: [0, 5],
               num_time_mask: 1}
batch_type: numel
batch_bins: 160000
max_epoch: 3
optim: adamw
optim_conf: {lr: 0.001}
num_workers: 1
best_model_criterion: [[valid, loss, min]]
keep_nbest_models: 2
use_matplotlib: false
"""
OPTIONS = [
    "--local_data_opts",
    "--num_train 120 --num_valid 10 --num_test 12 --nj 1 --llm_conversations 400 --llm_eval 10",
    *("--vocab_size", "60", "--stop_stage", str(NUM_STAGES)),
    *TINY_OPTIONS,
]
RESULTS = ("results.json", "RESULTS.md")


@dataclass(frozen=True)
class Moment:
    stage: int
    part: float  # of the stage's undisturbed duration
    victim: str  # "shell", "one" or "all"


def moments(number: int) -> list[Moment]:
    """Stages in turn, so that none is left out; sorted, so that each run gets further."""
    chance = random.Random(SEED)
    stages = sorted(1 + i % NUM_STAGES for i in range(number))
    victims = ("shell", "one", "all")
    return [Moment(stage, chance.random(), chance.choice(victims)) for stage in stages]


class Run:
    """One call of run.sh in a session of its own; its processes are known by a mark."""

    def __init__(self, recipe: Path):
        self.mark = f"AUDIOLLM_TEST_RUN={uuid.uuid4()}"
        name, value = self.mark.split("=")
        self.log = recipe.parent / f"{value}.log"
        with open(self.log, "w") as out:
            self.shell = subprocess.Popen(
                [str(recipe / "run.sh"), *OPTIONS],
                cwd="/",
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment(**{name: value}),
            )

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for_stage(self, stage: int) -> bool:
        """Wait until the stage has begun; False when the run ended before."""
        while f"Stage {stage}:" not in self.output():
            if self.shell.poll() is not None:
                return False
            time.sleep(0.05)
        return True

    def processes(self) -> list[int]:
        """All living processes that carry the mark."""
        mark, found = self.mark.encode(), []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                marked = mark in (entry / "environ").read_bytes()
            except OSError:  # gone, or a zombie
                continue
            if marked:
                found.append(int(entry.name))
        return found

    def kill(self, victim: str, chance: random.Random) -> None:
        pids = sorted(self.processes())
        if victim == "shell":
            pids = [self.shell.pid]
        elif victim == "one" and pids:
            pids = [chance.choice(pids)]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def wait_for_the_end(self) -> None:
        """Of the shell and of everything it started; AssertionError for what stays."""
        self.shell.wait(timeout=600)
        deadline = time.monotonic() + END_OF_REMAINS
        while left := self.processes():
            commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]
            assert time.monotonic() < deadline, f"orphans: {commands}"
            time.sleep(0.1)


def undisturbed(recipe: Path) -> dict[int, float]:
    """Run to the end; the seconds that each stage took."""
    run, begun = Run(recipe), {}
    while run.shell.poll() is None:
        for stage in re.findall(r"Stage (\d+):", run.output()):
            begun.setdefault(int(stage), time.monotonic())
        time.sleep(0.05)
    assert run.shell.returncode == 0, run.output()[-3000:]
    ends = [*list(begun.values())[1:], time.monotonic()]
    assert sorted(begun) == list(range(1, NUM_STAGES + 1))
    return {stage: end - start for (stage, start), end in zip(begun.items(), ends, strict=True)}


def weights(path: Path) -> dict[str, torch.Tensor]:
    state = torch.load(path, weights_only=True)
    return {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}


def files(recipe: Path) -> set[str]:
    """Everything a run left except logs (tensorboard's are one a run), by relative path."""
    tops = ("data", "dump", "exp")
    found = (path for top in tops for path in (recipe / top).rglob("*") if not path.is_dir())
    names = (str(path.relative_to(recipe)) for path in found if path.suffix != ".log")
    return {name for name in names if "/tensorboard/" not in name}


def check_same(recipe: Path, expected: Path) -> None:
    ours, theirs = (json.loads((r / "exp/results.json").read_text()) for r in (recipe, expected))
    assert ours == theirs
    for directory in ("ctc_bpe60", "audiollm_test"):
        pairs = zip(
            sorted((recipe / "exp").glob(f"{directory}*/valid.loss.ave.pth")),
            sorted((expected / "exp").glob(f"{directory}*/valid.loss.ave.pth")),
            strict=True,
        )
        for ours, theirs in pairs:
            a, b = weights(ours), weights(theirs)
            assert a.keys() == b.keys()
            assert all(torch.equal(a[key], b[key]) for key in a)
    for name in ("hyp", "response_ids", "utterances.jsonl"):
        for path in expected.glob(f"*/**/{name}"):
            ours = recipe / path.relative_to(expected)
            assert ours.read_bytes() == path.read_bytes(), ours
    assert files(recipe) == files(expected)


@pytest.mark.parametrize(
    "number", [pytest.param(4, id="4_moments"), pytest.param(30, marks=pytest.mark.slow)]
)
def test_killed_and_run_again(root, tmp_path, number):
    expected = copy_recipe(root, tmp_path / "undisturbed", "mini", TRAINING)
    recipe = copy_recipe(root, tmp_path / "killed", "mini", TRAINING)
    seconds = undisturbed(expected)
    chance, hits = random.Random(SEED), 0
    for moment in moments(number):
        run = Run(recipe)
        if run.wait_for_stage(moment.stage):
            time.sleep(moment.part * seconds[moment.stage])
            hits += run.shell.poll() is None
            run.kill(moment.victim, chance)
        run.wait_for_the_end()
    last = Run(recipe)
    last.wait_for_the_end()
    assert last.shell.returncode == 0, last.output()[-3000:]
    assert hits >= 0.8 * number
    check_same(recipe, expected)
