"""A waveform that grows: as near its log mel energies as one made at once, without clicks."""

import itertools

import pytest
import torch

from espnet_audiollm.model.frontend import Filterbank
from espnet_audiollm.model.griffin_lim import waveform
from espnet_audiollm.model.wave_writer import WaveWriter

BANK = Filterbank()


def voiced(seconds=2.0):
    """Harmonics of a falling and rising voice, with pauses."""
    time_N = torch.arange(int(16_000 * seconds)) / 16_000
    pitch_N = 120 + 30 * torch.sin(2 * torch.pi * 0.7 * time_N)
    phase_N = 2 * torch.pi * pitch_N.cumsum(0) / 16_000
    wave_N = sum(torch.sin(k * phase_N) / k for k in range(1, 25))
    return 0.1 * wave_N * (torch.sin(2 * torch.pi * 1.5 * time_N) > -0.5)


def mel(wave_N):
    return BANK(wave_N[None], torch.tensor([len(wave_N)]))[0][0]


def apart(wave_N, mel_FM):
    return float((mel(wave_N).clamp(min=-12) - mel_FM.clamp(min=-12)).abs().mean())


def written(mel_FM, step):
    writer, edges = WaveWriter(BANK), [*range(0, len(mel_FM), step), len(mel_FM)]
    pairs = itertools.pairwise(edges)
    return [writer.add(mel_FM[a:b], last=b == len(mel_FM)) for a, b in pairs]


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_some_frames_are_a_waveform_too(frames):
    wave_N = waveform(mel(voiced())[:frames], BANK)
    assert len(wave_N) == (frames - 1) * 160 + 400 and wave_N.isfinite().all()


@pytest.mark.parametrize("step", [3, 24, 65, 1000])
def test_parts_are_as_near_as_one_piece(step):
    mel_FM = mel(voiced())
    whole_N, parts = waveform(mel_FM, BANK), written(mel_FM, step)
    joined_N = torch.cat(parts)
    assert len(joined_N) == len(whole_N)
    assert apart(joined_N, mel_FM) < 1.15 * apart(whole_N, mel_FM)


def test_no_joint_is_a_click():
    """The step from the last sample of a part to the next is none that stands out nearby."""
    parts = written(mel(voiced()), 24)
    steps_N = torch.cat(parts).diff().abs()
    ends = torch.tensor([len(part) for part in parts]).cumsum(0)[:-1]
    assert len(ends) >= 7
    for end in ends.tolist():
        near_N = steps_N[max(0, end - 400) : end + 400]
        assert steps_N[end - 1] <= 1.01 * torch.cat([near_N[:390], near_N[410:]]).max()


def test_the_same_frames_are_the_same_samples():
    mel_FM = mel(voiced(0.6))
    first, second = (torch.cat(written(mel_FM, 24)) for _ in range(2))
    assert torch.equal(first, second)
    assert len(WaveWriter(BANK).add(mel_FM[:3])) == 0  # too few to be certain of any
