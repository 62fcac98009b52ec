"""Noise at a stated level: babble of other speakers, white noise, recordings; and simulated rooms.

All that is random is drawn from the seed, the kind of noise and the utterance's id: neither the
order nor the number of jobs changes a sample, and at 10 and at 0 dB it is the same noise.

SNR = 10 log10(S / N) dB. S is the speech's mean power over its active frames (20 ms; those at most
30 dB below the loudest), so that pauses and silence at the ends make no speech quieter; N is the
noise's mean power over the complete utterance.

N samples at 16 kHz
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..types import SAMPLE_RATE, Seconds, Utterance
from . import audio

KINDS = "babble:SNR, white:SNR, files:DIRECTORY:SNR (SNR in dB), room or room:RT60:DRR (s, dB)"
FRAME = 320  # samples: 20 ms
ACTIVE_RANGE = 30.0  # dB below the loudest frame
BABBLE_VOICES = 6
PEAK = 0.99  # of full scale; what is louder is scaled down, which leaves the SNR
DIRECT = 40  # samples: 2.5 ms of a room's response that hold only the direct sound
SNR_RANGE, RT60_RANGE, DRR_RANGE = (-30.0, 60.0), (0.05, 5.0), (-30.0, 40.0)  # dB, s, dB
SUFFIXES = (".wav", ".flac")  # of the user's recordings of noise


@dataclass(frozen=True)
class Noise:
    """What is done to a test set's audio."""

    kind: str  # babble | white | files | room
    snr_db: float | None = None  # None: a room has none
    directory: str | None = None  # files: of recordings of noise
    rt60: Seconds | None = None  # room: until its response has fallen by 60 dB
    drr_db: float | None = None  # room: energy of the direct sound over that of the rest

    def as_dict(self) -> dict:
        """What applies to this kind, for a JSON file."""
        voices = {"voices": BABBLE_VOICES} if self.kind == "babble" else {}
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return {"snr_db": None, **known, **voices}


def parse(text: str) -> Noise:
    """ "babble:10", "white:-5", "files:/data/musan/noise:10", "room", "room:0.6:0".

    Raises ValueError for what is none of these, and for values out of range."""
    kind, *values = text.split(":")
    if kind in ("babble", "white") and len(values) == 1:
        return Noise(kind, _number(values[0], SNR_RANGE, "dB SNR", text))
    if kind == "files" and len(values) >= 2:
        snr_db = _number(values[-1], SNR_RANGE, "dB SNR", text)
        return Noise(kind, snr_db, directory=":".join(values[:-1]))
    if kind == "room" and len(values) in (0, 2):
        rt60, drr_db = values or ("0.6", "0")
        length = _number(rt60, RT60_RANGE, "s RT60", text)
        return Noise(kind, rt60=length, drr_db=_number(drr_db, DRR_RANGE, "dB DRR", text))
    raise ValueError(f"'{text}' is no noise: give {KINDS}")


def _number(value: str, bounds: tuple[float, float], what: str, text: str) -> float:
    low, high = bounds
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"'{text}': '{value}' is no number; noises are {KINDS}") from None
    if not low <= number <= high:
        raise ValueError(f"'{text}': {value} {what} is not between {low:g} and {high:g}")
    return number


# --- levels -------------------------------------------------------------------------------------


