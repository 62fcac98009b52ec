"""AudioLM's stages: only units of the level that is due come, prompts stay, batches do not matter,
and what is learned by heart comes back."""

import pytest
import torch
from real_levels import real_levels

from espnet_audiollm.data.unit_levels import flatten, unflatten
from espnet_audiollm.model.acoustic_lm import AcousticLM, AcousticLMESPnetModel, Sampling
from espnet_audiollm.model.durations import DurationPredictor

PREFIX, SIZE, LEVELS = 6, 5, 2


def small(prefix_levels=1, prefix_size=PREFIX, levels=LEVELS, level_size=SIZE, **more):
    torch.manual_seed(0)
    options = dict(width=16, heads=2, hidden=16, layers=2, dropout=0.0)
    sizes = (prefix_levels, prefix_size, levels, level_size)
    return AcousticLM(*sizes, **{**options, **more}).eval()


def flat(levels_TL, size=SIZE):
    return torch.tensor(flatten(levels_TL.T.tolist(), size), dtype=torch.long)


def rows():
    """Three prefixes, with prompts of 4 and 2 frames and none."""
    torch.manual_seed(1)
    prefixes = [torch.randint(PREFIX, (n,)) for n in (12, 7, 9)]
    prompts = [flat(torch.randint(SIZE, (n, LEVELS))) for n in (4, 2, 0)]
    return prefixes, prompts


@pytest.mark.parametrize(
    "sampling", [Sampling(0.0), Sampling(1.0), Sampling(3.0), Sampling(1.0, 2)]
)
def test_the_levels_that_come_are_those_that_are_due(sampling):
    prefixes, prompts = rows()
    made = small().generate(prefixes, prompts, [1, 2, 3], sampling)
    for sequence_S, prefix_N, prompt in zip(made, prefixes, prompts, strict=True):
        levels = unflatten(sequence_S.tolist(), SIZE, LEVELS)  # refuses any other level
        assert [len(level) for level in levels] == [len(prefix_N)] * LEVELS
        assert sequence_S[: len(prompt)].equal(prompt)


@pytest.mark.parametrize("sampling", [Sampling(0.0), Sampling(1.0)])
def test_one_is_as_in_a_batch(sampling):
    prefixes, prompts = rows()
    model = small()
    both = model.generate(prefixes, prompts, [1, 2, 3], sampling)
    for n, seed in enumerate((1, 2, 3)):
        [single] = model.generate(prefixes[n : n + 1], prompts[n : n + 1], [seed], sampling)
        assert single.equal(both[n])


def test_seeds_decide():
    prefixes, prompts = rows()
    model = small()
    drawn = [model.generate(prefixes, prompts, [s, 2, 3], Sampling())[0] for s in (1, 1, 9)]
    assert drawn[0].equal(drawn[1]) and not drawn[0].equal(drawn[2])


def test_top_k_of_one_is_the_likeliest():
    prefixes, prompts = rows()
    model = small()
    likeliest = model.generate(prefixes, prompts, [1, 2, 3], Sampling(0.0))
    drawn = model.generate(prefixes, prompts, [4, 5, 6], Sampling(5.0, 1))
    assert all(map(torch.equal, likeliest, drawn))


def test_draws_have_the_softmax_s_shares():
    logits_BK = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).repeat(4000, 1)
    generators = [torch.Generator().manual_seed(n) for n in range(4000)]
    for sampling, expected in (
        (Sampling(2.0), (logits_BK[0] / 2).softmax(0)),
        (Sampling(1.0, 2), torch.tensor([0.0, 0.2689, 0.7311, 0.0])),
    ):
        shares = sampling(logits_BK, generators).bincount(minlength=4) / 4000
        assert (shares - expected).abs().max() < 0.03


def test_what_cannot_be_drawn_is_refused():
    for options in ((-1.0, 0), (1.0, -1)):
        with pytest.raises(ValueError, match="negative"):
            Sampling(*options)
    with pytest.raises(ValueError, match="width 18"):
        small(width=18)


def batch_of(prefixes, sequences, **more):
    pad = torch.nn.utils.rnn.pad_sequence
    return dict(
        prefix=pad(prefixes, True, -1),
        prefix_lengths=torch.tensor([len(each) for each in prefixes]),
        sequence=pad(sequences, True, -1),
        sequence_lengths=torch.tensor([len(each) for each in sequences]),
        **more,
    )


