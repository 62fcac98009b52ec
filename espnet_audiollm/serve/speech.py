"""Spoken answers in OpenAI's form: files, or pieces of 16-bit samples while they are written."""

# N samples

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np

from ..data.audio import encode_audio
from ..data.speech_replies import Fault
from ..data.speech_tasks import Task
from ..infer.speech_lm import SpeechLM
from ..infer.spoken_answer import FAULTS, SpokenAnswer
from ..infer.stream import Piece
from ..infer.systems import System
from ..types import SAMPLE_RATE, Turns
from .chat_request import AudioOptions, ChatRequest
from .errors import ApiError
from .replies import Reply


def abilities(system: System) -> dict[str, Any]:
    """What /v1/models says of the system beyond OpenAI's fields."""
    if not isinstance(system, SpeechLM):
        return {"modalities": ["text"]}
    tasks = [str(task) for task in system.tasks]
    about: dict[str, Any] = {"modalities": ["text"], "tasks": tasks, "single_turn": True}
    if system.can_speak and system.voices:
        audio = {"voices": system.voices.names, "sample_rate": SAMPLE_RATE}
        about |= {"modalities": ["text", "audio"], "audio": audio}
    return about


def task_of(system: System, asked: ChatRequest, turns: Turns) -> Task | None:
    """What a speech LM does; None: another system answers. ApiError (400): it cannot."""
    if not isinstance(system, SpeechLM):
        if asked.task is not None:
            raise ApiError(
                400, "task is for speech LMs, and this is none: leave it out", param="task"
            )
        if asked.spoken:
            raise _silent("it writes text only: it is no speech LM")
        return None
    if asked.spoken and system.voices is None:
        raise _silent("it was packed without a vocoder (bin/pack --vocoder)")
    if asked.spoken and not system.can_speak:
        raise _silent("none of its tasks ends with speech")
    try:
        return system.task_for(turns, asked.task, asked.spoken)
    except ValueError as error:
        raise ApiError(400, str(error), "invalid_dialogue", "messages") from None


def _silent(reason: str) -> ApiError:
    message = f"this model does not speak; {reason}. Ask only for the modality text"
    return ApiError(400, message, "no_speech", "modalities")


def spoken_answer(system: System, asked: ChatRequest, task: Task | None) -> SpokenAnswer | None:
    """Who speaks the answer; None: it is not spoken. ApiError (400): an unknown voice."""
    if not asked.spoken:
        return None
    assert isinstance(system, SpeechLM) and system.voices is not None and task is not None
    try:
        return SpokenAnswer(
            system, task, system.voices.speaker((asked.audio or AudioOptions()).voice)
        )
    except ValueError as error:
        raise ApiError(400, str(error), "unknown_voice", "audio.voice") from None


async def complete(
    spoken: SpokenAnswer, pieces: list[Piece], asked: ChatRequest, created: int
) -> dict[str, Any]:
    """The message's fields: `audio`, or the text and an `error` where the speech is faulty."""
    for piece in pieces:
        spoken.feed(piece)
    fault = spoken.fault(pieces[-1])
    if fault:
        return {"content": spoken.text, "audio": None, "error": _error(fault)}
    samples_N = await asyncio.to_thread(spoken.speaker.rest)
    form = (asked.audio or AudioOptions()).format
    voices = spoken.system.voices
    assert voices is not None
    data = (
        pcm(samples_N) if form == "pcm16" else encode_audio(samples_N, form, comment=voices.comment)
    )
    audio = {"id": _new_id(), "data": _base64(data), "transcript": spoken.transcript}
    return {"content": None, "audio": {**audio, "expires_at": created}}


async def chunks(
    reply: Reply, spoken: SpokenAnswer, piece: Piece, following: Callable[[], Awaitable[Piece]]
) -> AsyncIterator[dict[str, Any]]:
    """The chunks of a stream: transcript and samples as they come, the end, or an `error` in the
    last one, with what was written."""
    id_ = _new_id()
    while True:
        if text := spoken.feed(piece):
            yield reply.more({"audio": {"id": id_, "transcript": text}})
        while spoken.speaker.ready:
            samples_N = await asyncio.to_thread(spoken.speaker.part)
            if len(samples_N):
                yield reply.more({"audio": {"id": id_, "data": _base64(pcm(samples_N))}})
        if piece.finish_reason is not None:
            break
        piece = await following()
    fault = spoken.fault(piece)
    if fault:
        yield reply.more({"content": spoken.text, "error": _error(fault)}, piece.finish_reason)
        return
    samples_N = await asyncio.to_thread(spoken.speaker.rest)
    yield reply.more({"audio": {"id": id_, "data": _base64(pcm(samples_N))}})
    yield reply.more({"audio": {"id": id_, "expires_at": reply.created}}, piece.finish_reason)


def pcm(samples_N: np.ndarray) -> bytes:
    """16-bit little-endian samples, as a WAV file has them."""
    return np.clip(np.round(samples_N * 32768.0), -32768, 32767).astype("<i2").tobytes()


def _new_id() -> str:
    return f"audio_{secrets.token_hex(12)}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _error(fault: Fault) -> dict[str, str]:
    message = f"the answer cannot be spoken: {FAULTS[fault]}"
    return {"message": message, "type": "speech_error", "code": fault.replace(" ", "_")}
