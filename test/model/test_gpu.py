"""On a GPU, where there is one: what the CPU computes, without waiting; packed as padded."""

import warnings

import pytest
import torch
from tiny_models import noise, random_llama, tiny_encoder

from espnet_audiollm.data.prompt import AUDIO_SLOT
from espnet_audiollm.infer.generate import generate
from espnet_audiollm.model import packing
from espnet_audiollm.model.adapters import StackAdapter
from espnet_audiollm.model.audiollm import AudioLLMESPnetModel
from espnet_audiollm.model.beginnings import Beginnings
from espnet_audiollm.model.compiling import compile_layers
from espnet_audiollm.model.ctc import CTCESPnetModel
from espnet_audiollm.model.layers import decoder_layers
from espnet_audiollm.model.llm import LLM
from espnet_audiollm.model.normalize import UtteranceMVN
from espnet_audiollm.model.recompute import recompute_layers
from espnet_audiollm.train.epoch import sent

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
GPU = "cuda"
LENGTHS = [9_000, 48_000, 30_000, 16_000]
RESPONSES = [[4, 2], [5, 6, 7, 8, 9, 2], [8, 2], list(range(10, 60))]


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """float32 is float32: torch's default rounds what convolutions read to TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def small_llm(device, dtype=torch.float32, kv_heads=2) -> LLM:
    model = random_llama(
        100,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_key_value_heads=kv_heads,
        initializer_range=0.15,
    )
    return LLM(model.to(device, dtype), None, "small", "", "", (2,))


def alignment(
    device, dtype=torch.float32, packed=True, kv_heads=2, before=(1,)
) -> AudioLLMESPnetModel:
    encoder = tiny_encoder(dtype=torch.float32)
    encoder.normalize = UtteranceMVN()
    torch.manual_seed(1)
    model = AudioLLMESPnetModel(
        encoder,
        StackAdapter(16, 64),
        small_llm(device, dtype, kv_heads),
        [*before, AUDIO_SLOT, 5, 6],
        packed,
    )
    return model.to(device).train()


def data(target: str, rows: list[list[int]], device: str) -> dict:
    speech, lengths = noise(*LENGTHS, dtype=torch.float32)
    rows = [torch.tensor(row) for row in rows]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    batch = {
        "speech": speech.pin_memory() if device == GPU else speech,
        "speech_lengths": lengths,
        target: padded.pin_memory() if device == GPU else padded,
        f"{target}_lengths": torch.tensor([len(row) for row in rows]),
    }
    return sent(batch, device)


def step(model, batch, device, bf16=False):
    """Loss, and all gradients in one vector on the host."""
    model.zero_grad()
    with torch.autocast(device, torch.bfloat16, enabled=bf16):
        loss, _, _ = model(**batch)
    loss.backward()
    grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return loss.item(), torch.cat(grads).cpu()


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


@pytest.fixture
def gathered(monkeypatch):
    """Attention without FlashAttention's kernel."""

    def switch(on: bool) -> None:
        monkeypatch.setattr(packing, "_has_flash", (lambda device: False) if on else flash)

    flash = packing._has_flash
    return switch


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("packed", [True, False])
def test_float32_is_the_cpus(packed, kv_heads):
    loss, grad = step(
        alignment("cpu", packed=packed, kv_heads=kv_heads),
        data("response", RESPONSES, "cpu"),
        "cpu",
    )
    there = alignment(GPU, packed=packed, kv_heads=kv_heads)
    found, found_grad = step(there, data("response", RESPONSES, GPU), GPU)
    print(f"packed {packed} loss {found} {loss} gradient {distance(found_grad, grad):.2e}")
    assert abs(found - loss) < 1e-4 * loss and distance(found_grad, grad) < 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_packed_is_padded_in_bfloat16(gathered, dtype, kv_heads):
    """Flash, gathered and padded are as far from float32 as bfloat16 is."""
    batch = data("response", RESPONSES, GPU)
    loss, grad = step(alignment(GPU, kv_heads=kv_heads), batch, GPU)
    ways = {"flash": (True, False), "gathered": (True, True), "padded": (False, True)}
    for name, (packed, without) in ways.items():
        gathered(without)
        model = alignment(GPU, dtype, packed, kv_heads)
        found, found_grad = step(model, batch, GPU, bf16=True)
        print(name, dtype, f"loss {found} {loss} gradient {distance(found_grad, grad):.2e}")
        assert abs(found - loss) < 0.02 * loss, name
        assert distance(found_grad, grad) < 0.1, name


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("without_flash", [False, True])
def test_a_beginning_that_is_read_once(gathered, kv_heads, without_flash):
    """By the GPU's kernel for variable lengths, with more keys than queries, and without it: the
    gradients are as far from those of float32 as with a beginning in each sequence."""
    batch, before = data("response", RESPONSES, GPU), list(range(3, 43))
    here = alignment("cpu", kv_heads=kv_heads, before=before)
    loss, grad = step(here, data("response", RESPONSES, "cpu"), "cpu")
    gathered(without_flash)
    for dtype, bf16, near in ((torch.float32, False, 1e-3), (torch.bfloat16, True, 0.1)):
        for least in (None, 10**9):
            model = alignment(GPU, dtype, kv_heads=kv_heads, before=before)
            model.beginnings = Beginnings(least)
            found, found_grad = step(model, batch, GPU, bf16)
            print(dtype, least, f"loss {found} {loss} gradient {distance(found_grad, grad):.2e}")
            assert abs(found - loss) < 0.02 * loss
            assert distance(found_grad, grad) < near


