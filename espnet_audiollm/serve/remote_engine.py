"""The engine where a vLLM server decodes: audio becomes embeddings here, tokens come from there.

vLLM batches the requests itself. Who leaves ends the request there, too. A server that dies ends
the answers that it was writing, with an error; the next ones are answered once it is back and was
found to have the same LLM.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from ..infer.engines import GREEDY, VllmEngine, request
from ..infer.stream import Sampling
from ..infer.systems import System
from ..infer.vllm_http import Away, Server, VllmError
from .dialogue_cache import DialogueCache
from .engine import BROKEN, WRITING, Begun, Engine, Request, Row
from .errors import log_failure
from .speech_cache import SpeechCache

if TYPE_CHECKING:
    from ..types import Seconds

AWAY = "the LLM's server does not answer"
LOOK: Seconds = 2.0  # between two looks whether the server is there


def connect(url: str, system: System, rows: int) -> RemoteEngine:
    """An engine whose LLM is at an address; it is waited for.

    Errors (ValueError): no answer in time, or another LLM."""
    return RemoteEngine(system, rows, VllmEngine(Server(url), system.llm))


class RemoteEngine(Engine):
    """Answers requests by a vLLM server until it is closed.

    rows: only the number that clients read; vLLM has its own limit."""

    def __init__(
        self, system: System, rows: int, vllm: VllmEngine, speech: SpeechCache | None = None
    ):
        self.vllm, self.server = vllm, vllm.server
        self._sure = True  # that the LLM there is the same
        self._there, self._ended = True, threading.Event()
        self._lock = threading.Lock()  # of `writing`
        super().__init__(system, rows, speech, DialogueCache(system.llm, 0))  # vLLM has its own
        threading.Thread(target=self._watch, name="vllm", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether answers can be expected: the server was there when it was last looked for."""
        return super().alive and self._there

    def close(self) -> None:
        """End the threads; what is not answered stays so."""
        self._ended.set()
        super().close()
        self.server.close()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK):
            self._there = self.server.healthy()
            self._sure = self._sure and self._there

    def _admit(self) -> None:
        """Wait for the next request; however many are written."""
        job = self._waiting.get()
        if isinstance(job, Request):
            if not job.cancelled:
                self._begin(job)
        elif job is not None:
            job()

    def _start(self, row: Row, audio: int) -> None:
        """Have a thread of its own pass on what the server writes."""
        try:
            self._make_sure()
        except (Away, VllmError) as error:
            logging.error(f"vLLM: {error}")
            return row.request.tell(RuntimeError(AWAY))
        with self._lock:
            self.writing.append(row)
        threading.Thread(target=self._write, args=(row, audio), name="answer", daemon=True).start()

    def _make_sure(self) -> None:
        if not self._sure:
            self.vllm.check()
            self._sure = self._there = True

    def _write(self, row: Row, audio: int) -> None:
        try:
            self._pass_on(row, audio)
        except (Away, VllmError) as error:
            self._sure = False
            logging.error(f"vLLM: {error}")
            row.request.tell(RuntimeError(AWAY))
        except Exception as error:
            log_failure("an answer", error)
            row.request.tell(RuntimeError(BROKEN))
        finally:
            with self._lock:
                self.writing.remove(row)

    def _pass_on(self, row: Row, audio: int) -> None:
        """Token by token, until the answer ends or nobody waits for it."""
        asked, prompt, writer = row.request, row.prompt, row.writer
        body = request(self.system.llm, prompt, writer.limit) | GREEDY | _sampled(asked.sampling)
        steps = self.server.stream(WRITING, body)
        try:
            begun = False
            for ids in steps:
                if not begun:
                    asked.tell(Begun(len(prompt), audio, 0))
                    begun = True
                for token in ids:
                    if asked.cancelled:
                        return
                    piece = writer.add(token)
                    asked.tell(piece)
                    if piece.finish_reason is not None:
                        return
        finally:
            steps.close()
        raise Away("the stream ended before the answer")


def _sampled(sampling: Sampling) -> dict:
    """As vLLM calls it."""
    seed = {} if sampling.seed is None else {"seed": sampling.seed}
    temperature = 0.0 if sampling.greedy else sampling.temperature
    return {"temperature": temperature, "top_p": sampling.top_p, **seed}
