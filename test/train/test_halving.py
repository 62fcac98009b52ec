"""A batch that memory does not hold: the same gradient, in parts that are remembered.

Memory is short for real: the process may not ask for more (RLIMIT_AS)."""

import logging

import pytest
import torch
from damage import memory_limit
from interruptions import ask, assert_same
from tiny_models import noise, tiny_encoder, tiny_llama
from tiny_tasks import ENCODER, ctc_options

from espnet_audiollm.data.prompt import AUDIO_SLOT
from espnet_audiollm.model.adapters import StackAdapter
from espnet_audiollm.model.audiollm import AudioLLMESPnetModel
from espnet_audiollm.model.ctc import CTCESPnetModel
from espnet_audiollm.model.llm import LLM
from espnet_audiollm.tasks.ctc import CTCTask
from espnet_audiollm.train import checkpoints, supervision
from espnet_audiollm.train.accumulate import AccumulatedMean
from espnet_audiollm.train.halving import Halving, MemoryLimit, halves, size_of
from espnet_audiollm.train.ranks import Ranks

MIB = 1 << 20


class Allocate(torch.autograd.Function):
    """The identity, which asks for memory for each example in one of the passes."""

    @staticmethod
    def forward(ctx, x, phase, example):
        ctx.phase, ctx.example = phase, example
        if phase == "forward":
            torch.empty(len(x), example, dtype=torch.uint8)
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        if ctx.phase == "backward":
            torch.empty(len(grad), ctx.example, dtype=torch.uint8)
        return grad, None, None


class Hungry(torch.nn.Module):
    """Mean square of a linear layer's outputs over tokens, with dropout if asked for."""

    def __init__(self, phase="", dropout=0.0, example=96 * MIB):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.unused = torch.nn.Linear(3, 2), torch.nn.Linear(2, 2)
        self.phase, self.dropout, self.attempts = phase, torch.nn.Dropout(dropout), []
        self.example = example

    def forward(self, speech, speech_lengths, utt_id=()):
        self.attempts.append(len(speech))
        y = Allocate.apply(self.dropout(self.linear(speech)), self.phase, self.example)
        rows = [row[:n].square().sum() for row, n in zip(y, speech_lengths, strict=True)]
        weight = torch.tensor(float(sum(speech_lengths)))
        loss = torch.stack(rows).sum() / weight
        return loss, {"loss": loss.detach()}, weight


def batch_of(lengths):
    generator = torch.Generator().manual_seed(1)
    speech = torch.randn(len(lengths), max(lengths), 3, generator=generator)
    names = [f"utt{i}" for i in range(len(lengths))]
    return {"speech": speech, "speech_lengths": lengths, "utt_id": names}


BATCH = batch_of([5, 4, 4, 3, 2, 2, 1, 1])


def learned(module, batches=(BATCH,)):
    """The last loss, and the gradients of all batches."""
    module.train()
    for batch in batches:
        loss, stats, weight = module(**batch)
        (loss.sum() / len(batches)).backward()
    return loss.detach(), [p.grad for p in module.parameters()]


def assert_close(one, two):
    assert [g is None for g in one] == [g is None for g in two]
    for a, b in zip(one, two, strict=True):
        if a is not None:
            torch.testing.assert_close(a, b)


def assert_equal(one, two):
    for a, b in zip(one, two, strict=True):
        assert a is b is None or torch.equal(a, b)


def test_what_fits_is_as_it_was_bit_for_bit():
    plain, wrapped = learned(Hungry()), learned(Halving(Hungry(), MemoryLimit()))
    assert torch.equal(plain[0], wrapped[0])
    assert_equal(plain[1], wrapped[1])


@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_a_batch_that_does_not_fit_has_the_same_gradient(phase, caplog):
    expected = learned(Hungry())
    module, limit = Hungry(phase), MemoryLimit()
    halving = Halving(module, limit)
    with memory_limit(300 * MIB), caplog.at_level(logging.WARNING):
        found = learned(halving)  # 768 MiB; halves: 384; quarters: 192
    assert_close(expected[1], found[1])
    torch.testing.assert_close(expected[0], found[0])
    assert sorted(module.attempts, reverse=True)[:1] == [8]
    assert module.attempts.count(2) >= 2  # quarters
    assert "8 (first: utt0" in caplog.text and "--batch_bins" in caplog.text
    module.attempts.clear()
    with memory_limit(300 * MIB):
        learned(halving)
    assert 8 not in module.attempts  # remembered


def test_accumulated_batches_are_one_large_one():
    batches = [BATCH, batch_of([3, 1])]
    expected = learned(AccumulatedMean(Hungry(), 2, Ranks()), batches)
    halving = Halving(Hungry("backward"), MemoryLimit())
    with memory_limit(300 * MIB):
        found = learned(AccumulatedMean(halving, 2, Ranks()), batches)
    assert_close(expected[1], found[1])


