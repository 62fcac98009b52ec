"""How much a client may ask for, and how many at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

from ..types import Seconds
from .errors import ApiError


@dataclass(frozen=True)
class Limits:
    """Of each request, and of all together.

    Errors (ValueError): a limit below 1."""

    bytes: int = 25 << 20  # of a request's body
    seconds: Seconds = 60.0  # of audio in a request
    recordings: int = 64  # in a request
    characters: int = 200_000  # of text in a request
    turns: int = 64  # of a dialogue
    new_tokens: int = 1024  # of an answer
    rows: int = 8  # answers that are written at the same time
    queue: int = 32  # requests that wait
    body_seconds: Seconds = 60.0  # to send a request; for a client to take an event of a stream

    def __post_init__(self) -> None:
        for each in fields(self):
            least = 0 if each.name == "queue" else 1
            if not getattr(self, each.name) >= least:
                value = getattr(self, each.name)
                raise ValueError(f"--max_{each.name} {value}: at least {least}")


class Places:
    """Of the requests that the server holds, whether they are sent, wait or are answered."""

    def __init__(self, limits: Limits):
        self.total, self.taken = limits.rows + limits.queue, 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """A place for the time of the block. ApiError (429): there is none."""
        if self.taken >= self.total:
            raise ApiError(
                429,
                f"the server is busy: {self.taken} requests are being answered or wait; "
                "try again in some seconds",
                "server_busy",
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
