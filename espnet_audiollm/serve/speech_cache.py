"""Recordings that clients send: decoded once each, encoded once each, known by their bytes' hash.

Nothing of them outlives the server: samples lie in a temporary directory for the time of a request,
what the encoder made of them in memory, up to a limit.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from ..data.audio import decode
from ..infer.systems import Speech, System
from ..types import SAMPLE_RATE, Audio, Dialogue, Seconds, Turn, Turns, Units


def hold(data: bytes, directory: Path, longest: Seconds) -> tuple[Audio, Seconds]:
    """Decode a recording into `directory`: its slot of a dialogue, and how long it is.

    Errors (AudioError): no audio, damaged, longer than `longest`."""
    import soundfile

    path = directory / f"{hashlib.sha256(data).hexdigest()}.wav"
    samples = decode(data, longest)
    soundfile.write(path, samples, SAMPLE_RATE, "FLOAT")  # the very samples, as stage 10 has them
    return Audio(str(path)), len(samples) / SAMPLE_RATE


def recording_key(audio: Audio) -> str:
    """What a recording is known by in later requests: its bytes' hash, of `hold`."""
    return Path(audio.path or "").name


def recordings(turns: Turns) -> list[Audio]:
    """Those of the turns, in order; one that comes twice is there twice."""
    return [part for turn in turns for part in turn.parts if isinstance(part, Audio)]


class SpeechCache:
    """What stands in prompts for recordings; those used least recently are forgotten.

    size: bytes of embeddings. One thread uses it."""

    def __init__(self, system: System, size: int = 256 << 20):
        self.system, self.size = system, size
        self.encoded, self.known = 0, 0  # recordings since the beginning
        self._kept: OrderedDict[str, Speech] = OrderedDict()
        self._bytes = 0

    def speech(
        self, turns: Turns, given_up: Callable[[], bool] = lambda: False
    ) -> dict[Audio, Speech]:
        """A text, embeddings (P, D), or units for each recording of the turns.

        given_up: asked before each recording; once it says so, the others are left out."""
        found: dict[Audio, Speech] = {}
        for audio in recordings(turns):
            if given_up():
                break
            found[audio] = self._one(audio)
        return found

    def _one(self, audio: Audio) -> Speech:
        key = recording_key(audio)
        if key in self._kept:
            self.known += 1
            self._kept.move_to_end(key)
            return self._kept[key]
        speech = self.system.speech([Dialogue("audio", (Turn("user", audio),))])[audio]
        self.encoded += 1
        self._kept[key] = speech
        self._bytes += _size(speech)
        while self._bytes > self.size and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])
        return speech


def _size(speech: Speech) -> int:
    if isinstance(speech, str):
        return 4 * len(speech)
    if isinstance(speech, Units):
        return 8 * len(speech.ids)
    return speech.element_size() * speech.numel()
