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
KEPT_FREE = 0.15  # share of a GPU's memory that stays for the models of this process


@contextmanager
def started(llm: LLM, log: str | Path, patience: Seconds = PATIENCE) -> Iterator[Server]:
    """A server of the same LLM in the same number format, on a free port of this machine, which
    only this process can ask. It ends with the block, or with this process.

    log: file that gets all that vLLM prints.

    Errors (VllmError): vLLM is not installed; it ends before it answers, with the log's last lines;
    it does not answer in time."""
    python, log = find_python(), Path(log)
    log.parent.mkdir(parents=True, exist_ok=True)
    port, key = _free_port(), secrets.token_urlsafe(24)
    command = [sys.executable, "-I", "-S", vllm_guard.__file__, str(python), *arguments(llm, port)]
    print(f"starting vLLM for {llm.name} (log: {log}); a minute or more", file=sys.stderr)
    with open(log, "wb") as out:
        guard = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment(key, llm),
            start_new_session=True,
        )

    def check() -> None:
        if guard.poll() is not None:
            raise VllmError(
                f"the vLLM server of this stage has ended; the last lines of {log} are\n"
                f"{tail(log)}\nonce that is put right the same command goes on from there"
            )

    server = Server(f"http://127.0.0.1:{port}", key, patience, check)
    try:
        server.wait("it loads the LLM")
        yield server
    finally:
        server.close()
        _end(guard)


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
        words += ["--enforce-eager"]
    return words


def environment(key: str, llm: LLM) -> dict[str, str]:
    """Of the server: this process's, without what belongs to its Python; vLLM reports nothing."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    own.pop("VIRTUAL_ENV", None)
    own |= {"VLLM_API_KEY": key, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if llm.model.device.type == "cpu":
        own.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GB
    return own


def tail(log: str | Path, lines: int = LINES) -> str:
    """The end of a log."""
    found = Path(log).read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(line[:300] for line in found[-lines:])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as place:
        return place.getsockname()[1]


def _end(guard: subprocess.Popen) -> None:
    """Of the guard, whose session ends with it."""
    assert guard.stdin is not None
    guard.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        guard.wait(vllm_guard.GRACE + 5)
    with suppress(ProcessLookupError):  # nothing is left; else the guard was killed, or is stuck
        os.killpg(guard.pid, signal.SIGKILL)
    guard.wait()
