"""A step's memory is predicted without values as a step with values needs it."""

import pytest
import torch
from tiny_models import noise, tiny_encoder, tiny_llama

from espnet_audiollm.data.prompt import AUDIO_SLOT
from espnet_audiollm.model import step_memory as parts
from espnet_audiollm.model.adapters import StackAdapter
from espnet_audiollm.model.attention import as_on_gpu
from espnet_audiollm.model.audiollm import AudioLLMESPnetModel
from espnet_audiollm.model.ctc import CTCESPnetModel
from espnet_audiollm.model.live_bytes import LiveBytes, Pretended
from espnet_audiollm.model.llm import LLM
from espnet_audiollm.model.normalize import UtteranceMVN
from espnet_audiollm.model.recompute import recompute_layers
from espnet_audiollm.model.step_memory import frozen_bytes, parameters, step_memory
from espnet_audiollm.model.targets import Targets

HIDDEN = Targets(1.0, 0.0, 1.0)


def encoder(width=32, **options):
    made = tiny_encoder(
        torch.float32, output_size=width, linear_units=4 * width, dropout_rate=0.1, **options
    )
    made.normalize = UtteranceMVN()
    return made


def alignment(packed=True, recompute=False, targets=None, before=(1, 3), **options):
    llm = tiny_llama(dtype=torch.float32)
    if recompute:
        recompute_layers(llm)
    model = AudioLLMESPnetModel(
        encoder(activation_checkpointing=recompute, **options),
        StackAdapter(32, 16),
        LLM(llm, None, "tiny", "", "", (2,)),
        [*before, AUDIO_SLOT, 5],
        packed,
        targets or Targets(),
    )
    return model.train()


def batch(seconds=(2.0, 3.0, 0.7), responses=(30, 80, 10), targets=None):
    speech, lengths = noise(*(round(s * 16_000) for s in seconds), dtype=torch.float32)
    rows = [torch.randint(3, 40, (n,)) for n in responses]
    found = {
        "speech": speech,
        "speech_lengths": lengths.tolist(),
        "response": torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
        "response_lengths": list(responses),
    }
    if targets:
        found["text_prompt"] = torch.randint(3, 40, (len(rows), 12)).tolist()
        found["text_prompt_lengths"] = [12, 9, 7]
    return found


