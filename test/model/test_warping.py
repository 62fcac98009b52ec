"""Frequencies scaled in training, as by other vocal tracts."""

import math

import pytest
import torch

from espnet_audiollm.model.frontend import Filterbank
from espnet_audiollm.model.warping import scaled, warped
from espnet_audiollm.types import SAMPLE_RATE


@pytest.fixture(scope="module")
def bank():
    return Filterbank()


def tone(frequency, seconds=0.5):
    """(1, N) and (1,)."""
    steps = torch.arange(round(seconds * SAMPLE_RATE))
    wave = 0.5 * torch.sin(2 * math.pi * frequency / SAMPLE_RATE * steps)
    return wave[None], torch.tensor([len(steps)])


def loudest(bank, mel_1FM):
    """The frequency (Hz) of the band that is loudest on average."""
    return float(bank.centers_M[mel_1FM[0].mean(0).argmax()])


def test_bands_lie_where_their_filters_have_their_mean(bank):
    for frequency in (300.0, 1000.0, 3000.0, 6000.0):
        nearest = float(bank.centers_M[(bank.centers_M - frequency).abs().argmin()])
        assert loudest(bank, bank(*tone(frequency))[0]) == pytest.approx(nearest, rel=0.03)


@pytest.mark.parametrize("factor", [0.85, 1.0, 1.18])
def test_frequencies_keep_their_order_and_their_end(bank, factor):
    new_1M = scaled(bank.centers_M, torch.tensor([factor]))
    assert bool((new_1M.diff() > 0).all())
    assert float(new_1M.max()) < SAMPLE_RATE / 2
    half = torch.tensor([SAMPLE_RATE / 2])
    assert scaled(half, torch.tensor([factor])).item() == pytest.approx(SAMPLE_RATE / 2)
    assert scaled(torch.tensor([1000.0]), torch.tensor([factor])).item() == pytest.approx(
        1000 * factor
    )


def test_a_tone_moves_by_the_factor_that_was_drawn(bank):
    mel_1FM, _ = bank(*tone(1000.0))
    torch.manual_seed(3)
    (draw,) = torch.rand(1).tolist()
    factor = math.exp((2 * draw - 1) * math.log(1.3))
    torch.manual_seed(3)
    moved = loudest(bank, warped(mel_1FM, bank.centers_M, 0.3))
    assert abs(factor - 1) > 0.1  # else nothing is tested
    assert moved == pytest.approx(1000 / factor, rel=0.04)


def test_only_training_warps_each_utterance_by_itself():
    wave_1N, lengths = tone(1000.0)
    wave_3N, lengths_3 = wave_1N.expand(3, -1), lengths.expand(3)
    bank = Filterbank(warp=0.2).eval()
    plain = Filterbank()(wave_3N, lengths_3)[0]
    assert torch.equal(bank(wave_3N, lengths_3)[0], plain)
    bank.train()
    torch.manual_seed(1)
    first = bank(wave_3N, lengths_3)[0]
    assert len({loudest(bank, row[None]) for row in first}) == 3
    torch.manual_seed(1)
    assert torch.equal(bank(wave_3N, lengths_3)[0], first)
    bank.warp = 1e-9
    assert torch.allclose(bank(wave_3N, lengths_3)[0], plain, atol=1e-4)


def test_padding_stays_zero():
    wave_1N, lengths = tone(1000.0)
    wave_2N = torch.nn.functional.pad(wave_1N, (0, 1600)).expand(2, -1).clone()
    mel_BFM, frames = Filterbank(warp=0.2).train()(
        wave_2N, torch.tensor([wave_2N.shape[1], int(lengths)])
    )
    assert not mel_BFM[1, int(frames[1]) :].any()


@pytest.mark.parametrize("warp", [-0.1, 1.0])
def test_wrong_limits_are_named(warp):
    with pytest.raises(ValueError, match="warp is .*at least 0 and below 1"):
        Filterbank(warp=warp)