@torch.no_grad()
def test_the_loss_is_that_of_what_generation_would_draw_from():
    """Read in one go or with a cache, one unit after the other: the likeliest units, given the same
    beginnings, have the accuracy 1, padded or not."""
    prefixes, prompts = rows()
    lm = small()
    made = lm.generate(prefixes, [prompt[:0] for prompt in prompts], [1, 2, 3], Sampling(0.0))
    model = AcousticLMESPnetModel(lm, 20).eval()
    loss, stats, weight = model(**batch_of(prefixes, made))
    assert stats["accuracy"] == 1 and weight == LEVELS * (12 + 7 + 9)
    single = [model(**batch_of([a], [b])) for a, b in zip(prefixes, made, strict=True)]
    assert float(loss) == pytest.approx(float(sum(s["units"] * w for _, s, w in single) / weight))


@torch.no_grad()
def test_a_unit_is_not_seen_before_it_is_due():
    """Another last unit changes only the loss of that unit: all before it is causal."""
    prefixes, _ = rows()
    prefix, sequence = prefixes[0], flat(torch.randint(SIZE, (12, LEVELS)))
    other = sequence.clone()
    other[-1] = SIZE + (other[-1] + 1) % SIZE
    lm = small()
    before = [lm.generate([prefix], [s[:-2]], [1], Sampling(0.0))[0] for s in (sequence, other)]
    assert before[0].equal(before[1])
    model = AcousticLMESPnetModel(lm, 20).eval()
    nats = [float(model(**batch_of([prefix], [s]))[0]) * 24 for s in (sequence, other)]
    shorter = [s[:-2] for s in (sequence, other)]
    assert shorter[0].equal(shorter[1]) and nats[0] != nats[1]
    assert abs(nats[0] - nats[1]) < 3  # of one unit among five


def test_longer_utterances_are_cut():
    """In validation to the frames of the middle, in training anywhere."""
    torch.manual_seed(2)
    prefix, sequence = torch.randint(PREFIX, (30,)), flat(torch.randint(SIZE, (30, LEVELS)))
    model = AcousticLMESPnetModel(small(), 10).eval()
    with torch.no_grad():
        long, middle = (
            model(**batch_of([a], [b]))
            for a, b in ((prefix, sequence), (prefix[10:20], sequence[20:40]))
        )
        assert long[0] == middle[0] and long[2] == LEVELS * 10
        drawn = {float(model.train()(**batch_of([prefix], [sequence]))[0]) for _ in range(9)}
    assert len(drawn) > 3


@torch.no_grad()
def test_terms_count_what_they_are_means_of():
    torch.manual_seed(0)
    predictor = DurationPredictor(PREFIX, 8, 0.0).eval()
    model = AcousticLMESPnetModel(small(), 10, predictor).eval()
    parts = []
    for frames, units in ((9, 2), (30, 7)):
        sequence = flat(torch.randint(SIZE, (frames, LEVELS)))
        row = {"units": torch.randint(PREFIX, (1, units)), "durations": torch.ones(1, units).long()}
        row["units_lengths"] = torch.tensor([units])
        parts.append(batch_of([torch.randint(PREFIX, (frames,))], [sequence], **row))
    counts = [model.term_counts(part) for part in parts]
    assert counts == [
        {"weight": LEVELS * 9, "duration_share": 2},
        {"weight": LEVELS * 10, "duration_share": 7},
    ]
    found = [model(**part) for part in parts]
    assert [int(weight) for _, _, weight in found] == [each["weight"] for each in counts]
    halved = model(**parts[0], duration_share=0.5)[1]["duration"]
    assert float(halved) == pytest.approx(float(found[0][1]["duration"]) / 2)


def trained(lm, batch, updates=120):
    model = AcousticLMESPnetModel(lm, 100).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(updates):
        loss, _, _ = model(**batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    return lm.eval()


def test_four_utterances_by_heart(shared):
    """What both stages have learned by heart comes back from semantic units and a short prompt."""
    semantic_BT, levels_BTL = real_levels(shared, LEVELS + 1)
    options = dict(width=64, heads=4, hidden=128, layers=2)
    coarse, fine = small(1, 12, 2, 16, **options), small(2, 16, 1, 16, **options)
    first, last = (
        [flat(x_TL, 16) for x_TL in part] for part in (levels_BTL[..., :2], levels_BTL[..., 2:])
    )

    def right(lm, prefixes, sequences, prompt):
        prompts = [sequence_S[:prompt] for sequence_S in sequences]
        made = lm.generate(prefixes, prompts, [0] * 4, Sampling(0.0))
        pairs = zip(made, sequences, strict=True)
        return torch.stack([(a == b)[prompt:].float().mean() for a, b in pairs]).mean().item()

    for lm, prefixes, sequences, prompt in (
        (coarse, list(semantic_BT), first, 20),
        (fine, first, last, 10),
    ):
        before = right(lm, prefixes, sequences, prompt)
        trained(lm, batch_of(prefixes, sequences))
        after = right(lm, prefixes, sequences, prompt)
        print(before, after)
        assert before < 0.5 and after > 0.95
