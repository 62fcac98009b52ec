"""The mini recipe, cut down, killed again and again: the same command ends with the same results.

Moments are chosen by a seed, spread over all stages, each inside the time that its stage took in
an undisturbed run. What is killed is only the shell, one process of the tree, or all of them:
what a closed terminal, an out-of-memory killer and a dying machine do.
"""

import itertools
import os
import random
import signal
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
from recipe_copies import (
    MINI_OPTIONS,
    MINI_TRAINING,
    NUM_STAGES,
    check_same,
    copy_recipe,
    environment,
)

END_OF_REMAINS = 60.0  # seconds that children of what was killed may take to end by themselves


@dataclass(frozen=True)
class Moment:
    stage: int
    part: float  # of the stage's undisturbed duration
    victim: str  # "shell", "one" or "all"


def moments(stages: list[int], chance: random.Random) -> list[Moment]:
    """One in each of these stages, in order, so that each run gets further."""
    victims = itertools.cycle(("shell", "one", "all"))
    return [Moment(stage, chance.random(), next(victims)) for stage in sorted(stages)]


def command_of(pid: int) -> bytes:
    """What a process was called with; nothing of one that is gone by now."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class Run:
    """One call of run.sh in a session of its own; its processes are known by a mark."""

    def __init__(self, recipe: Path):
        self.mark = f"AUDIOLLM_TEST_RUN={uuid.uuid4()}"
        name, value = self.mark.split("=")
        self.log = recipe.parent / f"{value}.log"
        with open(self.log, "w") as out:
            self.shell = subprocess.Popen(
                [str(recipe / "run.sh"), *MINI_OPTIONS],
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
            assert time.monotonic() < deadline, f"orphans: {list(map(command_of, left))}"
            time.sleep(0.1)


def test_killed_and_run_again(root, tmp_path, mini_run, request):
    kill_and_compare(root, tmp_path, mini_run, [1, 5, 9, 10], request.config.getoption("--seed"))


@pytest.mark.slow
def test_killed_many_times(root, tmp_path, mini_run, request):
    """--kills 100 --seed 7: as many moments, others."""
    kills = request.config.getoption("--kills")
    stages = [1 + i % NUM_STAGES for i in range(kills)]
    kill_and_compare(root, tmp_path, mini_run, stages, request.config.getoption("--seed"))


def kill_and_compare(root, tmp_path, mini_run, stages, seed):
    recipe = copy_recipe(root, tmp_path, "mini", MINI_TRAINING)
    chance, hits = random.Random(seed), 0
    for moment in moments(stages, random.Random(seed)):
        run = Run(recipe)
        if run.wait_for_stage(moment.stage):
            time.sleep(moment.part * mini_run.seconds[moment.stage])
            hits += run.shell.poll() is None
            run.kill(moment.victim, chance)
        run.wait_for_the_end()
    last = Run(recipe)
    last.wait_for_the_end()
    assert last.shell.returncode == 0, last.output()[-3000:]
    assert hits >= 0.8 * len(stages)
    check_same(recipe, mini_run.recipe)