@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_an_attempt_that_failed_leaves_no_trace(phase):
    """Whoever goes on from a checkpoint knows the limit, and draws the same random numbers."""
    limit, batches = MemoryLimit(), [batch_of([4] * 8)]
    torch.manual_seed(3)
    with memory_limit(300 * MIB):
        found = learned(Halving(Hungry(phase, dropout=0.5), limit), batches)
    after = torch.get_rng_state()
    torch.manual_seed(3)
    again = learned(Halving(Hungry(dropout=0.5), MemoryLimit(limit.too_large)), batches)
    assert torch.equal(after, torch.get_rng_state())
    assert_equal(found[1], again[1])


def test_one_example_that_does_not_fit_is_named():
    # More than an earlier test may have given back, which no limit keeps from being used again.
    halving = Halving(Hungry("forward", example=8192 * MIB), MemoryLimit())
    with memory_limit(60 * MIB), pytest.raises(ValueError, match=r"utt0 \(0.0 s.*--max_audio"):
        learned(halving)


def test_other_errors_are_not_taken_for_want_of_memory():
    wrong = {**BATCH, "speech": torch.zeros(8, 5, 4)}
    halving = Halving(Hungry(), MemoryLimit())
    with pytest.raises(RuntimeError, match="shapes"):
        learned(halving, [wrong])
    assert halving.limit.too_large is None


def test_parts_have_no_padding_of_others():
    first, second = halves(batch_of([9, 8, 2]))
    assert first["speech"].shape == (1, 9, 3) and first["utt_id"] == ["utt0"]
    assert second["speech"].shape == (2, 8, 3) and second["speech_lengths"] == [8, 2]
    assert size_of(second) == 16


def test_the_alignment_with_a_ctc_loss_in_parts():
    """Responses and transcripts are of unlike lengths: each term keeps its own mean."""
    llm = LLM(tiny_llama(), None, "tiny", "", "", (2,))
    torch.manual_seed(0)
    model = AudioLLMESPnetModel(
        tiny_encoder(),
        StackAdapter(16, 16).double(),
        llm,
        [1, AUDIO_SLOT, 5],
        num_pieces=7,
        ctc_weight=0.5,
    ).double()
    speech, samples = noise(40_000, 32_000, 20_000, 16_000)
    batch = {
        "speech": speech,
        "speech_lengths": [int(n) for n in samples],
        "response": torch.randint(3, 9, (4, 6)),
        "response_lengths": [2, 6, 5, 3],
        "text": torch.randint(1, 7, (4, 4)),
        "text_lengths": [4, 1, 1, 2],
        "utt_id": ["a", "b", "c", "d"],
    }
    model.train()
    loss, stats, _ = model(**batch)
    loss.backward()
    expected = [p.grad for p in model.parameters()]
    model.zero_grad()
    halving = Halving(model, MemoryLimit(too_large=1), model.term_counts).train()
    in_parts, of_parts, weight = halving(**batch)
    in_parts.backward()
    assert weight.item() == 16
    torch.testing.assert_close(loss.detach(), in_parts.detach())
    torch.testing.assert_close(stats["ctc_loss"], of_parts["ctc_loss"])
    assert_close(expected, [p.grad for p in model.parameters()])


# --- in a training ------------------------------------------------------------------------------

RANDOM = {
    "encoder_conf": {**ENCODER["encoder_conf"], "dropout_rate": 0.1},
    "batch_size": 2,
    "max_epoch": 2,
}


@pytest.mark.usefixtures("requests")
def test_a_training_goes_on_with_what_it_knows(data, tmp_path, at_beat, monkeypatch):
    """Two examples at a time are too many. Interrupted or not, it ends with the same bits."""
    real, too_many = CTCESPnetModel.forward, []

    def forward(self, speech, *args, **kwargs):
        if self.training and len(speech) > 1:
            too_many.append(len(speech))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return real(self, speech, *args, **kwargs)

    monkeypatch.setattr(CTCESPnetModel, "forward", forward)

    def train(directory):
        CTCTask.main(cmd=[*ctc_options(data, directory, **RANDOM), "--resume", "true"])

    train(tmp_path / "undisturbed")
    at_beat(2, ask)
    train(tmp_path / "interrupted")
    supervision.install().signalled = False
    train(tmp_path / "interrupted")
    (newest, *_) = checkpoints.resumable(tmp_path / "undisturbed")
    assert checkpoints.load(newest)["too_large"] and len(too_many) >= 2
    assert_same(tmp_path / "undisturbed", tmp_path / "interrupted", int(newest.stem.split("_")[1]))
