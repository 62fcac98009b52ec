"""The objects of OpenAI's API that are sent back."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from ..infer.stream import Piece
from .engine import Begun


@dataclass
class Reply:
    """One answer, as one JSON or in chunks.

    model: as the client called it."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def complete(
        self, pieces: list[Piece], begun: Begun, spoken: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """chat.completion. spoken: `audio` of a spoken answer, or `content` and `error`."""
        text = "".join(piece.text for piece in pieces)
        message = {"role": "assistant", "content": text, "refusal": None, **(spoken or {})}
        choice = {"index": 0, "message": message, "logprobs": None}
        choice["finish_reason"] = pieces[-1].finish_reason
        return {**self._about("chat.completion", [choice]), "usage": usage(begun, len(pieces))}

    def first(self) -> dict[str, Any]:
        """The chunk that says who speaks."""
        return self._chunk({"role": "assistant", "content": ""}, None)

    def chunk(self, piece: Piece) -> dict[str, Any]:
        """The chunk of a piece."""
        return self._chunk({"content": piece.text} if piece.text else {}, piece.finish_reason)

    def more(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        """A chunk of something else than text."""
        return self._chunk(delta, finish_reason)

    def last(self, begun: Begun, tokens: int) -> dict[str, Any]:
        """The chunk with the counts, if they were asked for."""
        return {**self._about("chat.completion.chunk", []), "usage": usage(begun, tokens)}

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._about("chat.completion.chunk", [choice])

    def _about(self, kind: str, choices: list[dict]) -> dict[str, Any]:
        about = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return {**about, "choices": choices}


def usage(begun: Begun, tokens: int) -> dict[str, Any]:
    """Counts: positions of the prompt, of them those of audio and those known from an earlier turn,
    and tokens of the answer with its end of turn."""
    details = {"audio_tokens": begun.audio_tokens, "cached_tokens": begun.cached_tokens}
    return {
        "prompt_tokens": begun.prompt_tokens,
        "completion_tokens": tokens,
        "total_tokens": begun.prompt_tokens + tokens,
        "prompt_tokens_details": details,
    }


def event(item: dict[str, Any] | str) -> bytes:
    """A server-sent event."""
    text = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
    return f"data: {text}\n\n".encode()


def model_object(name: str, created: int, about: dict[str, Any]) -> dict[str, Any]:
    """An entry of /v1/models. about: what it can do, beyond OpenAI's fields."""
    known = {"id": name, "object": "model", "created": created, "owned_by": "espnet_audiollm"}
    return {**known, **about}
