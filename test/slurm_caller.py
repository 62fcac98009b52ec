"""Calls utils/slurm.py as a recipe does, on a cluster of the tests."""

import signal
import subprocess
import sys
from pathlib import Path

RUNNER = Path(__file__).parents[1] / "utils/slurm.py"
CONFIG = """\
default: {mem: 100M, cpus: 1}
train: {signal: 60}
poll: 1
controller_wait: 60
file_delay: 3
"""


class Caller:
    """Calls the runner in a directory of its own."""

    def __init__(self, cluster, directory: Path):
        self.cluster, self.dir = cluster, directory
        self.env = {**cluster.env, "AUDIOLLM_SLURM_CONFIG": str(directory / "slurm.yaml")}
        self.configure(CONFIG)

    def configure(self, text: str) -> None:
        (self.dir / "slurm.yaml").write_text(text)

    def command(self, *words) -> list[str]:
        return [sys.executable, str(RUNNER), *map(str, words)]

    def run(self, *words, **env) -> subprocess.CompletedProcess:
        options = {"env": {**self.env, **env}, "cwd": self.dir, "check": False}
        return self.cluster.run(self.command(*words), **options)

    def start(self, *words) -> subprocess.Popen:
        return subprocess.Popen(
            self.command(*words),
            env=self.env,
            cwd=self.dir,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # as without nohup
        )

    def text(self, name: str) -> str:
        path = self.dir / name
        return path.read_text() if path.exists() else ""

    def wait_for(self, happened, what="it"):
        self.cluster.wait_for(happened, what)