def active_power(speech_N: np.ndarray) -> float:
    """Mean power of the frames that are at most ACTIVE_RANGE dB below the loudest; 0 if silent."""
    full = speech_N[: len(speech_N) // FRAME * FRAME].reshape(-1, FRAME)
    frames = full if len(full) else speech_N[None]  # shorter than a frame: that is the frame
    powers = np.mean(np.square(frames, dtype=np.float64), axis=1)
    loudest = powers.max(initial=0.0)
    return float(powers[powers >= loudest * 10 ** (-ACTIVE_RANGE / 10)].mean())


def power(noise_N: np.ndarray) -> float:
    """Mean power."""
    return float(np.mean(np.square(noise_N, dtype=np.float64)))


def mix(speech_N: np.ndarray, noise_N: np.ndarray, snr_db: float) -> np.ndarray:
    """Speech with noise at `snr_db`. Raises ValueError where either is silent."""
    speech, noise = active_power(speech_N), power(noise_N)
    for value, what in ((speech, "the recording"), (noise, "the noise")):
        if value == 0.0:
            raise ValueError(f"{what} is silent, so there is no signal-to-noise ratio")
    return speech_N + math.sqrt(speech / noise * 10 ** (-snr_db / 10)) * noise_N


def without_clipping(samples_N: np.ndarray) -> tuple[np.ndarray, float]:
    """The samples, scaled down where they would exceed PEAK, and the scale (1: they do not)."""
    scale = min(1.0, PEAK / max(np.abs(samples_N).max(initial=0.0), PEAK))
    return samples_N * scale, scale


def room_response(rt60: Seconds, drr_db: float, rng: np.random.Generator) -> np.ndarray:
    """A room's impulse response: the direct sound, then noise that decays exponentially by 60 dB
    in `rt60` (Polack's model: a room's late part, without the geometry of the early echoes)."""
    at = np.arange(DIRECT, max(DIRECT + 1, math.ceil(rt60 * SAMPLE_RATE)))
    tail = rng.standard_normal(len(at)) * 10 ** (-3.0 * at / SAMPLE_RATE / rt60)
    tail *= math.sqrt(10 ** (-drr_db / 10) / np.sum(tail**2))
    return np.concatenate([[1.0], np.zeros(DIRECT - 1), tail])


def convolve(samples_N: np.ndarray, response: np.ndarray) -> np.ndarray:
    """The samples filtered by `response`, as long as before: what rings after them is cut."""
    size = 1 << (len(samples_N) + len(response) - 1).bit_length()
    spectrum = np.fft.rfft(samples_N, size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(samples_N)]


# --- noises of a test set -----------------------------------------------------------------------


def adder(
    noise: Noise, utterances: Iterable[Utterance], seed: int
) -> Callable[[Utterance], tuple[np.ndarray, float]]:
    """What makes an utterance of a test set noisy: its samples (N,) and their scale.

    Raises ValueError where this test set, or the directory of recordings, gives no such noise."""
    spoil = _spoiler(noise, utterances)

    def add(utt: Utterance) -> tuple[np.ndarray, float]:
        samples_N = audio.read_mono_16k(utt.audio).astype(np.float64)
        try:
            return without_clipping(spoil(samples_N, utt, generator(seed, noise.kind, utt.id)))
        except ValueError as error:
            raise ValueError(f"{utt.id} ({utt.audio}), {noise.kind}: {error}") from error

    return add


def generator(seed: int, kind: str, id_: str) -> np.random.Generator:
    """Random numbers of this noise of this utterance."""
    digest = hashlib.sha256(f"{seed} {kind} {id_}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def _spoiler(
    noise: Noise, utterances: Iterable[Utterance]
) -> Callable[[np.ndarray, Utterance, np.random.Generator], np.ndarray]:
    rt60, drr_db, snr_db = noise.rt60, noise.drr_db, noise.snr_db
    if rt60 is not None and drr_db is not None:
        return lambda samples_N, _, rng: convolve(samples_N, room_response(rt60, drr_db, rng))
    assert snr_db is not None
    draw = _source(noise, utterances)
    return lambda samples_N, utt, rng: mix(samples_N, draw(len(samples_N), utt, rng), snr_db)


def _source(
    noise: Noise, utterances: Iterable[Utterance]
) -> Callable[[int, Utterance, np.random.Generator], np.ndarray]:
    if noise.kind == "white":
        return lambda length, utt, rng: rng.standard_normal(length)
    if noise.directory is None:
        return Babble(utterances).draw
    paths = noise_files(noise.directory)
    return lambda length, utt, rng: stream(paths, length, rng)


class Babble:
    """Several of a test set's other speakers at once, each speaking as loudly as the others."""

    def __init__(self, utterances: Iterable[Utterance]) -> None:
        self.paths: dict[str, list[str]] = {}
        for utt in utterances:
            self.paths.setdefault(utt.speaker, []).append(utt.audio)
        self.speakers = sorted(self.paths)
        if len(self.speakers) < 2:
            raise ValueError(
                f"babble is made of other speakers, and all {sum(map(len, self.paths.values()))} "
                f"utterances are of one ({self.speakers[0]}); correct utt2spk, or take "
                "files:DIRECTORY:SNR with recordings of babble"
            )

    def draw(self, length: int, utt: Utterance, rng: np.random.Generator) -> np.ndarray:
        """(N,) of BABBLE_VOICES voices of as many speakers as there are."""
        own = self.speakers.index(utt.speaker)
        others = [n + (n >= own) for n in rng.permutation(len(self.speakers) - 1)]
        babble_N = np.zeros(length)
        for voice in range(BABBLE_VOICES):
            speaker = self.speakers[others[voice % len(others)]]
            voice_N = stream(self.paths[speaker], length, rng)
            babble_N += voice_N / math.sqrt(active_power(voice_N) or 1.0)
        return babble_N


def stream(paths: list[str], length: int, rng: np.random.Generator) -> np.ndarray:
    """(N,) of recordings drawn one after the other; the first is begun anywhere, and its beginning
    comes after its end."""
    pieces, missing = list[np.ndarray](), length
    while missing > 0:
        samples = audio.read_mono_16k(paths[rng.integers(len(paths))])
        if not pieces:
            samples = np.roll(samples, -rng.integers(len(samples)))
        pieces.append(samples[:missing])
        missing -= len(pieces[-1])
    return np.concatenate(pieces).astype(np.float64)


def noise_files(directory: str) -> list[str]:
    """The recordings below `directory`, sorted; at least one (else ValueError)."""
    found = sorted(str(p) for p in Path(directory).rglob("*") if p.suffix.lower() in SUFFIXES)
    if not found:
        raise ValueError(
            f"files:{directory}: no {' or '.join(SUFFIXES)} file is there; give a directory with "
            "recordings of noise"
        )
    return found
