"""What a training says of its memory, beside what it used."""

import logging
from types import SimpleNamespace

import pytest
import torch
from tiny_models import noise, tiny_encoder

from espnet_audiollm.model.ctc import CTCESPnetModel
from espnet_audiollm.train import muon, predicted_memory
from espnet_audiollm.train.epoch import Batches, sent
from espnet_audiollm.train.predicted_memory import alike, log_memory


def batch(*lengths):
    speech, samples = noise(*lengths, dtype=torch.float32)
    text = torch.ones(len(lengths), 4, dtype=torch.int64)
    lengths = {"speech_lengths": samples, "text_lengths": torch.tensor([4] * len(samples))}
    return {"speech": speech, "text": text, **lengths}


@pytest.fixture
def session():
    model = CTCESPnetModel(tiny_encoder(torch.float32), ["a", "b", "c"]).train()
    return SimpleNamespace(
        model=model,
        optimizers=[torch.optim.Adam(model.parameters(), lr=0.5, betas=(0.8, 0.9))],
        options=SimpleNamespace(ngpu=1, use_amp=True, accum_grad=2),
        ranks=SimpleNamespace(number=1),
    )


@pytest.fixture
def used(monkeypatch):
    monkeypatch.setattr(predicted_memory, "peak_gpu_memory", lambda device: 3_000_000_000)


def test_the_log_says_both(session, used, caplog):
    with caplog.at_level(logging.INFO):
        found = log_memory(session, sent(batch(16_000, 9_000), "meta"))
    trained = 4 * sum(p.numel() for p in session.model.parameters())
    assert found > 4 * trained  # weights, two moments, gradients of the batch before
    assert "3.00 GB used at most" in caplog.text and "trained weights" in caplog.text


def test_what_cannot_be_predicted_ends_no_training(session, used, caplog):
    assert log_memory(session, {"speech": torch.zeros(1)}) == 0
    assert "not predicted: TypeError" in caplog.text


def test_nothing_without_a_gpu(session, caplog):
    session.options.ngpu = 0
    assert log_memory(session, sent(batch(16_000), "meta")) == 0
    assert caplog.text == ""


def test_the_copy_has_the_optimizers_options(session):
    copy = CTCESPnetModel(tiny_encoder(torch.float32), ["a", "b", "c"])
    (made,) = alike(session.optimizers[0], session.model, copy).param_groups
    assert (made["lr"], made["betas"], made["foreach"]) == (0.5, (0.8, 0.9), True)
    assert list(map(id, made["params"])) == list(map(id, copy.parameters()))
    of_muon = muon.Muon(muon.groups(session.model.named_parameters(), "speech_encoder"), lr=0.1)
    made = alike(of_muon, session.model, copy)
    assert [group["orthogonal"] for group in made.param_groups] == [True, False]


def test_the_largest_batch_is_remembered():
    loader = [(["a"], batch(9_000)), (["b", "c"], batch(16_000, 9_000)), (["d"], batch(16_000))]
    batches = Batches("train", loader, lambda done: False)
    assert len(list(batches)) == 3
    assert batches.largest["speech_lengths"] == [16_000, 9_000]
    assert batches.largest["speech"].device.type == "meta"
