"""The body of /v1/chat/completions: what clients send, checked, as turns of a dialogue."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from ..infer.chat import MAX_NEW_TOKENS
from ..infer.speech_lm import MAX_TOKENS as MAX_SPOKEN_TOKENS
from ..infer.stream import Sampling
from ..types import Audio, Part, Role, Turn, Turns
from .errors import ApiError
from .limits import Limits

# Fields that change nothing here, or only if they have another value than these.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "store": (False,),
}
IGNORED = {"user", "metadata", "safety_identifier", "prompt_cache_key", "service_tier"}
MOST_STOPS = 4
LONGEST_STOP = 1000  # characters
Hold = Callable[[bytes], Audio]  # a recording's bytes to its slot


class InputAudio(BaseModel):
    """A recording: base64 of a WAV, MP3, FLAC, Ogg, WebM or MP4 file, whatever `format` says."""

    data: str
    format: str = ""


class ContentPart(BaseModel):
    """Text, or a recording."""

    type: str
    text: str | None = None
    input_audio: InputAudio | None = None


class Message(BaseModel):
    """A turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[ContentPart] | None = None


class AudioOptions(BaseModel):
    """How an answer is spoken."""

    model_config = ConfigDict(extra="forbid")
    voice: str | None = None  # None: the model's own choice
    format: Literal["wav", "flac", "pcm16"] = "wav"


class StreamOptions(BaseModel):
    """What a stream has besides pieces of the answer."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """A dialogue, and how to answer it. Greedy unless asked otherwise."""

    model_config = ConfigDict(extra="allow")
    model: str
    messages: list[Message] = Field(min_length=1)
    stream: StrictBool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    stop: str | list[str] | None = None
    modalities: list[Literal["text", "audio"]] | None = Field(None, min_length=1)
    audio: AudioOptions | None = None
    task: str | None = None  # tag of a speech LM's task; no field of OpenAI's
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)

    @property
    def stops(self) -> tuple[str, ...]:
        """Strings that end the answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def spoken(self) -> bool:
        """Whether the answer is speech, too."""
        return "audio" in (self.modalities or ())

    @property
    def sampling(self) -> Sampling:
        """How tokens are chosen."""
        top_p = 1.0 if self.top_p is None else self.top_p
        return Sampling(self.temperature or 0.0, top_p, self.seed)

    @property
    def recordings(self) -> int:
        """How many it brings."""
        return sum(part.type == "input_audio" for part in self._parts())

    @property
    def characters(self) -> int:
        """How many its text has."""
        texts = (each.content for each in self.messages if isinstance(each.content, str))
        return sum(map(len, texts)) + sum(len(part.text or "") for part in self._parts())

    def _parts(self) -> Iterator[ContentPart]:
        for message in self.messages:
            if isinstance(message.content, list):
                yield from message.content

    @property
    def new_tokens(self) -> int | None:
        """The most tokens of the answer, as asked; None: it is not said."""
        return self.max_completion_tokens or self.max_tokens


def parse(body: bytes, limits: Limits) -> ChatRequest:
    """A request that can be answered. ApiError (400): it is none, or beyond the limits."""
    try:
        request = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        param = ".".join(map(str, first["loc"])) or None
        raise ApiError(400, f"{param or 'the body'}: {first['msg']}", param=param) from None
    _check_extras(request)
    _check_size(request, limits)
    _check_stops(request.stops)
    _check_audio(request)
    return request


def _check_size(request: ChatRequest, limits: Limits) -> None:
    sizes = [
        (len(request.messages), "messages", limits.turns, "too_many_turns"),
        (request.recordings, "recordings", limits.recordings, "too_many_recordings"),
        (request.characters, "characters of text", limits.characters, "too_many_characters"),
    ]
    for size, what, most, code in sizes:
        if size > most:
            raise ApiError(400, f"{size} {what}: at most {most} are allowed", code, "messages")
    if (request.new_tokens or 0) > limits.new_tokens:
        message = f"max_tokens {request.new_tokens}: at most {limits.new_tokens} are allowed"
        raise ApiError(400, message, "too_many_tokens", "max_tokens")


def _check_stops(stops: tuple[str, ...]) -> None:
    if len(stops) > MOST_STOPS or "" in stops:
        message = f"stop: at most {MOST_STOPS} strings, none of them empty"
        raise ApiError(400, message, param="stop")
    long = [len(stop) for stop in stops if len(stop) > LONGEST_STOP]
    if long:
        message = (
            f"stop: {len(long)} of {len(stops)} strings are too long (first: {long[0]} "
            f"characters): at most {LONGEST_STOP} each"
        )
        raise ApiError(400, message, param="stop")


def _check_audio(request: ChatRequest) -> None:
    if request.audio is not None and not request.spoken:
        message = 'audio is for spoken answers: ask for them with "modalities": ["text", "audio"]'
        raise ApiError(400, message, param="audio")
    if request.spoken and request.stream and request.audio and request.audio.format != "pcm16":
        message = f"audio.format {request.audio.format}: a stream has pcm16"
        raise ApiError(400, message, param="audio.format")


def num_new_tokens(request: ChatRequest, limits: Limits) -> int:
    """The most tokens that its answer may have."""
    default = MAX_SPOKEN_TOKENS if request.spoken else MAX_NEW_TOKENS
    return request.new_tokens or min(default, limits.new_tokens)


def _check_extras(request: ChatRequest) -> None:
    for name, value in (request.model_extra or {}).items():
        if value is None or name in IGNORED or value in NEUTRAL.get(name, ()):
            continue
        raise ApiError(400, f"{name[:60]} is not supported here: leave it out", param=name[:60])


def to_turns(messages: list[Message], hold: Hold) -> Turns:
    """The dialogue. ApiError (400): the first turn only may be the system's, the last must be the
    user's; a part that is neither text nor audio."""
    turns = tuple(_turn(place, message, hold) for place, message in enumerate(messages))
    late = [place for place, turn in enumerate(turns) if turn.role == "system" and place]
    if late:
        where = f"messages.{late[0]}"
        raise ApiError(400, f"{where}: a system message must be the first one", param=where)
    if turns[-1].role != "user":
        raise ApiError(400, "the last message must be the user's", param="messages")
    return turns


def _turn(place: int, message: Message, hold: Hold) -> Turn:
    role: Role = "system" if message.role == "developer" else message.role
    if isinstance(message.content, str):
        return Turn(role, message.content)
    where = f"messages.{place}.content"
    if message.content is None:
        reason = "spoken answers are not kept here: send the transcript in its place"
        raise ApiError(400, f"{where} is missing; {reason}", param=where)
    parts = [_part(f"{where}.{i}", each, hold) for i, each in enumerate(message.content)]
    if not parts:
        raise ApiError(400, f"{where} is empty", param=where)
    if role == "system" and not all(isinstance(part, str) for part in parts):
        raise ApiError(400, f"{where}: a system message is text", param=where)
    return Turn(role, parts[0] if len(parts) == 1 else tuple(parts))


def _part(where: str, part: ContentPart, hold: Hold) -> Part:
    if part.type == "text" and part.text is not None:
        return part.text
    if part.type != "input_audio" or part.input_audio is None:
        kind = part.type[:40]
        message = f"{where}: '{kind}' is neither a text nor an input_audio; nothing is fetched"
        raise ApiError(400, message, param=where)
    try:
        data = base64.b64decode(part.input_audio.data, validate=True)
    except (binascii.Error, ValueError):
        message = f"{where}: the audio is no base64 (an address is not fetched)"
        raise ApiError(400, message, "invalid_audio", where) from None
    return hold(data)
