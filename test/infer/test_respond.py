"""The identity: audio that says exactly what the text says draws exactly the text's answer.

Everything is the code that runs in stages 7 and 10; only the encoder is replaced by one that looks
the transcript's own embeddings up.
"""

import numpy as np
import pytest
import soundfile
import torch
from chat_llms import chatml_trained, llama2_trained, llama3_trained, tiny_llama

from espnet_audiollm.data.prompt import AUDIO_SLOT, encode, user_prompt
from espnet_audiollm.infer.batches import by_length
from espnet_audiollm.infer.generate import generate
from espnet_audiollm.infer.respond import answers, audio_prompts, text_prompts, transcript_ids
from espnet_audiollm.model.audiollm import AudioLLMESPnetModel
from espnet_audiollm.model.llm import wrap
from espnet_audiollm.model.response_loss import embed_prompt, response_logits
from espnet_audiollm.types import Audio, Response, Utterance

TEXTS = {"a": "what is the capital of france ?", "b": "the cat ran", "c": "Hello"}


class Oracle(torch.nn.Module):
    """Stands for encoder and adapter: the length of the audio says which transcript it holds."""

    def __init__(self, llm):
        super().__init__()
        self.tables = {
            1_000 + i: embed_prompt(llm.model, transcript_ids(llm, text, None))
            for i, text in enumerate(TEXTS.values())
        }

    def forward(self, x, lengths_B):
        if x.dim() == 2:  # as the speech encoder: hand the lengths on
            return x[..., None], lengths_B
        heard = [self.tables[n] for n in lengths_B.tolist()]
        padded = torch.nn.utils.rnn.pad_sequence(heard, batch_first=True)
        return padded, torch.tensor([len(h) for h in heard])


@pytest.fixture(params=[llama2_trained, llama3_trained, chatml_trained])
def llm(request):
    tokenizer = request.param()
    return wrap(tiny_llama(len(tokenizer)), tokenizer, "tiny")


@pytest.fixture
def heard(llm):
    oracle = Oracle(llm)
    prompt = encode(user_prompt(Audio()), llm.tokenizer)
    return AudioLLMESPnetModel(oracle, oracle, llm, prompt)


@pytest.fixture
def utterances(tmp_path):
    made = []
    for i, (id_, text) in enumerate(TEXTS.items()):
        soundfile.write(tmp_path / f"{id_}.wav", np.zeros(1_000 + i), 16_000)
        made.append(Utterance(id_, str(tmp_path / f"{id_}.wav"), "s", 1.0, text))
    return made


@pytest.fixture
def references(llm):
    """The LLM's own answers to the texts."""
    prompts = [encode(user_prompt(text), llm.tokenizer) for text in TEXTS.values()]
    made = generate(llm, prompts, 6)
    return {
        id_: Response(id_, TEXTS[id_], "", g.ids, g.finish_reason)
        for id_, g in zip(TEXTS, made, strict=True)
    }


def test_logits_are_the_texts(llm, heard, utterances, references):
    ((ids, prompts),) = audio_prompts(heard, utterances)
    responses = [torch.tensor(references[i].response_ids) for i in ids]
    by_audio = response_logits(llm.model, prompts, responses)
    start = 0
    for id_, response_R in zip(ids, responses, strict=True):
        text = encode(user_prompt(TEXTS[id_]), llm.tokenizer)
        assert AUDIO_SLOT not in text
        whole = torch.tensor([text + response_R.tolist()])
        by_text = llm.model(whole).logits[0, len(text) - 1 : -1]
        ours = by_audio[start : start + len(response_R)]
        torch.testing.assert_close(ours, by_text, rtol=1e-5, atol=1e-5)
        start += len(response_R)


def test_answers_and_costs_are_the_texts(llm, heard, utterances, references):
    def run(prompts):
        batches = answers(llm, prompts, references, lambda id_: "", max_tokens_factor=1.0)
        return {a.response.id: a for batch in batches for a in batch}

    by_audio = run(audio_prompts(heard, utterances))
    by_text = run(text_prompts(llm, TEXTS, None))
    assert by_audio.keys() == by_text.keys() == TEXTS.keys()
    for id_ in TEXTS:
        assert by_audio[id_].response.response_ids == by_text[id_].response.response_ids
        assert by_audio[id_].reference_nats == pytest.approx(by_text[id_].reference_nats, rel=1e-4)
        assert by_audio[id_].reference_tokens == len(references[id_].response_ids)


def test_training_loss_is_the_references_cost(llm, heard, utterances, references):
    """The loss that training minimises is the perplexity that scoring reports."""
    lengths_B = torch.tensor([1_000, 1_001, 1_002])
    ids = [torch.tensor(references[i].response_ids) for i in TEXTS]
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    loss, stats, weight = heard(
        torch.zeros(3, 1_002), lengths_B, padded, torch.tensor([len(i) for i in ids])
    )
    batches = answers(llm, text_prompts(llm, TEXTS, None), references, lambda id_: "", 0.1)
    costs = [a for batch in batches for a in batch]
    assert weight == sum(a.reference_tokens for a in costs)
    total = sum(a.reference_nats for a in costs)
    assert loss.item() == pytest.approx(total / weight.item(), rel=1e-4)


def test_a_model_needs_one_slot(llm, heard):
    with pytest.raises(ValueError, match="0 audio slots"):
        AudioLLMESPnetModel(heard.speech_encoder, heard.adapter, llm, [1, 2, 3])


@pytest.mark.parametrize(
    ("lengths", "bound", "expected"),
    [
        ([1, 5, 2, 4], 8, [[5], [4, 2], [1]]),
        ([3, 3, 3], 6, [[3, 3], [3]]),
        ([9], 4, [[9]]),
        ([], 4, []),
    ],
)
def test_batches_by_length(lengths, bound, expected):
    assert list(by_length(lengths, lambda n: n, bound)) == expected
