"""SoundStorm: prompts stay, batches do not matter, and what is learned by heart comes back."""

import pytest
import torch
from real_levels import real_levels

from espnet_audiollm.model.soundstorm import SoundStorm, SoundStormESPnetModel

LEVELS, SIZE = 3, 5


def small(**more):
    torch.manual_seed(0)
    options = dict(width=16, heads=2, hidden=16, layers=1, kernel=3, dropout=0.0)
    return SoundStorm(6, LEVELS, SIZE, **{**options, **more}).eval()


def utterances():
    """Three, with prompts of 4 and 2 frames and none."""
    torch.manual_seed(1)
    semantic = [torch.randint(6, (n,)) for n in (12, 7, 9)]
    prompts = [torch.randint(SIZE, (n, LEVELS)) for n in (4, 2, 0)]
    return semantic, prompts


@pytest.mark.parametrize("iterations", [(4, 1), (1,), (16, 3, 2)])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_prompts_stay_and_all_else_is_filled(iterations, temperature):
    semantic, prompts = utterances()
    made = small().generate(semantic, prompts, [1, 2, 3], iterations, temperature)
    for codes_TL, units_T, prompt_PL in zip(made, semantic, prompts, strict=True):
        assert codes_TL.shape == (len(units_T), LEVELS)
        assert codes_TL[: len(prompt_PL)].equal(prompt_PL)
        assert codes_TL.min() >= 0 and codes_TL.max() < SIZE


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_alone_is_as_in_a_batch(temperature):
    semantic, prompts = utterances()
    model, options = small(), ((4, 1), temperature)
    both = model.generate(semantic, prompts, [1, 2, 3], *options)
    for n, seed in enumerate((1, 2, 3)):
        [alone] = model.generate(semantic[n : n + 1], prompts[n : n + 1], [seed], *options)
        assert alone.equal(both[n])


def test_seeds_decide():
    semantic, prompts = utterances()
    model = small()
    drawn = [model.generate(semantic, prompts, [s, 2, 3], (4, 1))[0] for s in (1, 1, 9)]
    assert drawn[0].equal(drawn[1]) and not drawn[0].equal(drawn[2])


def test_levels_are_filled_in_iterations(monkeypatch):
    """Of 8 frames after a prompt of 4 the cosine of 4 iterations leaves 7, 5, 3 and 0; the finer
    levels have one iteration each, and see all that is known by then."""
    semantic, prompts = (rows[:1] for rows in utterances())
    model, masked = small(), []
    encode = model.encode

    def watched(semantic_BT, codes_BTL, lengths_B):
        masked.append((codes_BTL[0] == model.mask).sum(0).tolist())
        return encode(semantic_BT, codes_BTL, lengths_B)

    monkeypatch.setattr(model, "encode", watched)
    model.generate(semantic, prompts, [1], (4, 1))
    assert masked == [[8, 8, 8], [7, 8, 8], [5, 8, 8], [3, 8, 8], [0, 8, 8], [0, 0, 8]]


def batch_of(semantic, levels):
    """Of utterances of equal lengths."""
    lengths = torch.full((len(semantic),), semantic.shape[1])
    return dict(
        units=semantic,
        units_lengths=lengths,
        durations=torch.ones_like(semantic),
        durations_lengths=lengths,
        semantic=semantic,
        semantic_lengths=lengths,
        levels=levels,
        levels_lengths=lengths,
    )


@torch.no_grad()
def test_the_loss_does_not_depend_on_what_is_masked_or_padded():
    """Other units where all is masked give the same logits; so the loss is that of the targets."""
    model = SoundStormESPnetModel(small(), unprompted=1.0).eval()
    torch.manual_seed(3)
    levels = torch.randint(SIZE, (2, 10, LEVELS))
    batch = batch_of(torch.randint(6, (2, 10)), levels)
    first = model(**batch)[1]["units"]
    generator = torch.Generator().manual_seed(10)  # what validation takes for ten frames
    level = int(torch.rand(4, generator=generator)[2] * LEVELS)
    finer = levels.clone()
    finer[:, :, level + 1 :] = (finer[:, :, level + 1 :] + 1) % SIZE
    assert model(**{**batch, "levels": finer})[1]["units"] == first
    other = levels.clone()
    other[:, :, level] = (other[:, :, level] + 1) % SIZE
    assert model(**{**batch, "levels": other})[1]["units"] != first


def test_four_utterances_by_heart(shared):
    """What a tiny model has learned by heart comes back from semantic units and a short prompt."""
    semantic_BT, levels_BTL = real_levels(shared, LEVELS)
    torch.manual_seed(0)
    soundstorm = SoundStorm(12, LEVELS, 16, 64, 4, 128, 2, 5, dropout=0.0)
    model = SoundStormESPnetModel(soundstorm)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)

    def right():
        soundstorm.eval()
        prompts = list(levels_BTL[:, :10])
        made = soundstorm.generate(list(semantic_BT), prompts, [0] * 4, (16, 1), 0.0)
        return (torch.stack(made)[:, 10:] == levels_BTL[:, 10:]).float().mean().item()

    before = right()
    for _ in range(300):
        model.train()
        loss, _, _ = model(**batch_of(semantic_BT, levels_BTL))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    assert before < 0.3 and right() > 0.95
