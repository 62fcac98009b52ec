"""On a node: a job, or a member of an array, and what follows from how it ended."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from .contract import Job, Options
from .logs import Screen
from .member import Member, Setting
from .ranks import MAY_PASS, RUN_AGAIN
from .slurm_queue import Refused, slurm
from .state import Exit, State

Seconds = float

IN_A_ROW = 3  # requeues for MAY_PASS
GRACE: Seconds = 3600.0  # Slurm itself kills after KillWait


def run(spec: dict) -> int:
    """Run this array task's job, as `spec` (JSON beside the log) says; its exit status."""
    options = Options(**spec["options"])
    number = int(os.environ.get("SLURM_ARRAY_TASK_ID", options.first))
    return Task(options, options.job(number), State(Path(spec["state"])), spec["cpus"]).run()


class Task:
    """A job inside Slurm's allocation."""

    def __init__(self, options: Options, job: Job, state: State, cpus: int):
        self.options, self.job, self.state, self.cpus = options, job, state, cpus
        self.id = os.environ["SLURM_JOB_ID"]
        self.verdicts = state.path / f"{job.number}.verdicts"

    def run(self) -> int:
        """Run the command on the allocated nodes and leave its exit status for the runner."""
        self.state.forget(self.job.number)
        os.environ.update(OMP_NUM_THREADS=str(self.cpus), PYTHONUNBUFFERED="1")
        if not self.options.gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        training = bool(self.options.num_procs)
        setting = Setting(
            self.cpus,
            os.environ.get("CUDA_VISIBLE_DEVICES", "as the node has"),
            GRACE,
            group=not training,
            through_srun=self.options.num_nodes > 1,
            job_id=self.name(),
        )
        job = Job(self.job.number, self.job.log, self.on_nodes(self.job.command))
        member = Member(job, setting)
        status = self.of_all_nodes(member.run())
        if training and status in (RUN_AGAIN, MAY_PASS) and self.requeue(status, member.ending):
            return 0
        self.state.finish(self.job.number, Exit(status, asked=member.ending))
        return status

    def name(self) -> str:
        """Slurm's id, nodes and restarts, for the log."""
        array = os.environ.get("SLURM_ARRAY_JOB_ID")
        name = f"{array}_{self.job.number} ({self.id})" if array else self.id
        restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
        nodes = os.environ.get("SLURM_JOB_NODELIST", "")
        return f"{name} on {nodes}" + (f", restart {restarts}" if restarts != "0" else "")

    def on_nodes(self, command: list[str]) -> list[str]:
        """The command that runs `command` on all nodes of the job."""
        started = self.options.started(command)
        if self.options.num_nodes == 1:
            return started
        shutil.rmtree(self.verdicts, ignore_errors=True)
        self.verdicts.mkdir(parents=True)
        os.environ["AUDIOLLM_VERDICTS"] = str(self.verdicts)
        nodes = str(self.options.num_nodes)
        sizes = ["--nodes", nodes, "--ntasks", nodes, "--ntasks-per-node", "1"]
        sizes += ["--cpus-per-task", str(self.cpus), "--kill-on-bad-exit=1"]
        return ["srun", *sizes, *started]

    def of_all_nodes(self, status: int) -> int:
        """The exit status of a training on several nodes, from what each of them left."""
        if self.options.num_nodes == 1:
            return status
        from launch import verdict

        return verdict(self.verdicts, status)

    def requeue(self, status: int, asked: bool) -> bool:
        """Ask Slurm for another start; whether there will be one."""
        tries = f"{self.job.number}.tries"
        failed = self.state.count(tries) + 1 if status == MAY_PASS else 0
        if failed > IN_A_ROW:
            self.say(f"failed {failed} times in a row before anything was saved: no more requeues")
            return False
        self.state.write(tries, str(failed))
        if asked and self.slurm_state() != "RUNNING":
            return False  # Slurm ends the job: it was cancelled, or Slurm itself starts it again.
        try:
            slurm("scontrol", "requeue", self.id)
        except Refused as refused:
            self.say(f"could not be requeued, run the same command again: {refused}")
            return False
        self.say(f"exit status {status}: requeued")
        return True

    def slurm_state(self) -> str:
        """The job's state as the controller has it; empty where it does not answer."""
        try:
            shown = slurm("scontrol", "--oneliner", "show", "job", self.id)
        except Refused:
            return ""
        found = re.search(r"\bJobState=(\w+)", shown)
        return found[1] if found else ""

    def say(self, text: str) -> None:
        """For the output file of Slurm."""
        Screen(sys.stderr).note(text)
