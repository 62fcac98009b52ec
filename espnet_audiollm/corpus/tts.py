"""Speech without a corpus: espeak-ng, through the wheel `espeakng-loader` and ctypes.

The wheel carries the shared library and all its data, so neither root nor a system package is
needed. The library keeps one voice per process: speak from several processes, not threads.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..types import SAMPLE_RATE

SYNCHRONOUS_RETRIEVAL = 2  # espeak_AUDIO_OUTPUT: samples come through the callback, none is played
CHARS_UTF8 = 1
POSITION_CHARACTER = 1
RATE, PITCH = 1, 3  # espeak_PARAMETER
SPEEDS = (80, 450)  # words per minute that espeak-ng obeys
PITCHES = (0, 100)  # 50 is the voice's own

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@dataclass(frozen=True)
class Voice:
    """How a sentence is spoken. `name` is espeak-ng's: "en-us", or "en-us+f2" with a variant."""

    name: str = "en-us"
    speed: int = 175  # words per minute
    pitch: int = 50  # 0 to 100


@dataclass(frozen=True)
class SpeechJob:
    """One sentence, its voice, and the wav file that is to hold it (16 kHz mono, 16 bit)."""

    text: str
    voice: Voice
    path: str


class Espeak:
    """The library, loaded and initialised. One object per process is enough."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise ValueError(
                "text to speech needs the package espeakng-loader, which is not installed: "
                "run `pip install espeakng-loader`"
            ) from error
        self._data = Path(espeakng_loader.get_data_path())
        self._lib = ctypes.CDLL(espeakng_loader.get_library_path())
        self.rate: int = self._lib.espeak_Initialize(
            SYNCHRONOUS_RETRIEVAL, 0, str(self._data).encode(), 0
        )  # Hz
        if self.rate <= 0:
            raise ValueError(
                f"espeak-ng did not start with its data in {self._data}: "
                "reinstall it with `pip install --force-reinstall espeakng-loader`"
            )
        self._chunks: list[bytes] = []
        self._callback = _Callback(self._collect)  # kept: the library holds no reference
        self._lib.espeak_SetSynthCallback(self._callback)
        self._voice: str | None = None
        ctypes.CDLL(None).srand(1)  # some variants flutter by the C library's rand()

    def variants(self) -> list[str]:
        """Names that may follow a "+" in a voice's name."""
        return sorted(path.name for path in (self._data / "voices" / "!v").iterdir())

    def speak(self, text: str, voice: Voice | None = None) -> np.ndarray:
        """Samples (int16, 1-D) of `text`, at `self.rate` Hz."""
        voice = voice or Voice()
        self._set_voice(voice.name)
        self._set(RATE, voice.speed, SPEEDS, "speed (words per minute)")
        self._set(PITCH, voice.pitch, PITCHES, "pitch")
        self._chunks.clear()
        data = text.encode() + b"\0"
        failed = self._lib.espeak_Synth(
            data, ctypes.c_size_t(len(data)), 0, POSITION_CHARACTER, 0, CHARS_UTF8, None, None
        )
        if failed or self._lib.espeak_Synchronize():
            raise ValueError(f"espeak-ng could not speak {text!r} with the voice {voice.name}")
        return np.frombuffer(b"".join(self._chunks), dtype=np.int16)

    def _collect(
        self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: int | None
    ) -> int:
        if samples and count > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        return 0  # go on

    def _set_voice(self, name: str) -> None:
        # An unknown name leaves the voice before in place, an unknown variant the plain voice:
        # the first is seen in the answer, the second is not reported at all.
        if name == self._voice:
            return
        variant = name.partition("+")[2]
        if variant and variant not in self.variants():
            raise ValueError(f"espeak-ng has no variant {variant!r} (voice {name!r})")
        if self._lib.espeak_SetVoiceByName(name.encode()):
            raise ValueError(f"espeak-ng has no voice {name!r}")
        self._voice = name

    def _set(self, parameter: int, value: int, bounds: tuple[int, int], what: str) -> None:
        low, high = bounds
        if not low <= value <= high:
            raise ValueError(f"{what} is {value}: must be between {low} and {high}")
        self._lib.espeak_SetParameter(parameter, value, 0)


def trim_silence(
    samples: np.ndarray, rate: int, keep: float = 0.05, floor: float = 0.01
) -> np.ndarray:
    """Cut silence at both ends of `samples` (1-D int16) but for `keep` seconds; espeak-ng leaves
    about 0.3 s after each sentence. Silence is below `floor` of the peak."""
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > floor * np.abs(samples).max(initial=0))
    if loud.size == 0:
        return samples
    margin = int(keep * rate)
    return samples[max(0, loud[0] - margin) : loud[-1] + 1 + margin]


def at_16k(samples: np.ndarray, rate: int) -> np.ndarray:
    """`samples` (1-D int16) from `rate` Hz to 16 kHz; int16."""
    from ..data.audio import resample

    return np.clip(np.rint(resample(samples, rate)), -32768, 32767).astype(np.int16)


def _run(jobs: Sequence[SpeechJob]) -> list[tuple[SpeechJob, int]]:
    espeak = Espeak()
    done = []
    for job in jobs:
        samples = trim_silence(espeak.speak(job.text, job.voice), espeak.rate)
        samples = at_16k(samples, espeak.rate)
        with wave.open(job.path, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(SAMPLE_RATE)
            out.writeframes(samples.tobytes())
        done.append((job, len(samples)))
    return done


def synthesize(
    jobs: Sequence[SpeechJob], processes: int = 2, chunk: int = 200
) -> Iterator[tuple[SpeechJob, int]]:
    """Speak every job into its file; yield (job, number of samples at 16 kHz) in order.

    The library's noise generators run on from one sentence to the next and cannot be reset. Each
    `chunk` of jobs therefore has a process of its own: the samples are the same in every run,
    whatever `processes` is (but for variants with breath, which the clock seeds). Files are
    written in place: write into a directory aside and rename it when all is spoken."""
    chunks = [jobs[start : start + chunk] for start in range(0, len(jobs), chunk)]
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, maxtasksperchild=1) as pool:
        for done in pool.imap(_run, chunks):
            yield from done
