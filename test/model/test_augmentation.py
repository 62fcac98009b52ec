"""Noise in the training's audio: how loud, of which colour, whose voices."""

import pytest
import torch
from tiny_models import noise, tiny_encoder

from espnet_audiollm.model.augmentation import NoiseAugment

LENGTHS = (16_000, 4_321, 9_999)


def added(**options):
    """Samples, their lengths and what was added to them."""
    torch.manual_seed(0)
    speech_BN, lengths_B = noise(*LENGTHS)
    return speech_BN, lengths_B, NoiseAugment(**options)(speech_BN, lengths_B) - speech_BN


def snr_db(speech_BN, noise_BN):
    return 10 * torch.log10(speech_BN.square().sum(1) / noise_BN.square().sum(1))


@pytest.mark.parametrize("kind", ["coloured", "babble"])
def test_the_ratio_is_what_was_asked_for_and_padding_stays_zero(kind):
    speech_BN, lengths_B, noise_BN = added(probability=1.0, kinds=[kind], snr_range=[7.0, 7.0])
    torch.testing.assert_close(snr_db(speech_BN, noise_BN), torch.full((3,), 7.0).double())
    for noise_N, length in zip(noise_BN, lengths_B, strict=True):
        assert noise_N[:length].count_nonzero() > 0.99 * length
        assert not noise_N[length:].any()


def test_ratios_are_drawn_within_their_range_for_each_utterance():
    speech_BN, _, noise_BN = added(probability=1.0, snr_range=[5.0, 30.0])
    ratios = snr_db(speech_BN, noise_BN)
    assert len(set(ratios.tolist())) == 3
    assert ratios.min() >= 5.0 and ratios.max() <= 30.0


def test_as_many_utterances_have_noise_as_the_probability_says():
    torch.manual_seed(0)
    speech_BN, lengths_B = torch.randn(400, 800), torch.full((400,), 800)
    noisy_BN = NoiseAugment(probability=0.25)(speech_BN, lengths_B)
    noisy = int((noisy_BN != speech_BN).any(1).sum())
    assert 70 <= noisy <= 130  # 100 +- 3.4 standard deviations


@pytest.mark.parametrize("colour, octave_db", [(0.0, 0.0), (1.0, -3.01), (2.0, -6.02)])
def test_power_falls_as_the_colour_says(colour, octave_db):
    """From 1 to 2 to 4 kHz: 3 dB an octave for pink noise, 6 for brown."""
    torch.manual_seed(0)
    options = {"kinds": ["coloured"], "colours": [colour, colour]}
    speech_BN = torch.randn(8, 65_536, dtype=torch.float64)
    lengths_B = torch.full((8,), speech_BN.shape[1])
    noise_BN = NoiseAugment(probability=1.0, **options)(speech_BN, lengths_B) - speech_BN
    powers = torch.fft.rfft(noise_BN).abs().square().sum(0)
    at = [round(hz / 16_000 * speech_BN.shape[1]) for hz in (1_000, 2_000, 4_000)]
    density = [powers[i - 200 : i + 200].mean() for i in at]
    for low, high in zip(density, density[1:], strict=False):
        assert 10 * torch.log10(high / low).item() == pytest.approx(octave_db, abs=0.6)


def test_babble_is_of_the_other_voices():
    """Tones of 500 and 2,000 Hz: each gets the other's."""
    at = torch.arange(16_000) / 16_000
    speech_BN = torch.stack([torch.sin(2 * torch.pi * hz * at) for hz in (500, 2_000)])
    augment = NoiseAugment(probability=1.0, kinds=["babble"], voices=1)
    noise_BN = augment(speech_BN, torch.tensor([16_000, 16_000])) - speech_BN
    assert torch.fft.rfft(noise_BN).abs().argmax(1).tolist() == [2_000, 500]


def test_an_utterance_by_itself_has_coloured_noise_for_babble():
    speech_1N = torch.ones(1, 800)
    noisy_1N = NoiseAugment(probability=1.0, kinds=["babble"])(speech_1N, torch.tensor([800]))
    assert (noisy_1N != speech_1N).all()


def test_silence_stays_silence():
    silent_BN = torch.zeros(4, 800)
    lengths_B = torch.full((4,), 800)
    assert not NoiseAugment(probability=1.0)(silent_BN, lengths_B).any()


def test_the_same_state_draws_the_same_noise():
    assert torch.equal(added()[2], added()[2])


def test_only_training_hears_it():
    encoder = tiny_encoder()
    speech_BN, lengths_B = noise(*LENGTHS)
    plain_BTD, _ = encoder.eval()(speech_BN, lengths_B)
    encoder.augment = NoiseAugment(probability=1.0)
    assert torch.equal(encoder(speech_BN, lengths_B)[0], plain_BTD)
    assert not torch.equal(encoder.train()(speech_BN, lengths_B)[0], plain_BTD)


@pytest.mark.parametrize(
    "conf, named",
    [
        ({"probability": 1.5}, "probability is 1.5"),
        ({"kinds": ["music"]}, "music"),
        ({"snr_range": [30, 5]}, "snr_range"),
        ({"colours": [1]}, "colours"),
        ({"voices": 0}, "voices is 0"),
    ],
)
def test_options_that_mean_nothing_are_refused(conf, named):
    with pytest.raises(ValueError, match=named):
        NoiseAugment(**conf)
