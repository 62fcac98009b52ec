"""One utterance in stage 2: its recording is checked, and converted if training could not read it.

This runs in the workers (data/workers.py)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...types import SAMPLE_RATE, Seconds, Utterance
from .. import audio, sources

VERSION = 1  # of what stage 2 writes: a new number makes old directories be formatted again
BAD = "unreadable audio"


@dataclass(frozen=True)
class Limits:
    """What is kept, and what may be done for it."""

    min_audio: Seconds = 0.1  # shortest kept
    max_audio: Seconds = 20.0  # longest kept
    allow_pipes: bool = False  # commands in wav.scp are run


@dataclass(frozen=True)
class Formatted:
    """What became of one utterance: kept (`num_samples`), dropped or bad (`reason`)."""

    utterance: Utterance
    converted: str = ""  # the recording to use, in audio/; "": the one there was
    num_samples: int = 0  # at 16 kHz
    reason: str = ""  # "" when kept
    detail: str = ""
    change: str = ""  # what was converted, for the summary


def format_utterance(utt: Utterance, audio_dir: Path, limits: Limits) -> Formatted:
    """Check one recording, and convert it when training could not read it as it is."""
    if utt.text == "":
        return Formatted(utt, reason="empty transcript")
    try:
        with audio.opened(utt.audio, limits.allow_pipes) as recording:
            found = recording.info
            if reason := _length_fault(found.duration, limits):
                return Formatted(utt, reason=reason, detail=f"{found.duration:.3f} s")
            samples = audio.resample(recording.read(), found.rate)
    except audio.AudioError as error:
        return Formatted(utt, reason=BAD, detail=" ".join(str(error).split()))
    if found.usable_in_place:
        return Formatted(utt, num_samples=len(samples))
    converted = converted_name(utt)
    if not (audio_dir / converted).is_file():
        audio.write_audio(audio_dir / converted, samples)
    return Formatted(utt, converted, len(samples), change=_change(found))


def converted_name(utt: Utterance) -> str:
    """Where in audio/ a converted recording goes; the name tells its source and the state of it."""
    return sources.file_name(utt.id, state=f"{VERSION} {utt.id}\n{stamp(utt.audio)}")


def _length_fault(duration: Seconds, limits: Limits) -> str:
    if duration < limits.min_audio:
        return f"shorter than {limits.min_audio:g} s"
    if duration > limits.max_audio:
        return f"longer than {limits.max_audio:g} s"
    return ""


def _change(found: audio.AudioInfo) -> str:
    changes = []
    if found.rate != SAMPLE_RATE:
        changes.append(f"{found.rate} Hz to {SAMPLE_RATE} Hz")
    if found.channels != 1:
        changes.append(f"{found.channels} channels to 1")
    return ", ".join(changes) or f"{found.container} to FLAC"


def stamp(audio: str) -> str:
    """What changes when a recording does; raises OSError when it is not there."""
    return sources.parse(audio).stamp()
