"""The unit vocoder: lengths, durations, and that nobody sees anybody else's padding."""

import pytest
import torch

from espnet_audiollm.model.unit_vocoder import (
    UnitVocoder,
    VocoderESPnetModel,
    expand,
    frames_per_unit,
    mean_deviation,
)
from espnet_audiollm.model.voices import PROMPT_FRAMES, prompt_of

UNITS = torch.tensor([[3, 1, 4, 1], [2, 0, -1, -1]])
DURATIONS = torch.tensor([[1, 2, 1, 3], [2, 1, 0, 0]])


def small(**more):
    torch.manual_seed(0)
    options = dict(width=8, heads=2, hidden=8, layers=1, kernel=3, mel_width=6, dropout=0.0)
    return UnitVocoder(6, frames=4, **{**options, **more}).eval()


def test_each_unit_as_often_as_it_lasts():
    x_BLD = torch.tensor([[10.0, 20.0, 30.0, 40.0], [50.0, 60.0, 0.0, 0.0]])[..., None]
    x_BTD, shares_BT2, lengths_B = expand(x_BLD, DURATIONS)
    assert lengths_B.tolist() == [7, 3]
    assert x_BTD[0, :, 0].tolist() == [10, 20, 20, 30, 40, 40, 40]
    assert x_BTD[1, :, 0].tolist() == [50, 50, 60, 0, 0, 0, 0]
    begin, end = shares_BT2[0, 4:].T  # the middles of three frames, as shares of their unit
    assert begin.tolist() == pytest.approx([1 / 6, 1 / 2, 5 / 6])
    assert end.tolist() == pytest.approx([5 / 6, 1 / 2, 1 / 6])


@pytest.mark.parametrize("rate, frames", [(25.0, 4), (12.5, 8), (50.0, 2), (100.0, 1)])
def test_mel_frames_of_a_unit(rate, frames):
    assert frames_per_unit(rate) == frames


@pytest.mark.parametrize("rate", [30.0, 200.0])
def test_units_that_last_no_integer_number_of_frames(rate):
    with pytest.raises(ValueError, match=f"{rate:g} units a second.*12.5"):
        frames_per_unit(rate)


@pytest.mark.parametrize("voices", [2, None])
@torch.no_grad()
def test_one_is_as_padded(voices):
    vocoder = small(voices=voices)
    speakers = torch.tensor([0, 1]) if voices else torch.randn(2, PROMPT_FRAMES, 80)
    voice_BD = vocoder.voice_of(speakers)
    lengths_B = torch.tensor([4, 2])
    both, frames_B = vocoder.decode(UNITS, DURATIONS, voice_BD)
    guessed_BL = vocoder.predict(UNITS, lengths_B, voice_BD)
    assert frames_B.tolist() == [28, 12] and not both[1, 12:].any()
    for row, n in enumerate(lengths_B):
        alone_BD = vocoder.voice_of(speakers[row : row + 1])
        one, last = slice(row, row + 1), int(frames_B[row])
        alone, _ = vocoder.decode(UNITS[one, :n], DURATIONS[one, :n], alone_BD)
        torch.testing.assert_close(both[one, :last], alone, atol=1e-5, rtol=1e-5)
        guessed_alone = vocoder.predict(UNITS[one, :n], lengths_B[one], alone_BD)
        torch.testing.assert_close(guessed_BL[one, :n], guessed_alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_predicted_durations_are_integers_and_positive():
    vocoder = small()
    voice_BD = vocoder.voice_of(torch.zeros(2, dtype=torch.long))
    vocoder.log_duration.bias.fill_(-5.0)
    found = vocoder.durations(UNITS, torch.tensor([4, 2]), voice_BD)
    assert found.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    vocoder.log_duration.bias.fill_(20.0)
    assert vocoder.durations(UNITS, torch.tensor([4, 2]), voice_BD).max() == 50


def test_a_short_prompt_is_repeated():
    mel_BFM = torch.arange(1000.0).reshape(1, 1000, 1).expand(2, -1, -1)
    found = prompt_of(mel_BFM, torch.tensor([1000, 120]), torch.tensor([900, 100]))[..., 0]
    assert found.shape == (2, PROMPT_FRAMES)
    assert found[0, [0, 99, 100]].tolist() == [900, 999, 0]
    assert found[1, [0, 19, 20, 140]].tolist() == [100, 119, 0, 0]


def test_the_deviation_of_frames_that_both_have():
    made_BFM = torch.tensor([[1.0, 5.0, 9.0], [2.0, 7.0, 7.0]])[..., None]
    target_BFM = torch.tensor([[3.0, 4.0], [2.0, 0.0]])[..., None]
    found = mean_deviation(made_BFM, target_BFM, torch.tensor([2, 1]))
    assert found.item() == pytest.approx((2 + 1 + 0) / 3)


def test_it_learns_and_refuses_other_units():
    model = VocoderESPnetModel(small(), by_prompt=False).train()
    batch = dict(
        speech=torch.randn(2, 4_700) * 0.1,  # 27 frames, of 28
        speech_lengths=torch.tensor([4_700, 2_100]),
        units=UNITS,
        units_lengths=[4, 2],  # as the training gives them
        durations=torch.where(DURATIONS == 0, -1, DURATIONS),
        durations_lengths=torch.tensor([4, 2]),
        speaker=torch.zeros(2, 1, dtype=torch.long),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        loss, stats, weight = model(**batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0] and int(weight) == 2
    assert stats["loss"] == pytest.approx(float(stats["mel"] + stats["duration"]))
    batch["speech_lengths"] = torch.tensor([4_700, 4_700])
    with pytest.raises(ValueError, match="1 of 2 recordings.*first: 0.27 s of audio, 0.12 s"):
        model(**batch)
