"""A stand-in for vLLM's environment, whose server is a process of its own: it is started, killed
and started again as vLLM is.

    vllm_processes.py PLACE -m vllm... --model DIR --port N ...    # what PLACE/bin/python runs

Each server leaves what it was given in PLACE/servers/PID.json, and a line for each answered prompt
in PLACE/answered."""

import json
import os
import signal
import socket
import sys
import time
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

SHOWN = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "SLURM_JOB_ID", "SLURMD_NODENAME")
SHOWN += ("SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "VLLM_CPU_OMP_THREADS_BIND")


class Vllm:
    """An environment in which a command finds what stands in for vLLM.

    delay: seconds for each prompt. dies_at: the prompt, counted from 1, at which each server is
    killed, the comparison of LLMs included. starts: servers from the next one on do not start."""

    def __init__(self, place: Path, delay: float = 0.0, dies_at: int = 0, starts: int = 99):
        self.place = place
        (place / "bin").mkdir(parents=True)
        (place / "servers").mkdir()
        package = place / "lib/python3.11/site-packages/vllm"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        self.settings = {"delay": delay, "dies_at": dies_at, "starts": starts}
        self.set()
        here = Path(__file__)
        script = f'#!/bin/sh\nexport PYTHONPATH="{here.parent}:{here.parents[1]}"\n'
        script += f'exec "{sys.executable}" "{here}" "{place}" "$@"\n'
        (place / "bin/python").write_text(script)
        (place / "bin/python").chmod(0o755)

    def set(self, **settings) -> None:
        """Other settings for servers from the next one on."""
        self.settings |= settings
        (self.place / "settings.json").write_text(json.dumps(self.settings))

    def servers(self) -> list[dict]:
        """Of all that began, in order."""
        paths = sorted(self.place.glob("servers/*.json"), key=lambda path: path.stat().st_mtime_ns)
        return [json.loads(path.read_text()) for path in paths]

    def answered(self) -> int:
        """Prompts, by all servers."""
        path = self.place / "answered"
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def vllm_processes(tmp_path, monkeypatch):
    """Makes a Vllm with the given settings and names it to commands of this process."""

    def make(**how) -> Vllm:
        made = Vllm(tmp_path / "venv_vllm", **how)
        monkeypatch.setenv("AUDIOLLM_VLLM_VENV", str(made.place))
        return made

    return make


def is_held(port: int) -> bool:
    """Whether somebody keeps others from a port, which nobody serves yet."""
    with socket.socket() as other:
        try:
            other.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def main(place: Path, words: list[str]) -> None:
    """Serve until killed."""
    process = {"pid": os.getpid(), "port": int(words[words.index("--port") + 1])}
    process["held"] = is_held(process["port"])
    process |= {name: os.environ[name] for name in SHOWN if name in os.environ}
    note = place / f"servers/{os.getpid()}.json"
    note.with_suffix(".tmp").write_text(json.dumps(process))
    note.with_suffix(".tmp").rename(note)
    settings = json.loads((place / "settings.json").read_text())
    if len(list(place.glob("servers/*.json"))) > settings["starts"]:
        sys.exit("no memory for another server")

    from vllm_stand_in import StandIn, handler

    from espnet_audiollm.model import llm as llms

    llm = llms.load(words[words.index("--model") + 1])

    class Slow(StandIn):
        def complete(self, body):
            if self.completions == settings["dies_at"]:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(settings["delay"])
            answer = super().complete(body)
            with open(place / "answered", "a") as out:
                out.write("one\n")
            return answer

    address = ("127.0.0.1", process["port"])
    ThreadingHTTPServer(address, handler(Slow(llm, os.environ["VLLM_API_KEY"]))).serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
