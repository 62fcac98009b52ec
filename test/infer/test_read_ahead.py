"""Recordings that are read while the batch before is computed."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from espnet_audiollm.data import audio
from espnet_audiollm.infer.batches import AHEAD, audio_of, read_batch, reading_ahead
from espnet_audiollm.types import Utterance


@pytest.fixture
def batches(tmp_path):
    """Three batches of two recordings, each of another length."""
    utterances = []
    for n in range(6):
        path = str(tmp_path / f"{n}.wav")
        soundfile.write(path, np.full(160 + n, n / 10, np.float32), 16_000)
        utterances.append(Utterance(f"u{n}", path, "s"))
    return [utterances[:2], utterances[2:4], utterances[4:]]


def answers(batches):
    answer = reading_ahead(batches, read_batch, audio_of)
    return [answer(batch) for batch in batches]


def test_the_samples_are_the_same(batches):
    for (ahead_BN, ahead_B), batch in zip(answers(batches), batches, strict=True):
        now_BN, now_B = read_batch(batch)
        assert torch.equal(ahead_BN, now_BN) and torch.equal(ahead_B, now_B)


def test_the_next_batch_is_read_while_one_is_answered(batches):
    """The thread reads in order: when its second recording is there, the first was read before."""
    reading_ahead(batches, read_batch, audio_of)(batches[0])
    first, second = (utterance.audio for utterance in batches[1])
    assert len(AHEAD.read(second)) == 163
    Path(first).unlink()
    assert len(AHEAD.read(first)) == 162
    with pytest.raises((audio.AudioError, OSError)):
        AHEAD.read(first)  # it is read now


def test_an_error_is_said_by_who_asks(batches):
    bad = batches[1][1].audio
    Path(bad).write_bytes(b"RIFF")
    answer = reading_ahead(batches, read_batch, audio_of)
    assert len(answer(batches[0])[1]) == 2
    with pytest.raises(audio.AudioError) as ahead:
        answer(batches[1])
    with pytest.raises(audio.AudioError) as now:
        audio.read_mono_16k(bad)
    assert str(ahead.value) == str(now.value)
    assert len(answer(batches[2])[1]) == 2  # what was begun for it is still there
