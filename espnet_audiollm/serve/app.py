"""The server's addresses: OpenAI's API for dialogues with text and audio, a page, health, metrics.

Of what clients send nothing is logged, nothing is kept on disk beyond the request, and no address
in it is fetched. There are no headers for scripts of other sites (CORS).
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..data.speech_tasks import Task
from ..infer.recognise import Recogniser
from ..infer.spoken_answer import SpokenAnswer
from ..infer.stream import Piece
from ..types import Audio, Seconds, Turns, Utterance
from . import chat_request, connection, replies, speech
from .chat_request import ChatRequest
from .engine import Begun, Engine, Event
from .engine import Request as Answering
from .errors import ApiError, log_failure
from .limits import Limits, Places
from .metrics import Metrics
from .page import chat_page
from .speech_cache import hold

CLIENT_GONE = 499  # nginx's status: nobody reads it
PAGE_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",  # the rest stands in the page
    "Permissions-Policy": "microphone=(self)",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass
class Server:
    """What all requests share.

    Args:
        name: of the model, as clients call it.
        recognise: for transcriptions, where there is a recogniser.
        token: that clients must show. None: they are on this machine, and show none."""

    engine: Engine
    name: str
    limits: Limits = Limits()  # noqa: RUF009
    recognise: Recogniser | None = None
    token: str | None = None
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.places = Places(self.limits)
        self.metrics = Metrics(self.engine, self.places)

    def app(self) -> Starlette:
        """The application, for uvicorn."""
        addresses: dict[str, tuple[str, Callable[[Request], Awaitable[Response]]]] = {
            "/v1/chat/completions": ("POST", self.chat),
            "/v1/audio/transcriptions": ("POST", self.transcribe),
            "/v1/models": ("GET", self.models),
            "/v1/models/{name:path}": ("GET", self.model),
            "/metrics": ("GET", self.show_metrics),
        }
        routes = [
            Route("/", self.page, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
        ]
        for path, (method, answer) in addresses.items():
            routes.append(Route(path, self._guarded(path, answer), methods=[method]))
        refusals = {ApiError: _refusal, HTTPException: _http_refusal}
        return Starlette(routes=routes, exception_handlers=refusals, lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(self.engine.close)

    def _guarded(
        self, path: str, answer: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """With the client's right checked, and the request counted."""

        async def guarded(request: Request) -> Response:
            status = 500
            try:
                self._authorise(request)
                response = await answer(request)
                status = response.status_code
                return response
            except ApiError as error:
                status = error.status
                raise
            except ClientDisconnect:
                status = CLIENT_GONE
                self.metrics.disconnects.inc()
                return Response(status_code=CLIENT_GONE)
            except HTTPException as error:
                status = error.status_code
                raise
            except Exception as error:
                log_failure("a request", error)
                raise ApiError(500, "the server failed: try again", "failed") from None
            finally:
                self.metrics.requests.labels(path, str(status)).inc()

        return guarded

    def _authorise(self, request: Request) -> None:
        """ApiError (401, 403): no token, or another name of this machine than its own, by which a
        page of another site could read answers."""
        if self.token is None:
            host = request.headers.get("host", "").rpartition(":")
            name = host[0] if host[2].isdigit() else "".join(host)
            if name not in LOCAL_NAMES:
                raise ApiError(403, "this server answers to localhost only", "forbidden_host")
            return
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode(), self.token.encode())
        if kind.lower() != "bearer" or not right:
            raise ApiError(401, "wrong token: send it as the API key", "invalid_api_key")

    async def health(self, request: Request) -> Response:
        """Whether answers can be expected; for anybody."""
        alive = self.engine.alive
        about = {"status": "ok" if alive else "failed"}
        return JSONResponse(about, 200 if alive else 503)

    async def page(self, request: Request) -> Response:
        """A page to talk to the model; for anybody, who then needs the token."""
        html = chat_page(self.token is not None, self.recognise is not None)
        return HTMLResponse(html, headers=PAGE_HEADERS)

    async def show_metrics(self, request: Request) -> Response:
        """For Prometheus."""
        return PlainTextResponse(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def models(self, request: Request) -> Response:
        """The one model."""
        data = [self._about()]
        return JSONResponse({"object": "list", "data": data})

    async def model(self, request: Request) -> Response:
        """The same by name."""
        self._check_model(request.path_params["name"])
        return JSONResponse(self._about())

    def _about(self) -> dict:
        return replies.model_object(self.name, self.created, speech.abilities(self.engine.system))

    async def chat(self, request: Request) -> Response:
        """/v1/chat/completions."""
        begin = time.monotonic()
        with ExitStack() as stack:
            stack.enter_context(self.places.one())
            _check_json(request)
            body = await connection.read_body(request, self.limits)
            asked = chat_request.parse(body, self.limits)
            self._check_model(asked.model)
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="serve-")))
            turns = await asyncio.to_thread(self._turns, asked, place)
            task = speech.task_of(self.engine.system, asked, turns)
            spoken = speech.spoken_answer(self.engine.system, asked, task)
            answer = self._ask(asked, turns, task, stack)
            begun, first = await connection.or_gone(request.receive, answer.begin())
            self.metrics.first_token.observe(time.monotonic() - begin)
            if asked.stream:
                usage = bool(asked.stream_options and asked.stream_options.include_usage)
                events = _events(replies.Reply(self.name), begun, first, answer, usage, spoken)
                close = stack.pop_all().close
                seconds = self.limits.body_seconds
                return connection.EventStream(lambda: anext(events, None), close, seconds)
            pieces = await connection.or_gone(request.receive, answer.rest(first))
            reply = replies.Reply(self.name)
            said = None
            if spoken:
                speaking = speech.complete(spoken, pieces, asked, reply.created)
                said = await connection.or_gone(request.receive, speaking)
            return JSONResponse(reply.complete(pieces, begun, said))

    def _turns(self, asked: ChatRequest, place: Path) -> Turns:
        """Decodes the recordings: in a thread of its own."""
        left = self.limits.seconds

        def take(data: bytes) -> Audio:
            nonlocal left
            audio, seconds = _hold(data, place, left)
            left -= seconds
            return audio

        return chat_request.to_turns(asked.messages, take)

    def _ask(self, asked: ChatRequest, turns: Turns, task: Task | None, stack: ExitStack) -> Answer:
        """Submit the dialogue; when `stack` is left, its row is free again."""
        mailbox = connection.Mailbox()
        new_tokens = chat_request.num_new_tokens(asked, self.limits)
        tag = None if task is None else str(task)
        answering = Answering(turns, new_tokens, asked.sampling, asked.stops, mailbox.put, tag)
        stack.callback(answering.cancel)
        self.engine.submit(answering)
        return Answer(mailbox, self.metrics)

    async def transcribe(self, request: Request) -> Response:
        """/v1/audio/transcriptions."""
        recognise = self.recognise
        if recognise is None:
            message = "this server has no recogniser: start it with --recogniser EXP"
            raise ApiError(404, message, "no_recogniser")
        with self.places.one(), tempfile.TemporaryDirectory(prefix="serve-") as place:
            data, shape = await self._uploaded(request)
            audio, _ = await asyncio.to_thread(_hold, data, Path(place), self.limits.seconds)
            utterance = Utterance("audio", audio.path or "", "")
            future = self.engine.call(lambda: recognise([utterance])[0])
            text = await connection.or_gone(request.receive, asyncio.wrap_future(future))
        return PlainTextResponse(text) if shape == "text" else JSONResponse({"text": text})

    async def _uploaded(self, request: Request) -> tuple[bytes, str]:
        """A recording, and the form of the answer: of a form's fields."""
        body = await connection.read_body(request, self.limits)
        replayed = Request(request.scope, _replay(body))
        async with replayed.form(max_files=1, max_fields=20) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise ApiError(400, "the field 'file' is missing: send a recording", param="file")
            self._check_model(str(form.get("model", "")))
            shape = str(form.get("response_format", "json"))
            if shape not in ("json", "text"):
                message = "response_format: json and text are supported"
                raise ApiError(400, message, param="response_format")
            return await file.read(), shape

    def _check_model(self, name: str) -> None:
        if name != self.name:
            message = f"there is no model {name[:80]!r} here, only {self.name!r}"
            raise ApiError(404, message, "model_not_found", "model")


