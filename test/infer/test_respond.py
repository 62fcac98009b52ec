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
from espnet_audiollm.infer.batches import by_length, in_halves
from espnet_audiollm.infer.generate import generate
from espnet_audiollm.infer.respond import (
    Question,
    answer,
    audio_batches,
    hear,
    prompts_around,
    text_batches,
    text_prompts,
    transcript_ids,
)
from espnet_audiollm.model.audiollm import AudioLLMESPnetModel
from espnet_audiollm.model.llm import wrap
from espnet_audiollm.model.response_loss import embed_prompt, response_logits
from espnet_audiollm.types import Audio, Utterance

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
def questions(llm, tmp_path):
    """The texts and recordings that say them; the references are the LLM's answers to the texts."""
    prompts = [encode(user_prompt(text), llm.tokenizer) for text in TEXTS.values()]
    made = []
    for i, (id_, generated) in enumerate(zip(TEXTS, generate(llm, prompts, 6), strict=True)):
        path = tmp_path / f"{id_}.wav"
        soundfile.write(path, np.zeros(1_000 + i), 16_000)
        utterance = Utterance(id_, str(path), "s", 1.0, TEXTS[id_])
        made.append(Question(id_, TEXTS[id_], generated.ids, utterance))
    return made


def test_logits_are_the_texts(llm, heard, questions):
    prompts = prompts_around(heard, hear(heard, questions))
    responses = [torch.tensor(question.reference_ids) for question in questions]
    by_audio = response_logits(llm.model, prompts, responses)
    start = 0
    for question, response_R in zip(questions, responses, strict=True):
        text = encode(user_prompt(question.text), llm.tokenizer)
        assert AUDIO_SLOT not in text
        whole = torch.tensor([text + response_R.tolist()])
        by_text = llm.model(whole).logits[0, len(text) - 1 : -1]
        ours = by_audio[start : start + len(response_R)]
        torch.testing.assert_close(ours, by_text, rtol=1e-5, atol=1e-5)
        start += len(response_R)


def test_answers_and_costs_are_the_texts(llm, heard, questions):
    by_audio = answer(
        llm, questions, prompts_around(heard, hear(heard, questions)), max_tokens_factor=1.0
    )
    by_text = answer(llm, questions, text_prompts(llm, questions, None), max_tokens_factor=1.0)
    for question, audio, text in zip(questions, by_audio, by_text, strict=True):
        assert audio.response == text.response
        assert audio.response.id == question.id
        assert audio.reference_nats == pytest.approx(text.reference_nats, rel=1e-4)
        assert len(audio.token_nats) == len(question.reference_ids)
        assert audio.token_nats == pytest.approx(text.token_nats, rel=1e-3, abs=1e-5)


def test_errors_name_the_utterance(llm, questions):
    llm.model.config.max_position_embeddings = 8
    with pytest.raises(ValueError, match="^a has .* positions, the LLM's context is 8"):
        answer(llm, questions, text_prompts(llm, questions, None))


def test_training_loss_is_the_references_cost(llm, heard, questions):
    """The loss that training minimises is the perplexity that scoring reports."""
    lengths_B = torch.tensor([1_000, 1_001, 1_002])
    ids = [torch.tensor(question.reference_ids) for question in questions]
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    loss, stats, weight = heard(
        torch.zeros(3, 1_002), lengths_B, padded, torch.tensor([len(i) for i in ids])
    )
    costs = answer(llm, questions, text_prompts(llm, questions, None), max_tokens_factor=0.1)
    assert weight == sum(len(a.token_nats) for a in costs)
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


def test_batches_of_texts_and_of_audio(llm, questions):
    lengths = {q.id: len(encode(user_prompt(q.text), llm.tokenizer)) for q in questions}
    batches = text_batches(llm, questions, None, max_positions=2 * lengths["b"])
    assert [[q.id for q in batch] for batch in batches] == [["a"], ["b", "c"]]
    assert [len(batch) for batch in audio_batches(questions, 2.0)] == [2, 1]  # of a second each


class Memory:
    """Stands for a GPU that holds so many items: PyTorch's own error beyond that."""

    def __init__(self, holds):
        self.holds, self.sizes = holds, []

    def run(self, batch):
        self.sizes.append(len(batch))
        if len(batch) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return [question.id for question in batch]


def test_what_does_not_fit_is_done_in_halves(questions, capsys):
    memory = Memory(holds=1)
    assert in_halves(memory.run, questions) == ["a", "b", "c"]
    assert memory.sizes == [3, 1, 2, 1, 1]
    assert capsys.readouterr().err.count("does not fit into the GPU's memory: done in halves") == 2


def test_one_that_does_not_fit(questions):
    with pytest.raises(ValueError, match="a alone does not fit into the GPU's memory: take a"):
        in_halves(Memory(holds=0).run, questions)


def test_answers_in_halves_are_the_same(llm, questions):
    """The LLM's own forward pass runs out of memory for more than one row."""
    memory = Memory(holds=1)
    hook = llm.model.register_forward_pre_hook(
        lambda module, args, kwargs: memory.run(range_of(kwargs)) and None, with_kwargs=True
    )

    def run(batch):
        return answer(llm, batch, text_prompts(llm, batch, None), max_tokens_factor=1.0)

    halves = in_halves(run, questions)
    hook.remove()
    for ours, whole in zip(halves, run(questions), strict=True):
        assert ours.response == whole.response
        assert ours.reference_nats == pytest.approx(whole.reference_nats, rel=1e-5)
    assert max(memory.sizes) == 3


def range_of(kwargs):
    """As many items as the rows of a forward pass."""
    rows = kwargs["inputs_embeds"] if kwargs.get("inputs_embeds") is not None else None
    rows = kwargs["input_ids"] if rows is None else rows
    return [Question(str(i), "", (), None) for i in range(len(rows))]