def test_the_flash_kernel_runs(monkeypatch):
    calls = []

    def counted(*args, **options):
        calls.append(args[0].shape)
        return varlen(*args, **options)

    varlen = packing.varlen_attn
    monkeypatch.setattr(packing, "varlen_attn", counted)
    step(alignment(GPU, torch.bfloat16), data("response", RESPONSES, GPU), GPU, bf16=True)
    assert len(calls) == 3  # one a layer
    step(alignment(GPU), data("response", RESPONSES, GPU), GPU)
    assert len(calls) == 3  # float32 is not for it


@pytest.mark.parametrize("compiled", [False, True])
def test_recomputing_and_compiling_change_nothing(compiled):
    batch = data("response", RESPONSES, GPU)
    loss, grad = step(alignment(GPU), batch, GPU)
    model = alignment(GPU)
    layers = decoder_layers(model.llm.model)
    if compiled:
        compile_layers([*layers, *model.speech_encoder.encoder.layers])
    recompute_layers(model.llm.model)
    found, found_grad = step(model, batch, GPU)
    print(compiled, loss, found, distance(found_grad, grad))
    assert abs(found - loss) < 1e-4 * loss and distance(found_grad, grad) < 1e-3


@pytest.mark.parametrize("task", ["align packed", "align padded", "ctc"])
def test_a_step_does_not_wait(task):
    """transformers waits once for a padded mask, torch's CTC loss for lengths and targets."""
    if task == "ctc":
        encoder = tiny_encoder(dtype=torch.float32)
        model, batch = CTCESPnetModel(encoder, list("abcdef")), data("text", TEXTS, GPU)
        model = model.to(GPU).train()
    else:
        model = alignment(GPU, torch.bfloat16, task == "align packed")
        batch = data("response", RESPONSES, GPU)
    step(model, batch, GPU, bf16=True)  # the first time, libraries set themselves up
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        with torch.autocast(GPU, torch.bfloat16):
            loss, _, _ = model(**batch)
        loss.backward()
    torch.cuda.set_sync_debug_mode("default")
    waits = [f"{w.filename}:{w.lineno}" for w in found if "synchroniz" in str(w.message)]
    print(task, waits)
    assert len(waits) <= {"align packed": 0, "align padded": 1, "ctc": 8}[task]
    assert not any("espnet_audiollm" in wait for wait in waits)


TEXTS = [[1, 2], [3, 3, 4, 1, 2], [5, 1], [2, 2, 2]]


def test_ctc_is_the_cpus():
    results = {}
    for device in ("cpu", GPU):
        model = CTCESPnetModel(tiny_encoder(dtype=torch.float32), list("abcdef"))
        torch.manual_seed(2)
        torch.nn.init.normal_(model.ctc_out.weight)
        model = model.to(device).train()
        batch = data("text", TEXTS, device)
        loss, grad = step(model, batch, device)
        with torch.no_grad():
            _, stats, _ = model.eval()(**batch)
            log_p, frames_B = model.log_posteriors(batch["speech"], batch["speech_lengths"])
        best = [p.argmax(-1)[:n].tolist() for p, n in zip(log_p, frames_B.tolist(), strict=True)]
        results[device] = loss, grad, best, stats["piece_error"].item()
    (loss, grad, best, errors), found = results["cpu"], results[GPU]
    print(f"ctc loss {found[0]} {loss} gradient {distance(found[1], grad):.2e}")
    assert abs(found[0] - loss) < 1e-4 * loss and distance(found[1], grad) < 1e-3
    assert found[2:] == (best, errors)


@pytest.mark.parametrize("beam", [1, 3])
def test_generation_is_the_cpus(beam):
    prompts = [[1, 5, 6], [1, 7], [1, 9, 10, 11, 12, 13], [1, 4, 4]]
    there = generate(small_llm(GPU), prompts, 12, beam)
    here = generate(small_llm("cpu"), prompts, 12, beam)
    one_by_one = [generate(small_llm(GPU), [prompt], 12, beam)[0] for prompt in prompts]
    for answers in (here, one_by_one):
        assert [a.ids for a in there] == [a.ids for a in answers]
        assert [a.nats for a in there] == pytest.approx([a.nats for a in answers], rel=1e-3)
