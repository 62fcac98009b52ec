"""The two means of the vocoder, and SoundStorm's durations: batches of an update count as one."""

import pytest
import torch
from espnet2.train.distributed_utils import DistributedOption
from learning_ranks import learn, trainer_options

from espnet_audiollm.model.soundstorm import SoundStorm, SoundStormESPnetModel
from espnet_audiollm.model.unit_vocoder import UnitVocoder, VocoderESPnetModel
from espnet_audiollm.train.epoch import Batches
from espnet_audiollm.train.halving import MemoryLimit, part_of
from espnet_audiollm.train.ranks import Ranks
from espnet_audiollm.train.shares import UpdateShares
from espnet_audiollm.train.wrapping import wrap

SMALL = dict(width=8, heads=2, hidden=8, layers=1, kernel=3, dropout=0.0)
UNITS = [3, 1, 9, 2, 12, 4, 1, 7]  # without repeats: few where recordings are long, and many
LASTS = [9, 8, 1, 5, 1, 2, 7, 1]  # unit frames of 40 ms each


def vocoder():
    torch.manual_seed(0)
    model = UnitVocoder(6, frames=4, voices=2, mel_width=6, **SMALL)
    return VocoderESPnetModel(model, by_prompt=False)


def soundstorm():
    torch.manual_seed(0)
    return SoundStormESPnetModel(SoundStorm(6, 2, 5, **SMALL))


def rows(values):
    return torch.nn.utils.rnn.pad_sequence(values, batch_first=True, padding_value=-1)


def eight():
    """Eight utterances, for both; recordings are a little shorter and longer than their units."""
    torch.manual_seed(5)
    frames = [n * each for n, each in zip(UNITS, LASTS, strict=True)]
    samples = [400 + 160 * (4 * n - 1 + i % 3 - 1) for i, n in enumerate(frames)]
    units = [torch.randint(6, (n,)) for n in UNITS]
    durations = [torch.full((n,), each) for n, each in zip(UNITS, LASTS, strict=True)]
    data = {
        "speech": torch.randn(8, max(samples)) * 0.1,
        "units": rows(units),
        "durations": rows(durations),
        "semantic": rows([u.repeat_interleave(d) for u, d in zip(units, durations, strict=True)]),
        "levels": rows([torch.randint(5, (n, 2)) for n in frames]),
        "speaker": torch.arange(8)[:, None] % 2,
    }
    lengths = {"speech": samples, "units": UNITS, "durations": UNITS}
    lengths |= {"semantic": frames, "levels": frames}
    return data | {f"{name}_lengths": torch.tensor(n) for name, n in lengths.items()}


def update(make, parts, limit=None, by_shares=True):
    """What an update by batches of these rows adds to the weights, times -1."""
    torch.manual_seed(7)
    model, whole, option = make().train(), eight(), DistributedOption()
    options, ranks = trainer_options("--accum_grad", str(len(parts))), Ranks()
    wrapped = wrap(model, options, option, ranks, limit or MemoryLimit())
    before = [p.detach().clone() for p in model.parameters()]
    read = [(["x"], part_of(whole, *pair)) for pair in parts]
    shares = UpdateShares(model.term_counts, ranks) if by_shares else None
    prepare = getattr(model, "prepare", None)
    torch.manual_seed(9)  # masks are the same, in whatever batches
    batches = Batches(
        "train", read, lambda done: False, step=len(read), shares=shares, prepare=prepare
    )
    learn(wrapped, torch.optim.SGD(model.parameters(), lr=1.0), batches, options, option)
    return [old - new.detach() for old, new in zip(before, model.parameters(), strict=True)]


def apart(one, other):
    pairs = zip(one, other, strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("make", [vocoder, soundstorm])
def test_two_batches_of_four_count_as_one_of_eight(make):
    whole, halves = update(make, [(0, 8)]), update(make, [(0, 4), (4, 8)])
    assert apart(whole, halves) < 1e-5 < 1e-3 < max(float(w.abs().max()) for w in whole)


@pytest.mark.parametrize("make", [vocoder, soundstorm])
def test_without_shares_they_do_not(make):
    whole, halves = (update(make, parts, by_shares=False) for parts in ([(0, 8)], [(0, 4), (4, 8)]))
    assert apart(whole, halves) > 1e-3


@pytest.mark.parametrize("make", [vocoder, soundstorm])
def test_a_batch_in_halves_counts_as_one(make):
    whole, quarters = (
        update(make, parts, limit)
        for parts, limit in (([(0, 8)], None), ([(0, 4), (4, 8)], MemoryLimit(too_large=1)))
    )
    assert apart(whole, quarters) < 1e-5
