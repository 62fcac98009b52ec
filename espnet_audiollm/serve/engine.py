"""The LLM in this process: answers of several requests are written at the same time.

One thread owns the models. Before each step of the LLM, requests that wait take the rows that are
free; a row leaves when its answer ends, or when nobody waits for it any more. A row's tokens do not
depend on the other rows (up to float rounding), and are those of stage 10.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from ..infer.decoder import Decoder, Prompt, room
from ..infer.stream import Piece, Sampling, Writer
from ..infer.systems import System
from ..types import Dialogue, Turns
from .errors import log_failure
from .speech_cache import SpeechCache

if TYPE_CHECKING:
    from transformers import Cache


@dataclass(frozen=True)
class Begun:
    """The prompt is read: what it consists of."""

    prompt_tokens: int  # positions, audio included
    audio_tokens: int


Event: TypeAlias = Begun | Piece | Exception
WRITING = "the dialogue"  # in the messages of errors


@dataclass(eq=False)
class Request:
    """A dialogue to be answered.

    tell: gets a Begun, then pieces, the last with a finish_reason; or an exception: ValueError for
    what the client can change. It is called in the engine's thread, and must not wait."""

    turns: Turns
    max_new_tokens: int
    sampling: Sampling
    stop: tuple[str, ...]
    tell: Callable[[Event], None]
    cancelled: bool = field(default=False, init=False)

    def cancel(self) -> None:
        """Nobody waits for the answer any more: its row becomes free."""
        self.cancelled = True


Job: TypeAlias = "Request | Callable[[], None] | None"


class Engine:
    """Answers requests until it is closed.

    rows: answers that are written at the same time."""

    def __init__(self, system: System, rows: int, speech: SpeechCache | None = None):
        self.system, self.rows = system, rows
        self.speech = speech or SpeechCache(system)
        self.writing: list[tuple[Request, Writer]] = []
        self._decoder: Decoder | None = None
        self._logp_BV: torch.Tensor | None = None
        self._waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Requests that have no row yet."""
        return self._waiting.qsize()

    @property
    def alive(self) -> bool:
        """Whether it still answers."""
        return self._thread.is_alive()

    def submit(self, request: Request) -> None:
        """Have a request answered."""
        self._waiting.put(request)

    def call(self, function: Callable[[], Any]) -> Future:
        """Have something else done with the models, between two steps."""
        future: Future = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function())
            except Exception as error:
                future.set_exception(error)

        self._waiting.put(run)
        return future

    def close(self) -> None:
        """End the thread; what is not answered stays so."""
        self._closed = True
        self._waiting.put(None)
        self._thread.join()

    @torch.inference_mode()
    def _run(self) -> None:
        while not self._closed:
            try:
                self._admit()
                self._step()
            except Exception as error:  # out of memory, say: the next requests may do better
                log_failure("the engine", error)
                self._fail(RuntimeError("the engine failed in the middle of the answer"))

    def _admit(self) -> None:
        """Rows for those that wait; where no row is in use, wait for the first."""
        while len(self.writing) < self.rows:
            try:
                job = self._waiting.get(block=not self.writing)
            except queue.Empty:
                return
            if job is None:
                return
            if not isinstance(job, Request):
                job()
            elif not job.cancelled:
                self._begin(job)

    def _begin(self, request: Request) -> None:
        """Read the prompt, and add its row to the others."""
        try:
            self._start(request, *self._prepare(request))
        except ValueError as error:
            request.tell(error)
        except Exception as error:
            log_failure("the engine", error)
            request.tell(RuntimeError("the engine failed to read the dialogue"))

    def _prepare(self, request: Request) -> tuple[Prompt, Writer, Begun]:
        """The prompt, what writes its answer, and what it consists of."""
        turns = self.system.complete(Dialogue("request", request.turns)).turns
        speech = self.speech.speech(turns)
        prompt = self.system.prompt(turns, speech)
        limit = min(request.max_new_tokens, room(self.system.llm, WRITING, prompt))
        writer = Writer(self.system.llm, limit, request.stop, request.sampling)
        audio = sum(len(each) for each in speech.values() if isinstance(each, torch.Tensor))
        return prompt, writer, Begun(len(prompt), audio)

    def _start(self, request: Request, prompt: Prompt, writer: Writer, begun: Begun) -> None:
        """Compute the prompt's positions."""
        decoder = Decoder(self.system.llm, _plain_cache())
        logp_1V = decoder.read([prompt])
        request.tell(begun)
        self.writing.append((request, writer))
        if self._decoder is None or self._logp_BV is None:
            self._decoder, self._logp_BV = decoder, logp_1V
        else:
            self._decoder.join(decoder)
            self._logp_BV = torch.cat([self._logp_BV, logp_1V])

    def _step(self) -> None:
        """A token for each row."""
        if self._decoder is None or self._logp_BV is None:
            return
        kept, tokens = [], []
        for row, (request, writer) in enumerate(self.writing):
            if request.cancelled:
                continue
            piece = writer.write(self._logp_BV[row])
            request.tell(piece)
            if piece.finish_reason is None:
                kept.append(row)
                tokens.append(piece.token)
        self.writing = [self.writing[row] for row in kept]
        if not kept:
            self._decoder = self._logp_BV = None
            return
        self._decoder.select(kept)
        self._decoder.trim()
        self._logp_BV = self._decoder.step(torch.tensor(tokens, device=self._logp_BV.device))

    def _fail(self, error: Exception) -> None:
        failed, self.writing = self.writing, []
        self._decoder = self._logp_BV = None
        for request, _ in failed:
            request.tell(error)


def _plain_cache() -> Cache:
    """One whose rows can be joined: not a sliding window's own."""
    from transformers import DynamicCache

    return DynamicCache()
