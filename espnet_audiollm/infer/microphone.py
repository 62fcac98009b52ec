"""A recording from the microphone, by the optional package sounddevice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import soundfile

from ..types import SAMPLE_RATE, Seconds

LONGEST: Seconds = 120.0


def record(path: str | Path, until: Callable[[], object], longest: Seconds = LONGEST) -> None:
    """Write a WAV file, 16 kHz mono, until `until` returns, at most `longest` seconds.

    Errors (ValueError): no sounddevice, no microphone, nothing was recorded."""
    try:
        import sounddevice  # type: ignore[import-not-found]
    except (ImportError, OSError) as error:  # OSError: PortAudio is missing
        raise ValueError(
            f"recording needs sounddevice and PortAudio ({error}): pip install sounddevice, and "
            "the system's package libportaudio2"
        ) from error
    frames, full = 0, threading.Event()

    def keep(block, number: int, *_: object) -> None:
        nonlocal frames
        frames += number
        if frames <= longest * SAMPLE_RATE:
            file.write(block)
        else:
            full.set()

    try:
        with (
            soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file,
            sounddevice.InputStream(samplerate=SAMPLE_RATE, channels=1, callback=keep),
        ):
            until()
    except sounddevice.PortAudioError as error:
        raise ValueError(f"the microphone cannot be used: {error}") from error
    if not frames:
        raise ValueError("nothing was recorded: speak first, then press Enter")
    if full.is_set():
        raise ValueError(f"the recording is longer than {longest:g} s: say it in parts")
