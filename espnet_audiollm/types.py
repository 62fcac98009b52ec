"""The nouns of the project, with their units. Knows no torch.

An `Utterance` is one recording and its transcript. A `Conversation` is a list of `Turn`s whose
content is text or `Audio`; it becomes a prompt in `data/prompt.py`. A `Response` is what the LLM
answered, with the token ids that every system is later scored on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Seconds = float
Nats = float

SAMPLE_RATE = 16_000  # Hz, of all audio from stage 2 on

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length"]  # the end-of-turn token came | the length limit was met


@dataclass(frozen=True)
class Utterance:
    id: str
    audio: str  # path
    speaker: str
    duration: Seconds | None = None  # None: not measured yet (before stage 2)
    text: str | None = None  # None: the split has no reference


@dataclass(frozen=True)
class Audio:
    """Content of a turn that is heard, not read: one audio slot of the prompt."""

    path: str | None = None  # None: the caller hands over the samples


@dataclass(frozen=True)
class Turn:
    role: Role
    content: str | Audio


Conversation = tuple[Turn, ...]


@dataclass(frozen=True)
class Response:
    id: str
    prompt: str  # what was asked: the transcript; "" when the prompt was audio
    response: str
    response_ids: tuple[int, ...]  # end-of-turn token included when finish_reason is "stop"
    finish_reason: FinishReason
