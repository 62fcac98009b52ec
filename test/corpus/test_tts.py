"""espeak-ng through ctypes: it speaks, and an unknown voice is an error, not the voice before."""

import wave
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("espeakng_loader")

from espnet_audiollm.corpus.tts import Espeak, SpeechJob, Voice, at_16k, synthesize, trim_silence


@pytest.fixture(scope="module")
def espeak():
    return Espeak()


def test_speed_and_length_of_text_change_the_duration(espeak):
    slow = espeak.speak("one two three", Voice(speed=120))
    fast = espeak.speak("one two three", Voice(speed=240))
    assert slow.dtype == np.int16 and slow.ndim == 1
    assert 1.4 < len(slow) / len(fast) < 2.6
    assert 0.4 < len(fast) / espeak.rate < 2.0  # seconds


def test_variants_sound_different(espeak):
    plain = espeak.speak("good morning", Voice("en-us"))
    other = espeak.speak("good morning", Voice("en-us+f2"))
    assert not np.array_equal(plain[:8000], other[:8000])


@pytest.mark.parametrize(
    "voice, message",
    [
        (Voice("en-gb"), "no voice 'en-gb'"),  # a locale, but not a voice of espeak-ng
        (Voice("en-us+nobody"), "no variant 'nobody'"),
        (Voice(speed=20), "speed .* is 20: must be between 80 and 450"),
        (Voice(pitch=101), "pitch is 101"),
    ],
)
def test_what_espeak_would_silently_ignore_is_an_error(espeak, voice, message):
    with pytest.raises(ValueError, match=message):
        espeak.speak("hello", voice)


def test_trim_keeps_the_margin():
    samples = np.zeros(1000, dtype=np.int16)
    samples[400:500] = 1000
    assert len(trim_silence(samples, rate=1000, keep=0.05)) == 100 + 2 * 50
    assert len(trim_silence(np.zeros(10, dtype=np.int16), rate=1000)) == 10


def test_16_khz_keeps_pitch_and_duration():
    rate, seconds = 22_050, 1
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(rate * seconds) / rate)).astype(np.int16)
    out = at_16k(tone, rate)
    assert out.dtype == np.int16 and len(out) == 16_000
    assert np.argmax(np.abs(np.fft.rfft(out.astype(float)))) == 440  # 1 Hz a bin


def test_jobs_become_16_khz_files_in_order(tmp_path):
    jobs = [
        SpeechJob(text, Voice("en-gb-x-rp+m3"), str(tmp_path / f"{text}.wav"))
        for text in ("three", "one", "two")
    ]
    done = list(synthesize(jobs, processes=2))
    assert [job for job, _ in done] == jobs
    for job, num_samples in done:
        with wave.open(job.path) as audio:
            assert (audio.getframerate(), audio.getnchannels()) == (16_000, 1)
            assert audio.getnframes() == num_samples > 3000


def test_audio_is_the_same_whatever_the_number_of_processes(tmp_path):
    spoken = []
    for processes in (1, 2):
        jobs = [
            SpeechJob(text, Voice("en-us+m3"), str(tmp_path / f"{text}{processes}.wav"))
            for text in ("one", "two", "three")
        ]
        list(synthesize(jobs, processes, chunk=2))
        spoken.append([Path(job.path).read_bytes() for job in jobs])
    assert spoken[0] == spoken[1]
