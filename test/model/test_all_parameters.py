"""Models that say so give every trained parameter a gradient in each step: DDP relies on it."""

import pytest
import torch
from tiny_models import noise, tiny_encoder, tiny_llama

from espnet_audiollm.data.prompt import AUDIO_SLOT
from espnet_audiollm.model.adapters import StackAdapter
from espnet_audiollm.model.audiollm import AudioLLMESPnetModel
from espnet_audiollm.model.bestrq import BestRQESPnetModel
from espnet_audiollm.model.ctc import CTCESPnetModel
from espnet_audiollm.model.llm import LLM
from espnet_audiollm.model.random_quantiser import RandomQuantiser
from espnet_audiollm.model.speechlm import SpeechLMESPnetModel
from espnet_audiollm.model.tuning import EmbeddingWithRows, HeadWithRows

FLOAT = torch.float32


def llm():
    return LLM(tiny_llama(dtype=FLOAT), None, "tiny", "", "", (2,))


def align(adapter=StackAdapter):
    made = adapter(16, 16), llm(), [1, AUDIO_SLOT, 5]
    options = dict(num_pieces=7, ctc_weight=0.5, normalize_audio=True)
    return AudioLLMESPnetModel(tiny_encoder(FLOAT), *made, **options)


def bestrq():
    quantiser = RandomQuantiser(bands=80, subsampling=8, codes=8, codebooks=2)
    return BestRQESPnetModel(tiny_encoder(FLOAT), quantiser, mask_prob=0.5)


def speech_lm(rows=False):
    tuned = llm()
    if rows:  # of tokens that are not in the batch
        embedding, head = tuned.model.get_input_embeddings(), tuned.model.get_output_embeddings()
        tuned.model.set_input_embeddings(EmbeddingWithRows(embedding, 38, parameter(2, 16)))
        tuned.model.set_output_embeddings(HeadWithRows(head, 38, parameter(2, 16)))
    else:
        tuned.model.requires_grad_(True)
    return SpeechLMESPnetModel(tuned, {})


def parameter(*shape):
    return torch.nn.Parameter(torch.randn(*shape))


def batch():
    speech, samples = noise(24_000, 16_000, dtype=FLOAT)
    return {
        "speech": speech,
        "speech_lengths": samples,
        "prompt": torch.tensor([[1, AUDIO_SLOT, 5]] * 2),
        "prompt_lengths": torch.tensor([3, 3]),
        "response": torch.randint(3, 30, (2, 4)),
        "response_lengths": torch.tensor([4, 2]),
        "text": torch.randint(1, 7, (2, 3)),
        "text_lengths": torch.tensor([3, 1]),
    }


@pytest.mark.parametrize(
    "build",
    [
        lambda: CTCESPnetModel(tiny_encoder(FLOAT), ["<blank>", *"abcdef"]),
        bestrq,
        align,
        speech_lm,
        lambda: speech_lm(rows=True),
    ],
)
def test_every_trained_parameter_has_a_gradient(build):
    model, data = build().train(), batch()
    if isinstance(model, SpeechLMESPnetModel):
        data["prompt"] = data["prompt"].clamp(min=1)
    loss, _, _ = model(**data)
    loss.backward()
    assert model.uses_all_parameters
    assert not [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]


def test_nothing_is_known_of_an_encoder_that_does_not_say():
    model = align()
    model.speech_encoder.encoder.uses_all_parameters = False
    assert not model.uses_all_parameters


def test_an_adapter_speaks_for_itself():
    class Idle(StackAdapter):
        uses_all_parameters = False

    assert not align(Idle).uses_all_parameters
