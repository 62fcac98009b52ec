"""A vLLM server of one's own: started on this machine, waited for, and ended whatever happens.

vLLM lives in an environment of its own (tools/install_vllm.sh), since it wants other versions of
torch and transformers than this project has.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..model import llm_config
from . import vllm_guard
from .vllm_http import PATIENCE, Server, VllmError

if TYPE_CHECKING:
    from ..model.llm import LLM
    from ..types import Seconds

ENVIRONMENT = "AUDIOLLM_VLLM_VENV"  # environment variable: where vLLM is installed
DEFAULT = Path(__file__).parents[2] / "tools" / "venv_vllm"
LINES = 15  # of the log, where it does not start
RESTARTS = 3  # of a server that ends, without an answered prompt between
KEPT_FREE = 0.15  # share of a GPU's memory that stays for the models of this process


@contextmanager
def started(llm: LLM, log: str | Path, patience: Seconds = PATIENCE) -> Iterator[Server]:
    """A server of the same LLM in the same number format, on a port of this machine, which only
    this process can ask. One that ends is started again; it ends with the block, or with this
    process.

    log: file that gets all that vLLM prints.

    Errors (VllmError): vLLM is not installed; it ends before it answers, or RESTARTS times more
    without an answer between, with the log's last lines; it does not answer in time."""
    with _held_port() as port:
        own = OwnServer(llm, port, Path(log), patience)
        print(f"starting vLLM for {llm.name} (log: {log}); a minute or more", file=sys.stderr)
        try:
            own.start()
            own.server.wait("it loads the LLM")
            own.loaded = True
            yield own.server
        finally:
            own.close()


class OwnServer:
    """The process of a server, and requests to it.

    loaded: it was seen to answer once, so that it is worth another start."""

    def __init__(self, llm: LLM, port: int, log: Path, patience: Seconds):
        key = secrets.token_urlsafe(24)
        guard = [sys.executable, "-I", "-S", vllm_guard.__file__]
        self.command = [*guard, str(find_python()), *arguments(llm, port)]
        self.environment, self.log = environment(key, llm), log
        url = f"http://127.0.0.1:{port}"
        self.server = Server(url, key, patience, self.check, self.last_words)
        self.loaded = False
        self._guard: subprocess.Popen | None = None
        self._starts = 0
        self._in_vain = 0  # starts again since the last answer
        self._answered = 0  # prompts, when it was started last
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")

    def start(self) -> None:
        """Once more; the log is added to."""
        self._starts += 1
        with open(self.log, "ab") as out:
            self._guard = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )

    def check(self) -> bool:
        """Start it again if it has ended, and say so; whether it was.

        Errors (VllmError): it has ended too often."""
        assert self._guard is not None
        if self._guard.poll() is None:
            return False
        if self.server.answered > self._answered:
            self._answered, self._in_vain = self.server.answered, 0
        if not self.loaded or self._in_vain == RESTARTS:
            raise VllmError(
                f"the vLLM server of this stage has ended; {self.last_words()}\n"
                "once that is put right the same command goes on from there"
            )
        _end(self._guard)
        self._in_vain += 1
        print(
            f"the vLLM server of this stage has ended (log: {self.log}): it is started again "
            f"({self._in_vain} of {RESTARTS} times without an answer between)",
            file=sys.stderr,
            flush=True,
        )
        self.start()
        return True

    def last_words(self) -> str:
        """How often it was started, and the end of its log."""
        times = "once" if self._starts == 1 else f"{self._starts} times"
        return f"it was started {times}; the last lines of {self.log} are\n{tail(self.log)}"

    def close(self) -> None:
        """End it, and the connections to it."""
        self.server.close()
        if self._guard is not None:
            _end(self._guard)


def find_python() -> Path:
    """The Python of vLLM's environment. Errors (VllmError): there is none."""
    place = Path(os.environ.get(ENVIRONMENT) or DEFAULT)
    python = place / "bin/python"
    if not python.exists() or not list(place.glob("lib/python*/site-packages/vllm/__init__.py")):
        raise VllmError(
            f"vLLM is not installed in {place}: run tools/install_vllm.sh, name another "
            f"environment by the variable {ENVIRONMENT}, or a running server by --vllm_url"
        )
    return python


def arguments(llm: LLM, port: int) -> list[str]:
    """Of vLLM's Python: the server's command line."""
    model = llm.model
    dtype = str(model.dtype).removeprefix("torch.")
    words = ["-m", "vllm.entrypoints.openai.api_server"]
    words += ["--model", llm_config.resolve(llm.name), "--dtype", dtype]
    words += ["--host", "127.0.0.1", "--port", str(port)]
    words += ["--enable-prompt-embeds", "--generation-config", "vllm"]
    words += ["--max-model-len", "auto"]
    if model.device.type == "cuda":
        free, total = torch.cuda.mem_get_info(model.device)
        words += ["--gpu-memory-utilization", f"{max(0.1, free / total - KEPT_FREE):.2f}"]
    else:
        # A worker process of its own would wait for work in a loop that takes an entire processor.
        words += ["--enforce-eager", "--distributed-executor-backend", "uni"]
    return words


def environment(key: str, llm: LLM) -> dict[str, str]:
    """Of the server: this process's, without what belongs to its Python; vLLM reports nothing."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    own.pop("VIRTUAL_ENV", None)
    own |= {"VLLM_API_KEY": key, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if llm.model.device.type == "cpu":
        own.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GB
        # By itself it ties its threads to the processors of the machine from the first one on, as
        # the next job of the node does. So it takes OMP_NUM_THREADS of them, as this process does.
        own.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        own.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # else vLLM replaces "uni"
    return own


def tail(log: str | Path, lines: int = LINES) -> str:
    """The end of a log."""
    found = Path(log).read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(line[:300] for line in found[-lines:])


@contextmanager
def _held_port() -> Iterator[int]:
    """A free port of this machine, which no other process is given while the block lasts: it takes
    vLLM a minute until it listens, and other jobs of a node ask for ports, too."""
    with socket.socket() as holder:
        # A server may then bind it as well, if it says the same (vLLM does), and listen.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def _end(guard: subprocess.Popen) -> None:
    """Of the guard, whose session ends with it."""
    assert guard.stdin is not None
    guard.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        guard.wait(vllm_guard.GRACE + 5)
    with suppress(ProcessLookupError):  # nothing is left; else the guard was killed, or is stuck
        os.killpg(guard.pid, signal.SIGKILL)
    guard.wait()