def measured(model, data, amp=False, accumulated=False) -> int:
    """The peak of a real step after an update: all of its tensors."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    learn(model, data, amp)
    optimizer.step()
    optimizer.zero_grad()
    if accumulated:
        learn(model, data, amp)
    llm = [*parameters(model.llm.model)] if hasattr(model, "llm") else []
    states = [value for state in optimizer.state.values() for value in state.values()]
    grads = [p.grad for p in model.parameters()]
    with LiveBytes() as counted:
        counted.count([*parameters(model), *llm, *states, *data.values(), *grads])
        del grads
        learn(model, data, amp)
        optimizer.step()
    return counted.peak


def learn(model, data, amp):
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        loss, _, _ = model(**data)
    loss.backward()


def predicted(model, data, **options):
    def adam(copy):
        return torch.optim.Adam(copy.parameters())

    return step_memory(model, data, adam, **{"gpu": False, **options})


@pytest.mark.parametrize(
    ("model", "data", "options"),
    [
        ({}, {}, {}),
        ({}, {}, {"amp": True}),
        ({}, {"responses": (400, 300, 500)}, {}),
        ({"recompute": True}, {"responses": (400, 300, 500)}, {}),
        ({"num_blocks": 5}, {"seconds": (6.0, 5.0, 6.0)}, {"accumulated": True}),
        ({"num_blocks": 5, "recompute": True}, {"seconds": (6.0, 5.0, 6.0)}, {"amp": True}),
        ({"packed": False}, {"responses": (400, 10, 10)}, {}),
        ({"targets": HIDDEN}, {"targets": HIDDEN}, {}),
        ({"before": [3] * 200}, {"responses": (40, 30, 50)}, {}),  # read once
        ({"before": [3] * 200, "recompute": True}, {"responses": (40, 30, 50)}, {"amp": True}),
    ],
)
def test_an_alignment_step_takes_what_was_predicted(model, data, options):
    model, data = alignment(**model), batch(**data)
    found = predicted(model, data, **options)
    assert found.bytes == pytest.approx(measured(model, data, **options), rel=0.01)


def test_attention_is_counted_as_on_a_gpu():
    """There it is in bfloat16 under autocast; on a processor in float32."""
    model, data = alignment(num_blocks=3), batch()
    on_gpu = predicted(model, data, amp=True, gpu=True)
    here = predicted(model, data, amp=True)
    assert on_gpu.peaks[parts.LAYERS][parts.LAYERS] < here.peaks[parts.LAYERS][parts.LAYERS]
    with as_on_gpu():
        assert on_gpu.bytes == pytest.approx(measured(model, data, amp=True), rel=0.01)


@pytest.mark.parametrize("amp", [False, True])
def test_a_ctc_step_takes_what_was_predicted(amp):
    model = CTCESPnetModel(encoder(num_blocks=4), list(map(str, range(300)))).train()
    data = batch(seconds=(4.0, 3.0, 0.7), responses=(20, 15, 5))
    data = {name.replace("response", "text"): value for name, value in data.items()}
    found = predicted(model, data, amp=amp)
    assert found.bytes == pytest.approx(measured(model, data, amp), rel=0.01)
    assert found.positions == 0 and found.predicted == 3 * 50


def test_recomputing_takes_less_where_the_layers_take_most():
    long = batch(responses=(600, 500, 600))
    kept, again = predicted(alignment(), long), predicted(alignment(recompute=True), long)
    kept, again = kept.peaks[parts.BACKWARD], again.peaks[parts.BACKWARD]
    assert again[parts.LAYERS] < kept[parts.LAYERS] / 4
    assert sum(again.values()) < sum(kept.values())


def test_parts_by_hand():
    """Sizes, Adam's two moments and its step, the gradients before the step and DDP's."""
    model, data = alignment(), batch()
    found = predicted(model, data, accumulated=True, distributed=True)
    trained = sum(p.numel() for p in model.parameters())
    buffers = sum(b.numel() for b in model.buffers())
    tensors = len(list(model.parameters()))
    assert found.trained == trained
    assert found.parts[parts.TRAINED] == 4 * (trained + buffers)
    assert found.parts[parts.OPTIMIZER] == 4 * (2 * trained + tensors)
    assert found.parts[parts.HELD] == 2 * 4 * trained
    assert found.audio == 3 * 48_000 and found.predicted == 30 + 80 + 10
    # 3 s are 298 frames of 10 ms and 38 of 80; 3 tokens of the prompt; the last one is not read
    needed = (25 + 38 + 9) + 3 * 3 + (29 + 79 + 9)
    assert found.positions == needed + 2  # spare ones, to a multiple of 4
    assert predicted(model, data, gpu=True).positions == needed
    assert sum(found.parts.values()) == found.bytes


def test_a_share_of_the_llm():
    """Two layers of 1,952 weights, in 32 bits: half of them, and two complete."""
    llm = tiny_llama(dtype=torch.float32)
    layer = sum(p.numel() for p in llm.model.layers[0].parameters())
    full = sum(4 * t.numel() for t in parameters(llm))
    assert frozen_bytes(llm) == full
    assert frozen_bytes(llm, 2) == full - 4 * 2 * layer + 4 * layer + 4 * 2 * layer


def test_the_model_is_not_touched():
    model, data = alignment(), batch()
    before = [p.clone() for p in model.parameters()]
    predicted(model, data)
    assert all(map(torch.equal, before, model.parameters()))
    assert all(p.grad is None for p in model.parameters())


def test_no_weight_is_copied(monkeypatch):
    """Of the LLM neither: a 7B would not fit twice."""
    model, copies = alignment(), []
    monkeypatch.setattr(torch.Tensor, "__deepcopy__", lambda tensor, memo: copies.append(tensor))
    monkeypatch.setattr(torch.nn.Parameter, "__deepcopy__", lambda p, memo: copies.append(p))
    predicted(model, batch())
    assert not copies


def test_bytes_live_until_nothing_holds_them():
    with LiveBytes() as counted:
        kept = torch.ones(1000)
        for _ in range(3):
            torch.ones(500).sum()
        view = kept[:10]
        assert counted.total == 4000
        del kept, view
        assert counted.total == 0
    assert counted.peak == 4000 + 2000 + 4


def test_a_value_that_is_not_there_is_an_error():
    counted = Pretended()
    with counted, pytest.raises(RuntimeError):
        counted.empty(3).sum().item()


def test_what_the_peak_is_of():
    peaks = {parts.BACKWARD: {"a": 3, "b": 0, "c": 4}, parts.UPDATE: {"a": 6}}
    found = parts.StepMemory(peaks, trained=1, audio=1, positions=1, predicted=1)
    assert (found.where, found.bytes, found.parts) == (parts.BACKWARD, 7, {"a": 3, "c": 4})
