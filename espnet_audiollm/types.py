"""The nouns of the project, with their units. Knows no torch.

An `Utterance` is one recording and its transcript. A `Dialogue` is a list of `Turn`s whose content
is text, `Audio` or `Units`, or some of them one after the other; it becomes a prompt in
`data/prompt.py`. A `Response` is what the LLM
answered, with the token ids that every system is later scored on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Seconds = float
Nats = float

SAMPLE_RATE = 16_000  # Hz, of all audio from stage 2 on

Role = Literal["system", "user", "assistant"]
# the end-of-turn token came | the length limit was met | the LLM's context has no room: no answer
FinishReason = Literal["stop", "length", "context"]


@dataclass(frozen=True)
class Utterance:
    """One recording of a data directory."""

    id: str
    audio: str  # path
    speaker: str
    duration: Seconds | None = None  # None: not measured yet (before stage 2)
    text: str | None = None  # None: the split has no reference


@dataclass(frozen=True)
class Audio:
    """Speech as the content of a turn: one audio slot of the prompt."""

    path: str | None = None  # None: the caller has the samples, or their embeddings
    text: str | None = None  # transcript. None: not known
    utterance: str | None = None  # its id in the corpus. None: it is of no corpus


@dataclass(frozen=True)
class Units:
    """Speech as discrete units: as many unit slots of the prompt."""

    ids: tuple[int, ...]  # of the units' vocabulary, from 0
    text: str | None = None  # transcript. None: not known


Part = str | Audio | Units
Content = Part | tuple[Part, ...]  # several parts: "Repeat it: ", then audio


@dataclass(frozen=True)
class Turn:
    """One turn of a dialogue."""

    role: Role
    content: Content | None  # None: the assistant's, and the system answers here itself

    @property
    def parts(self) -> tuple[Part, ...]:
        """Its content, part by part; none of what the assistant has still to say."""
        if isinstance(self.content, tuple):
            return self.content
        return () if self.content is None else (self.content,)

    @property
    def text(self) -> str | None:
        """What is written or said in it; None: not known."""
        texts = [part if isinstance(part, str) else part.text for part in self.parts]
        known = [text for text in texts if text is not None]
        return "".join(known) if texts and len(known) == len(texts) else None

    @property
    def audio(self) -> Audio | None:
        """The speech in it, the first of its parts that is audio; None: there is none."""
        return next((part for part in self.parts if isinstance(part, Audio)), None)


Turns = tuple[Turn, ...]


@dataclass(frozen=True)
class Dialogue:
    """Turns to be continued, the user's last, and what is expected of that; the one type of
    example. An utterance of a data directory is a dialogue of one turn."""

    id: str
    turns: Turns
    category: str | None = None  # None: the set has no categories
    accepted: tuple[str, ...] = ()  # answers, any one is right. (): as the reference response
    reference: str | None = None  # response. None: what the LLM answers to the transcripts
    duration: Seconds = 0.0  # of all its audio
    task: str | None = None  # tag of what a speech LM does with it. None: an answer in text

    def recordings(self) -> dict[str, Audio]:
        """Its audio by an id of its own: the dialogue's where only one turn is spoken or written,
        else "id:N" of turn N, from 1, system turns not counted."""
        talk = [turn.audio for turn in self.turns if turn.role != "system"]
        ids = [f"{self.id}:{n}" for n in range(1, len(talk) + 1)] if talk[1:] else [self.id]
        return {id_: audio for id_, audio in zip(ids, talk, strict=True) if audio is not None}

    def last_turn_only(self) -> Dialogue:
        """The last turn, after the system turn where there is one: without the context."""
        system = tuple(turn for turn in self.turns[:1] if turn.role == "system")
        return replace(self, turns=(*system, self.turns[-1]))


@dataclass(frozen=True)
class Response:
    """What was answered, with its token ids."""

    id: str
    prompt: str  # what was asked: the transcript; "" when the prompt was audio
    response: str
    response_ids: tuple[int, ...]  # end-of-turn token included when finish_reason is "stop"
    finish_reason: FinishReason
