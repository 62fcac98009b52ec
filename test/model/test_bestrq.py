"""BEST-RQ: its quantiser and masks by hand, its loss, and what does not depend on the batch."""

import math

import pytest
import torch
from tiny_models import noise, tiny_encoder

from espnet_audiollm.model.bestrq import BestRQESPnetModel, spans
from espnet_audiollm.model.normalize import UtteranceMVN
from espnet_audiollm.model.random_quantiser import RandomQuantiser, count, perplexity, stack

SIZES = dict(bands=80, subsampling=8, codes=32)


def model(seed=0, normalize=None, **mask):
    encoder = tiny_encoder(seed=seed)
    encoder.normalize = normalize
    return BestRQESPnetModel(encoder, RandomQuantiser(**SIZES, codebooks=2), **mask).double()


def test_stacked_frames_end_in_zeros():
    x_BFM = torch.arange(1.0, 11.0).reshape(1, 5, 2)
    found = stack(x_BFM, torch.tensor([5]), 2)
    assert found.tolist() == [[[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 0, 0]]]
    assert stack(x_BFM, torch.tensor([3]), 2)[0, 1].tolist() == [5, 6, 0, 0]


def test_the_nearest_code_of_normalised_features():
    quantiser = RandomQuantiser(bands=1, subsampling=2, codes=2, width=2)
    quantiser.projection_QIE.copy_(torch.eye(2)[None])
    quantiser.codes_QKE.copy_(torch.eye(2)[None])
    x_BFM = torch.tensor([[[3.0], [1.0], [1.0], [3.0]]])  # normalised 1, -1, -1, 1
    assert quantiser(x_BFM, torch.tensor([4])).tolist() == [[[0], [1]]]
    louder = quantiser(5 * x_BFM + 7, torch.tensor([4]))
    assert louder.tolist() == [[[0], [1]]]


def test_the_seed_decides_the_codes_and_nothing_learns():
    one, same, other = (RandomQuantiser(**SIZES, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.codes_QKE, same.codes_QKE)
    assert torch.equal(one.projection_QIE, same.projection_QIE)
    assert not torch.equal(one.codes_QKE, other.codes_QKE)
    assert set(one.state_dict()) == {"projection_QIE", "codes_QKE"} and not [*one.parameters()]
    with torch.device("meta"):
        assert torch.equal(RandomQuantiser(**SIZES, seed=1).codes_QKE.cpu(), one.codes_QKE)


def test_spans_by_hand():
    uniform_BT = torch.tensor([[0.5, 0.01, 0.9, 0.9, 0.4, 0.02], [0.3, 0.9, 0.2, 0.0, 0.0, 0.0]])
    found = spans(uniform_BT, torch.tensor([6, 3]), prob=0.05, frames=2)
    assert found.int().tolist() == [[0, 1, 1, 0, 0, 1], [0, 0, 1, 0, 0, 0]]  # at least one


def test_as_many_frames_are_masked_as_the_probability_says():
    uniform_BT = torch.rand(200, 300, generator=torch.Generator().manual_seed(0))
    share = spans(uniform_BT, torch.full((200,), 300), prob=0.08, frames=5).float().mean()
    assert share == pytest.approx(1 - 0.92**5, abs=0.01)


def test_perplexity_of_codes():
    def of(codes):
        return float(perplexity(count(torch.tensor(codes), 8)))

    assert of([3, 3, 3]) == pytest.approx(1.0)
    assert of([0, 1, 2, 3]) == pytest.approx(4.0)
    assert of([0, 0, 1, 1, 2, 2, 2, 2]) == pytest.approx(2**1.5)


def test_masked_features_do_not_reach_the_encoder():
    """What is hidden changes the codes and nothing that the heads say."""
    made, (wave_BN, lengths_B) = model().eval(), noise(16_000)
    seen = []
    made.heads[0].register_forward_hook(lambda *a: seen.append(a[1][0]))
    made(wave_BN, lengths_B)
    quiet_BN = wave_BN.clone()
    steps = torch.tensor([13])  # of 98 frames; in validation that is the seed
    uniform_BT = torch.rand(13, generator=torch.Generator().manual_seed(98))[None]
    mask_BT = spans(uniform_BT, steps, 0.08, 5)
    first = int(mask_BT[0].nonzero()[0])
    inside = slice((first * 8 + 3) * 160, (first * 8 + 4) * 160)  # three frames around: hidden too
    quiet_BN[:, inside] = 0.0
    made(quiet_BN, lengths_B)
    torch.testing.assert_close(seen[0], seen[1])
    quiet_BN[:, :16_000] = wave_BN.flip(1)
    made(quiet_BN, lengths_B)
    assert not torch.allclose(seen[0], seen[2])


@pytest.mark.parametrize("normalize", [None, UtteranceMVN()])
def test_in_validation_the_loss_does_not_depend_on_the_batch(normalize):
    made, (wave_BN, lengths_B) = model(normalize=normalize).eval(), noise(16_000, 24_000, 9_000)
    loss, stats, weight = made(wave_BN, lengths_B)
    single = [made(wave_BN[i : i + 1, :n], lengths_B[i : i + 1]) for i, n in enumerate(lengths_B)]
    weights = torch.cat([each[2] for each in single])
    assert weight == weights.sum()
    torch.testing.assert_close(
        loss, (torch.cat([each[0] for each in single]) * weights).sum()[None] / weight
    )
    assert made(wave_BN, lengths_B)[0] == loss


def test_it_learns_what_a_few_noises_hide():
    made, (wave_BN, lengths_B) = model(mask_prob=0.2, mask_frames=2), noise(24_000, 20_000)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.01)
    torch.manual_seed(0)
    losses = []
    for _ in range(80):
        loss, stats, _ = made(wave_BN, lengths_B)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(32), rel=0.2)
    assert sum(losses[-5:]) < 0.85 * sum(losses[:5]) and made.quantiser.codes_QKE.grad is None
    assert stats["code_ppl"] > 4 and stats["accuracy"] > stats["most_common"]


@pytest.mark.parametrize("wrong", [{"mask_prob": 0.0}, {"mask_prob": 1.5}, {"mask_frames": 0}])
def test_masks_that_cannot_be(wrong):
    with pytest.raises(ValueError, match="give a probability between 0 and 1"):
        model(**wrong)
