"""Each task's forward pass on a GPU that is simulated: no tensor elsewhere, no wait of the host."""

import pytest
import torch
from simulated_gpu import GPU, SimulatedGPU
from tiny_models import noise, tiny_encoder, tiny_llama

from espnet_audiollm.data.prompt import AUDIO_SLOT
from espnet_audiollm.infer.decoder import Decoder
from espnet_audiollm.model import packing
from espnet_audiollm.model.adapters import ConvAdapter, QFormerAdapter, StackAdapter
from espnet_audiollm.model.audiollm import AudioLLMESPnetModel
from espnet_audiollm.model.beginnings import LEAST_ON_GPU
from espnet_audiollm.model.ctc import CTCESPnetModel
from espnet_audiollm.model.llm import LLM
from espnet_audiollm.model.normalize import UtteranceMVN
from espnet_audiollm.model.targets import Targets
from espnet_audiollm.train.epoch import sent

LENGTHS = [9_000, 16_000, 12_000]
LONG = list(range(3, 3 + LEAST_ON_GPU))  # what prompts begin with, enough to be read once


@pytest.fixture
def gpu():
    return SimulatedGPU()


def llm_on(gpu, dtype=torch.float32) -> LLM:
    model = gpu.move_module(tiny_llama(dtype=dtype))
    return LLM(model, None, "tiny", "", "", (2,))


def encoder_on(gpu):
    encoder = tiny_encoder(dtype=torch.float32)
    encoder.normalize = UtteranceMVN()
    return gpu.move_module(encoder)


def batch_on(gpu, target: str, *targets: list[int]):
    """As the trainer sends it: tensors there, lengths here."""
    speech, lengths = noise(*LENGTHS, dtype=torch.float32)
    rows = [torch.tensor(t) for t in targets]
    data = {
        "speech": speech,
        "speech_lengths": lengths,
        target: torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
        f"{target}_lengths": torch.tensor([len(row) for row in rows]),
    }
    with gpu:
        return sent(data, str(GPU))


def check(gpu, loss, stats, weight):
    for x in (loss, weight, *(v for v in stats.values() if v is not None)):
        assert x.device == GPU and x.shape == (1,)
    assert loss.dtype == torch.float32
    assert gpu.waits == []


@pytest.mark.parametrize("adapter", [StackAdapter, ConvAdapter, QFormerAdapter])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("flash", [True, False])
@pytest.mark.parametrize("before", [[1], LONG])
def test_alignment(gpu, monkeypatch, adapter, packed, flash, before):
    monkeypatch.setattr(packing, "_has_flash", lambda device: flash)
    llm = llm_on(gpu, torch.bfloat16)
    llm.model.config.head_dim = 4
    model = AudioLLMESPnetModel(
        encoder_on(gpu), gpu.move_module(adapter(16, 16)), llm, [*before, AUDIO_SLOT, 5], packed
    )
    batch = batch_on(gpu, "response", [4, 2], [5, 6, 7, 2], [8, 2])
    passes = []
    count = llm.model.base_model.register_forward_hook(lambda *args: passes.append(args))
    with gpu, count:
        for _ in range(2):
            check(gpu, *model(**batch))
    assert len(passes) == 2 + (packed and before == LONG)  # the beginning: once


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("before", [[1], LONG])
def test_alignment_with_every_target(gpu, packed, before):
    llm = llm_on(gpu)
    adapter, targets = gpu.move_module(StackAdapter(16, 16)), Targets(1.0, 1.0, 1.0, (1, -1))
    prompt = [*before, AUDIO_SLOT, 5]
    model = AudioLLMESPnetModel(encoder_on(gpu), adapter, llm, prompt, packed, targets)
    responses = [4, 2], [5, 6, 7, 2], [8, 2]
    rows = {
        "text_prompt": [[*before, 7, 5], [*before, 8, 9, 5], [*before, 5]],
        "teacher_ids": [[[token, 3] for token in response] for response in responses],
        "teacher_logp": [[[-0.5, -1.5, -2.0]] * len(response) for response in responses],
    }
    batch = batch_on(gpu, "response", *responses)
    for name, values in rows.items():
        batch |= {k: v for k, v in batch_on(gpu, name, *values).items() if k.startswith(name)}
    with gpu:
        check(gpu, *model(**batch))


def test_ctc(gpu, monkeypatch):
    def ctc_loss(log_posterior_TBV, text_BL, frames_B, lengths_B, **options):
        """torch's own has no simulation; it wants its lengths on the host."""
        assert frames_B.device.type == lengths_B.device.type == "cpu"
        assert log_posterior_TBV.device == text_BL.device == GPU
        return log_posterior_TBV.sum()

    monkeypatch.setattr(torch.nn.functional, "ctc_loss", ctc_loss)
    model = CTCESPnetModel(encoder_on(gpu), list("abcdef"))
    model.ctc_out = gpu.move_module(model.ctc_out)
    batch = batch_on(gpu, "text", [1, 2], [3, 3, 4], [5])
    with gpu:
        check(gpu, *model.train()(**batch))


def test_ctc_posteriors(gpu):
    model = CTCESPnetModel(encoder_on(gpu), list("abcdef")).eval()
    model.ctc_out = gpu.move_module(model.ctc_out)
    batch = batch_on(gpu, "text", [1], [1], [1])
    with gpu:
        log_posterior_BTV, frames_B = model.log_posteriors(batch["speech"], batch["speech_lengths"])
        best_BT = log_posterior_BTV.argmax(-1)
    assert best_BT.device == GPU and gpu.waits == []
    assert frames_B.tolist() == [7, 13, 10]  # halved three times, rounded up: 54, 98, 73 of 10 ms


def test_generation(gpu):
    llm = llm_on(gpu)
    with gpu:
        rows = [torch.zeros(n, 16, device=GPU) for n in (3, 5)]
        decoder = Decoder(llm)
        logp_BV = decoder.read(rows)
        decoder.select([1])
        logp_BV = decoder.step(logp_BV.argmax(-1)[:1])
    assert logp_BV.device == GPU and logp_BV.shape == (1, 40)


def test_two_devices_are_an_error(gpu):
    with gpu, pytest.raises(RuntimeError, match="device"):
        torch.zeros(3, device=GPU) + torch.zeros(3)


def test_waits_are_counted(gpu):
    with gpu:
        x = torch.zeros(3).to(GPU)
        x.cpu()
        torch.zeros(3).to(GPU, non_blocking=True)
        with pytest.raises(Exception, match="item|scalar|Data"):
            int(x.max())
    assert len(gpu.waits) == 2