class Answer:
    """The answer to one request, as it comes from the engine."""

    def __init__(self, mailbox: connection.Mailbox, metrics: Metrics):
        self._mailbox, self._metrics = mailbox, metrics

    async def begin(self) -> tuple[Begun, Piece]:
        """What the prompt consists of, and the first piece. ApiError (400): it has no answer."""
        begun = await self._get()
        assert isinstance(begun, Begun)
        self._metrics.prompt_tokens.inc(begun.prompt_tokens)
        self._metrics.audio_tokens.inc(begun.audio_tokens)
        return begun, await self.next()

    async def next(self) -> Piece:
        """The next piece."""
        piece = await self._get()
        assert isinstance(piece, Piece)
        self._metrics.completion_tokens.inc()
        return piece

    async def rest(self, first: Piece) -> list[Piece]:
        """All pieces, from the first."""
        pieces = [first]
        while pieces[-1].finish_reason is None:
            pieces.append(await self.next())
        return pieces

    async def _get(self) -> Event:
        event = await self._mailbox.get()
        if isinstance(event, ValueError):
            raise ApiError(400, str(event), "invalid_dialogue", "messages")
        if isinstance(event, Exception):
            raise ApiError(500, f"{event}: try again", "engine_failed")
        return event


async def _events(
    reply: replies.Reply,
    begun: Begun,
    piece: Piece,
    answer: Answer,
    usage: bool,
    spoken: SpokenAnswer | None,
) -> AsyncIterator[bytes]:
    """A stream's events."""
    yield replies.event(reply.first())
    tokens = 1

    async def following() -> Piece:
        nonlocal tokens
        tokens += 1
        return await answer.next()

    if spoken:
        chunks = speech.chunks(reply, spoken, piece, following)
    else:
        chunks = _written(reply, piece, following)
    try:
        async for chunk in chunks:
            yield replies.event(chunk)
        if usage:
            yield replies.event(reply.last(begun, tokens))
    except ApiError as error:  # the status is sent already
        yield replies.event(error.body())
    yield replies.event("[DONE]")


async def _written(
    reply: replies.Reply, piece: Piece, following: Callable[[], Awaitable[Piece]]
) -> AsyncIterator[dict]:
    """The chunks of an answer in text."""
    while piece.finish_reason is None:
        if piece.text:
            yield reply.chunk(piece)
        piece = await following()
    yield reply.chunk(piece)


def _hold(data: bytes, place: Path, longest: Seconds) -> tuple[Audio, Seconds]:
    """ApiError (400): no audio that can be read, or too long."""
    try:
        return hold(data, place, longest)
    except ValueError as error:
        raise ApiError(400, str(error), "invalid_audio", "input_audio") from None


def _check_json(request: Request) -> None:
    """ApiError (415): pages of other sites can send forms and text, but not this."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise ApiError(415, "send JSON, with 'Content-Type: application/json'", "not_json")


def _replay(body: bytes) -> Callable[[], Awaitable[dict]]:
    async def receive() -> dict:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    headers = {"Retry-After": "1"} if error.status == 429 else {}
    return JSONResponse(error.body(), error.status, headers)


async def _http_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refused = ApiError(error.status_code, str(error.detail), "not_possible")
    return JSONResponse(refused.body(), error.status_code, error.headers)


def is_local(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
