"""The LLM in this process: answers of several requests are written at the same time.

One thread owns the models. Before each step of the LLM, requests that wait take the rows that are
free; a row leaves when its answer ends, or when nobody waits for it any more. A row's tokens do not
depend on the other rows (up to float rounding), and are those of stage 10. When a row leaves, what
the LLM has read of its dialogue is kept, and the next turn goes on from there.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch

from ..infer.decoder import Decoder, Prompt, Session, embed, room
from ..infer.stream import Piece, Sampling, Writer
from ..infer.systems import Speech, System
from ..types import Dialogue, Turns, Units
from .dialogue_cache import DialogueCache
from .errors import log_failure
from .speech_cache import SpeechCache, recordings


@dataclass(frozen=True)
class Begun:
    """The prompt is read: what it consists of."""

    prompt_tokens: int  # positions, audio included
    audio_tokens: int
    cached_tokens: int  # of the prompt: known from an earlier request


Event: TypeAlias = Begun | Piece | Exception
WRITING = "the dialogue"  # in the messages of errors
BROKEN = "the engine failed in the middle of the answer"


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
    task: str | None = None  # of a speech LM, see Dialogue
    cancelled: bool = field(default=False, init=False)

    def cancel(self) -> None:
        """Nobody waits for the answer any more: its row becomes free."""
        self.cancelled = True


@dataclass(eq=False)
class Row:
    """An answer that is being written. ids: the tokens that were chosen."""

    request: Request
    writer: Writer
    prompt: Prompt
    ids: list[int] = field(default_factory=list)


Job: TypeAlias = "Request | Callable[[], None] | None"


class Engine:
    """Answers requests until it is closed.

    rows: answers that are written at the same time. dialogues: what is kept of those that ended
    (default: as much as DialogueCache does)."""

    def __init__(
        self,
        system: System,
        rows: int,
        speech: SpeechCache | None = None,
        dialogues: DialogueCache | None = None,
    ):
        self.system, self.rows = system, rows
        self.speech = speech or SpeechCache(system)
        self.dialogues = DialogueCache(system.llm) if dialogues is None else dialogues
        self.writing: list[Row] = []
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
                self._fail(RuntimeError(BROKEN))

    def _admit(self) -> None:
        """Rows for those that wait; where no row is in use, wait for the first. While answers are
        written, one other thing at most is done before their next tokens."""
        while len(self.writing) < self.rows:
            try:
                job = self._waiting.get(block=not self.writing)
            except queue.Empty:
                return
            if job is None:
                return
            if isinstance(job, Request):
                if not job.cancelled:
                    self._begin(job)
            else:
                job()
                if self.writing:
                    return

    def _begin(self, request: Request) -> None:
        """Read the prompt, and add its row to the others."""
        try:
            prepared = self._prepare(request)
            if prepared is not None:
                self._start(*prepared)
        except ValueError as error:
            request.tell(error)
        except Exception as error:
            log_failure("the engine", error)
            self.dialogues.clear()  # no memory, perhaps
            request.tell(RuntimeError("the engine failed to read the dialogue"))

    def _prepare(self, request: Request) -> tuple[Row, int] | None:
        """The prompt and what writes its answer; how many positions of it are audio. None: nobody
        waits for it any more."""
        asked = Dialogue("request", request.turns, task=request.task)
        turns = self.system.complete(asked).turns
        self._check_text(turns)
        speech = self.speech.speech(turns, lambda: request.cancelled)
        if request.cancelled:
            return None
        prompt = self.system.prompt(turns, speech)
        limit = min(request.max_new_tokens, room(self.system.llm, WRITING, prompt))
        writer = Writer(self.system.llm, limit, request.stop, request.sampling)
        audio = sum(map(_positions, speech.values()))
        return Row(request, writer, prompt), audio

    def _check_text(self, turns: Turns) -> None:
        """Refuse (ValueError) text beside recordings that fills the context by itself, as a prompt
        with audio is embedded before its positions are counted. A token stands for a byte at least,
        so only long texts are tokenised here."""
        found = recordings(turns)
        texts = (part for turn in turns for part in turn.parts if isinstance(part, str))
        if found and sum(len(text.encode()) for text in texts) >= self.system.llm.context:
            room(self.system.llm, WRITING, self.system.prompt(turns, dict.fromkeys(found, "")))

    def _start(self, row: Row, audio: int) -> None:
        """Compute the prompt's positions, but for those that are known."""
        session = self.dialogues.session(row.request.turns)
        logp_V = session.read(row.prompt, WRITING)
        known = len(row.prompt) - session.positions_read
        self.dialogues.count(known)
        row.request.tell(Begun(len(row.prompt), audio, known))
        self._join(session.decoder, logp_V[None])
        self.writing.append(row)

    def _join(self, decoder: Decoder, logp_1V: torch.Tensor) -> None:
        """Add a row to the others."""
        if self._decoder is None or self._logp_BV is None:
            self._decoder, self._logp_BV = decoder, logp_1V
        else:
            self._decoder.join(decoder)
            self._logp_BV = torch.cat([self._logp_BV, logp_1V])

    def _step(self) -> None:
        """A token for each row."""
        if self._decoder is None or self._logp_BV is None:
            return
        kept = [n for n, logp_V in enumerate(self._logp_BV) if self._advance(n, logp_V)]
        self.writing = [self.writing[number] for number in kept]
        if not kept:
            self._decoder = self._logp_BV = None
            return
        self._decoder.select(kept)
        self._decoder.trim()
        tokens = [row.ids[-1] for row in self.writing]
        self._logp_BV = self._decoder.step(torch.tensor(tokens, device=self._logp_BV.device))

    def _advance(self, number: int, logp_V: torch.Tensor) -> bool:
        """The next token of a row; whether its answer goes on. A failure here ends no other one."""
        row = self.writing[number]
        try:
            if not row.request.cancelled:
                piece = row.writer.write(logp_V)
                row.ids.append(piece.token)
                row.request.tell(piece)
                if piece.finish_reason is None:
                    return True
        except Exception as error:
            log_failure("an answer", error)
            row.request.tell(RuntimeError(BROKEN))
        else:
            self._keep(row, number)
        return False

    def _keep(self, row: Row, number: int) -> None:
        """What was read of a row that leaves; of its last token nothing, if that ended it. A row
        whose client left while its prompt was read has no token. What fails is not kept."""
        if not self.dialogues.enabled:
            return
        assert self._decoder is not None
        try:
            read = [each for each in (row.prompt, row.ids) if len(each)]
            read_TD = torch.cat([embed(self.system.llm, each) for each in read])
            self.dialogues.keep(row.request.turns, Session.of(self._decoder.row(number), read_TD))
        except Exception as error:
            log_failure("keeping a dialogue", error)
            self.dialogues.clear()  # no memory, perhaps

    def _fail(self, error: Exception) -> None:
        failed, self.writing = self.writing, []
        self._decoder = self._logp_BV = None
        self.dialogues.clear()
        for row in failed:
            row.request.tell(error)


def _positions(speech: Speech) -> int:
    """How many positions of the prompt are audio; none where it was read as text."""
    if isinstance(speech, Units):
        return len(speech.ids) + 2  # and the marks around them
    return 0 if isinstance(speech, str) else len(speech)
