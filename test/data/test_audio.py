import errno

import numpy as np
import pytest
import soundfile

from espnet_audiollm.data import audio


def tone(rate=16_000, seconds=0.5, hertz=440.0):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype("f4")


def test_info_and_reading(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), 16_000)
    found = audio.info(path)
    assert (found.rate, found.channels, found.frames, found.duration) == (16_000, 1, 8000, 0.5)
    assert found.usable_in_place
    samples = audio.read_mono_16k(path)
    assert samples.shape == (8000,) and samples.dtype == np.float32
    assert np.abs(samples - tone()).max() < 1e-4


def test_other_rate_keeps_the_tone(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(rate=8000), 8000)
    assert not audio.info(path).usable_in_place
    samples = audio.read_mono_16k(path)
    assert samples.shape == (8000,)
    assert np.abs(samples - tone())[500:-500].max() < 0.01


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.stack([tone(), np.zeros(8000, "f4")], 1), 16_000)
    assert not audio.info(path).usable_in_place
    assert np.abs(audio.read_mono_16k(path) - tone() / 2).max() < 1e-4


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("keep", [0.4, 0.99])
def test_truncated(tmp_path, suffix, keep):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 20_000), 16_000)
    complete = path.read_bytes()
    path.write_bytes(complete[: int(len(complete) * keep)])
    with pytest.raises(audio.AudioError, match="truncated"):
        audio.read_mono_16k(path)


def test_streamed_wav_is_not_truncated(tmp_path):
    """ffmpeg and sox write 0xFFFFFFFF where they cannot seek back to write the size."""
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), 16_000)
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(audio.read_mono_16k(path)) == 8000


@pytest.mark.parametrize("content", [b"", b"not audio at all", b"RIFF\0\0\0\0WAVE", b"RIFF"])
def test_not_audio(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(audio.AudioError, match="empty: 0 bytes" if not content else "not audio"):
        audio.info(path)


def test_header_without_samples(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16_000)
    with pytest.raises(audio.AudioError, match="no samples"):
        audio.info(tmp_path / "a.wav")


def test_missing(tmp_path):
    with pytest.raises(audio.AudioError, match="cannot be opened"):
        audio.info(tmp_path / "a.wav")
    with pytest.raises(audio.AudioError, match="cannot be opened"):
        audio.info(tmp_path)  # a directory


def test_a_file_system_that_is_away_says_nothing_of_the_recording(tmp_path, monkeypatch):
    def away(path):
        raise OSError(errno.ESTALE, "Stale file handle")

    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16_000)
    monkeypatch.setattr(audio.os, "stat", away)
    with pytest.raises(OSError, match="Stale") as caught:
        audio.info(tmp_path / "a.wav")
    assert caught.value.errno == errno.ESTALE


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_numbers(tmp_path, bad):
    samples = tone()
    samples[100] = bad
    soundfile.write(tmp_path / "a.wav", samples, 16_000, "FLOAT")
    with pytest.raises(audio.AudioError, match="not numbers"):
        audio.read_mono_16k(tmp_path / "a.wav")


def test_write_audio_clips_and_reads_back(tmp_path):
    audio.write_audio(tmp_path / "sub" / "a.flac", np.array([0.0, 2.0, -2.0, 0.5], "f4"))
    samples = audio.read_mono_16k(tmp_path / "sub" / "a.flac")
    assert np.abs(samples - [0, 1, -1, 0.5]).max() < 1e-4
