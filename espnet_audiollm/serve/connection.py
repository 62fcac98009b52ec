"""What comes in and goes out over one connection, and whether the client is still there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ..types import Seconds
from .engine import Event
from .errors import ApiError
from .limits import Limits

T = TypeVar("T")


async def read_body(request: Request, limits: Limits) -> bytes:
    """The body. ApiError: larger than allowed (413), too slow (408)."""
    try:
        async with asyncio.timeout(limits.body_seconds):
            return b"".join([chunk async for chunk in limited(request, limits)])
    except TimeoutError:
        message = f"the request did not come within {limits.body_seconds:g} s"
        raise ApiError(408, message, "timeout") from None


async def limited(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    """The body's chunks, as they come. ApiError (413): there are too many."""
    size = 0
    promised = request.headers.get("content-length", "0")
    if promised.isdigit() and int(promised) > limits.bytes:
        raise _too_large(limits)
    async for chunk in request.stream():
        size += len(chunk)
        if size > limits.bytes:
            raise _too_large(limits)
        yield chunk


def _too_large(limits: Limits) -> ApiError:
    return ApiError(413, f"the request has more than {limits.bytes} bytes", "request_too_large")


class Mailbox:
    """Events of the engine's thread, for the server's."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def put(self, event: Event) -> None:
        """In any thread; a server that has ended reads nothing any more."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def get(self) -> Event:
        """The next one."""
        return await self._events.get()


async def or_gone(receive: Receive, wanted: Awaitable[T]) -> T:
    """Wait for something, as long as the client does. Its body has been read.

    Errors: ClientDisconnect, when it has gone."""
    task = asyncio.ensure_future(wanted)
    gone = asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        for each in (task, gone):
            each.cancel()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events; ends when they do, or the client goes away or takes none of them for
    `seconds`, and `close` is called then.

    next_event: its bytes; None: there is no more."""

    media_type = "text/event-stream"

    def __init__(
        self,
        next_event: Callable[[], Awaitable[bytes | None]],
        close: Callable,
        seconds: Seconds,
    ):
        super().__init__()
        del self.headers["content-length"]
        self.headers["cache-control"] = "no-cache"
        self._next, self._close, self._seconds = next_event, close, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            await self._pass_on(send, start)
            while (event := await or_gone(receive, self._next())) is not None:
                await self._pass_on(send, _body(event, True))
            await self._pass_on(send, _body(b"", False))
        except (ClientDisconnect, TimeoutError):
            pass
        finally:
            self._close()

    async def _pass_on(self, send: Send, message: Message) -> None:
        """Wait until the connection has taken it. TimeoutError: it does not in time."""
        async with asyncio.timeout(self._seconds):
            await send(message)


def _body(data: bytes, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}
