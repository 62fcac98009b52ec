"""The alignment's loss for examples with prompts of their own, and several recordings."""

import pytest
import torch
from simulated_gpu import GPU, SimulatedGPU
from tiny_models import noise, tiny_encoder, tiny_llama

from espnet_audiollm.data.prompt import AUDIO_SLOT
from espnet_audiollm.model.adapters import StackAdapter
from espnet_audiollm.model.audiollm import AudioLLMESPnetModel
from espnet_audiollm.model.llm import LLM
from espnet_audiollm.model.masking import split_rows
from espnet_audiollm.model.response_loss import embed_prompt, response_nats
from espnet_audiollm.train.epoch import sent

PROMPTS = [[1, AUDIO_SLOT, 5], [1, 7, AUDIO_SLOT, 8, 9, AUDIO_SLOT, 5], [AUDIO_SLOT, 3, 3]]
RECORDINGS = [[9_000], [7_000, 16_000], [12_000]]  # samples
RESPONSES = [[4, 2], [5, 6, 7, 2], [8, 2]]


@pytest.fixture
def model():
    llm = LLM(tiny_llama(), None, "tiny", "", "", (2,))
    torch.manual_seed(0)
    adapter = StackAdapter(16, 16).double()
    return AudioLLMESPnetModel(tiny_encoder(), adapter, llm, PROMPTS[0]).eval()


def padded(rows):
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def lengths(rows):
    return torch.tensor([len(row) for row in rows])


def batch_of(numbers, recordings=RECORDINGS):
    """As the loader makes it: the recordings of an example end to end."""
    waves, _ = noise(*(n for row in recordings for n in row))
    left, joined = iter(waves), []
    for row in recordings:
        joined.append(torch.cat([next(left)[:n] for n in row]))
    some = [joined[i] for i in numbers]
    data = {
        "speech": torch.nn.utils.rnn.pad_sequence(some, batch_first=True),
        "speech_lengths": lengths(some),
        "recording_samples": padded([recordings[i] for i in numbers]),
    }
    for name, rows in (("prompt", PROMPTS), ("response", RESPONSES)):
        data |= {name: padded([rows[i] for i in numbers])}
        data |= {f"{name}_lengths": lengths([rows[i] for i in numbers])}
    return data


def test_each_recording_stands_in_its_slot(model):
    """The loss is the mean over tokens of what each example costs when put together by hand."""
    loss, stats, weight = model(**batch_of([0, 1, 2]))
    waves, samples = noise(*(n for row in RECORDINGS for n in row))
    audios = [
        model.encode_audio(w[None, :n], [int(n)])[0] for w, n in zip(waves, samples, strict=True)
    ]
    by_hand = [[audios[0]], [audios[1], audios[2]], [audios[3]]]
    llm = model.llm.model
    nats = [
        response_nats(llm, [embed_prompt(llm, prompt, heard)], [torch.tensor(response)])[0]
        for prompt, heard, response in zip(PROMPTS, by_hand, RESPONSES, strict=True)
    ]
    torch.testing.assert_close(loss, torch.cat(nats).mean()[None])
    assert weight.item() == 8
    positions = sum(map(len, audios)) / 4
    torch.testing.assert_close(stats["audio_positions"].item(), positions)


def test_a_batch_is_its_examples(model):
    together, _, _ = model(**batch_of([0, 1, 2]))
    alone = [model(**batch_of([i])) for i in range(3)]
    mean = sum(loss * weight for loss, _, weight in alone) / sum(weight for _, _, weight in alone)
    torch.testing.assert_close(together, mean)


def test_without_prompts_it_is_the_training_prompt(model):
    data = batch_of([0])
    plain = {k: v for k, v in data.items() if not k.startswith(("prompt", "recording"))}
    assert torch.equal(model(**plain)[0], model(**data)[0])


def test_prompts_and_recordings_that_do_not_fit(model):
    data = batch_of([0, 1, 2])
    del data["recording_samples"]
    with pytest.raises(ValueError, match="3 prompts have 4 audio slots, but 3 recordings came"):
        model(**data)
    short = {**batch_of([0, 1]), "recording_samples": padded([[9_000], [7_000, 15_999]])}
    with pytest.raises(ValueError, match="1 of 2 examples .*first: 23000 samples, not 22999.*7"):
        model(**short)


def test_rows_are_split_by_hand():
    rows, number = split_rows(torch.tensor([[1, 2, 3], [4, 5, 0]]), [3, 2], [[1, 2], [2, 0]])
    assert rows.tolist() == [[1, 0], [2, 3], [4, 5]] and number.tolist() == [1, 2, 2]


def test_nothing_waits_for_the_gpu():
    gpu = SimulatedGPU()
    llm = LLM(gpu.move_module(tiny_llama(dtype=torch.float32)), None, "tiny", "", "", (2,))
    encoder = gpu.move_module(tiny_encoder(dtype=torch.float32))
    model = AudioLLMESPnetModel(encoder, gpu.move_module(StackAdapter(16, 16)), llm, PROMPTS[0])
    data = batch_of([0, 1, 2])
    data["speech"] = data["speech"].float()
    with gpu:
        loss, _, _ = model(**sent(data, str(GPU)))
    assert loss.device == GPU and gpu.waits == []
