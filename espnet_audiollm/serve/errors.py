"""What a client reads when a request cannot be answered, in the form of OpenAI's API."""

from __future__ import annotations

import logging
import traceback
from typing import Any


class ApiError(Exception):
    """Ends a request with a status of HTTP and a sentence.

    code: for programs. param: the field of the request that is to blame."""

    def __init__(self, status: int, message: str, code: str = "", param: str | None = None):
        super().__init__(message)
        self.status, self.code, self.param = status, code or "invalid_request_error", param

    def body(self) -> dict[str, Any]:
        """As JSON."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        if self.status == 429:
            kind = "rate_limit_error"
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        return {"error": error}


def log_failure(what: str, error: Exception) -> None:
    """Where it happened; not the error's message, in which there may be what a client sent."""
    place = "".join(traceback.format_tb(error.__traceback__))
    logging.error(f"{what} failed: {type(error).__name__}\n{place}")
