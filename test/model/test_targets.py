"""What an alignment learns from: terms by hand, their gradients, and the layouts of a batch."""

import math

import pytest
import torch
from tiny_models import noise, tiny_encoder, tiny_llama

from espnet_audiollm.data.prompt import AUDIO_SLOT
from espnet_audiollm.infer.teacher import top_k
from espnet_audiollm.model.adapters import StackAdapter
from espnet_audiollm.model.audiollm import AudioLLMESPnetModel
from espnet_audiollm.model.llm import LLM
from espnet_audiollm.model.response_loss import embed_prompt, response_logits, response_nats
from espnet_audiollm.model.targets import (
    Targets,
    accuracies,
    relative_distance,
    top_k_divergence,
)

BEFORE, AFTER = [1, 3], [4, 5]
TEXTS = [[12, 13, 14], [20], [7, 8]]
ANSWERS = [[10, 11, 2], [2], [21, 22, 23, 2]]


def logs(*rows):
    return torch.tensor(rows, dtype=torch.float64).log()


# --- the divergence -----------------------------------------------------------------------------


def test_divergence_with_a_bucket_by_hand():
    """Teacher 1/2, 1/4, others 1/4. Student, of 5 tokens: 1/4, 1/4, others 1/2."""
    student = logs([0.25, 0.25, 0.25, 0.125, 0.125]) + 3  # logits are free to a constant
    found = top_k_divergence(student, torch.tensor([[0, 2]]), logs([0.5, 0.25, 0.25]))
    expected = 0.5 * math.log(2) + 0.25 * math.log(1) + 0.25 * math.log(0.5)
    assert found.tolist() == pytest.approx([expected])


def test_one_token_kept_is_bernoullis_divergence():
    student = logs([0.1, 0.2, 0.3, 0.4])
    found = top_k_divergence(student, torch.tensor([[3]]), logs([0.9, 0.1]))
    expected = 0.9 * math.log(0.9 / 0.4) + 0.1 * math.log(0.1 / 0.6)
    assert found.tolist() == pytest.approx([expected])


def test_all_tokens_kept_is_the_exact_divergence():
    torch.manual_seed(0)
    logits, other = torch.randn(2, 6, 40, dtype=torch.float64)
    logits.requires_grad_()
    best = other.log_softmax(-1).topk(40)
    logp = torch.cat([best.values, torch.full((6, 1), -torch.inf)], -1)
    found = top_k_divergence(logits, best.indices, logp)
    expected = torch.nn.functional.kl_div(
        logits.log_softmax(-1), other.log_softmax(-1), reduction="none", log_target=True
    ).sum(-1)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    torch.testing.assert_close(logits.grad, logits.softmax(-1) - other.softmax(-1))


def test_a_bucket_never_adds_and_its_gradient_is_right():
    torch.manual_seed(0)
    logits, other = torch.randn(2, 3, 12, dtype=torch.float64) * 2
    logits.requires_grad_()
    found = []
    for k in (1, 4, 12):
        best = other.log_softmax(-1).topk(k)
        rest = (1 - best.values.exp().sum(-1, keepdim=True)).clamp_min(0).log()
        teacher = best.indices, torch.cat([best.values, rest], -1)
        found.append(top_k_divergence(logits, *teacher))
        assert torch.autograd.gradcheck(lambda x, t=teacher: top_k_divergence(x, *t), logits)
    assert (found[0] < found[1]).all() and (found[1] < found[2]).all() and (found[0] > 0).all()


def test_a_certain_student_in_single_precision():
    """1 - p is 0 in float32; the others' mass is not, and neither is anything infinite."""
    logits = torch.tensor([[40.0, 0.0, 0.0]], requires_grad=True)
    found = top_k_divergence(logits, torch.tensor([[0]]), logs([0.75, 0.25]).float())
    entropy = 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    assert found.item() == pytest.approx(entropy + 0.25 * (40 - math.log(2)))
    found.backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0.25, -0.125, -0.125]]))


def test_rounded_probabilities_are_normalised():
    student = logs([0.5, 0.5])
    half = logs([0.5, 0.5]).half() + 0.01  # sums to more than 1
    found = top_k_divergence(student, torch.tensor([[0]]), half)
    assert found.tolist() == pytest.approx([0], abs=1e-6)


# --- hidden states and accuracies ---------------------------------------------------------------


def test_distance_is_a_share_of_the_teachers():
    teacher = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    student = torch.tensor([[3.0, 4.5], [0.0, 0.0]])
    assert relative_distance(student, teacher).tolist() == pytest.approx([0.01, 1.0])


def test_accuracies_by_hand():
    logits = torch.eye(5)[[0, 1, 4, 2]]  # most probable: 0 1 | 4 2
    found = accuracies(logits, [torch.tensor([0, 1]), torch.tensor([4, 3])])
    assert {name: x.item() for name, x in found.items()} == {
        "token_acc": 0.75,
        "response_acc": 0.5,
    }


# --- on an LLM ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama():
    return tiny_llama()


def batch(llama, kept=6):
    """Padded, as the trainer gives it; the teacher is `llama` on the texts."""
    prompts = [[*BEFORE, *text, *AFTER] for text in TEXTS]
    llm = LLM(llama, None, "tiny", "", "", (2,))
    found = top_k(llm, prompts, ANSWERS, kept)
    columns = {
        "text_prompt": [torch.tensor(prompt) for prompt in prompts],
        "teacher_ids": [torch.from_numpy(ids) for ids, _ in found],
        "teacher_logp": [torch.from_numpy(logp) for _, logp in found],
    }
    data = {}
    for name, rows in columns.items():
        data[name] = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        data[f"{name}_lengths"] = [len(row) for row in rows]
    return data


def responses():
    return [torch.tensor(answer) for answer in ANSWERS]


def spoken(llama, audios):
    return [embed_prompt(llama, [*BEFORE, AUDIO_SLOT, *AFTER], [audio]) for audio in audios]


def own_embeddings(llama, scale=0.0):
    torch.manual_seed(2)
    embed = llama.get_input_embeddings()
    audios = [embed(torch.tensor(text)) for text in TEXTS]
    return [(a + scale * torch.randn_like(a)).detach().requires_grad_() for a in audios]


ALL = Targets(1.0, 0.5, 2.0, (1, -1))


def test_the_texts_own_embeddings_are_the_teacher(llama):
    """Then both LLMs read the same: nothing is left to learn but the answer's own entropy."""
    for packed in (True, False):
        prompts = spoken(llama, own_embeddings(llama))
        _, stats, _ = ALL.losses(llama, prompts, responses(), batch(llama), packed)
        assert stats["hidden_loss"].item() == pytest.approx(0, abs=1e-20)
        assert stats["distribution_loss"].item() == pytest.approx(0, abs=1e-12)
        nats = torch.cat(response_nats(llama, prompts, responses()))
        assert stats["loss"].item() == pytest.approx(nats.mean().item())


def test_the_terms_are_weighted_and_reported(llama):
    prompts, data = spoken(llama, own_embeddings(llama, 0.5)), batch(llama)
    loss, stats, _ = ALL.losses(llama, prompts, responses(), data)
    terms = [stats[f"{name}_loss"].item() for name in ("distribution", "hidden")]
    assert min(terms) > 0.01
    expected = stats["loss"].item() + 0.5 * terms[0] + 2 * terms[1]
    assert loss.item() == stats["total_loss"].item() == pytest.approx(expected)
    response, paper, _ = Targets().losses(llama, prompts, responses(), {})
    assert response.item() == paper["loss"].item() == pytest.approx(stats["loss"].item())
    assert set(paper) == {"loss", "perplexity", "token_acc", "response_acc"}
    loss, stats, _ = Targets(0.0, 1.0).losses(llama, prompts, responses(), data)
    assert loss.item() == stats["distribution_loss"].item() != stats["loss"].item()


def test_packed_is_padded(llama):
    found = []
    for packed in (True, False):
        audios = own_embeddings(llama, 0.5)
        loss, stats, _ = ALL.losses(llama, spoken(llama, audios), responses(), batch(llama), packed)
        loss.backward()
        found.append((loss.detach(), stats, [audio.grad for audio in audios]))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


def test_a_layer_alone_is_transformers_hidden_state(llama):
    """Of one utterance, against output_hidden_states of transformers itself."""
    audio = own_embeddings(llama, 0.5)[0]
    prompt = spoken(llama, [audio])[0]
    data = {"text_prompt": torch.tensor([[*BEFORE, *TEXTS[0], *AFTER]])}
    data["text_prompt_lengths"] = [7]
    embed = llama.get_input_embeddings()
    answer = embed(torch.tensor(ANSWERS[0][:-1]))
    pair = (
        llama(inputs_embeds=torch.cat([p, answer])[None], output_hidden_states=True).hidden_states
        for p in (prompt, embed(data["text_prompt"][0]))
    )
    student, teacher = ([states[0][6:] for states in each] for each in pair)
    for layers, numbers in {(1,): [1], (-1,): [2], (2, -2): [1, 2]}.items():
        _, stats, _ = Targets(0, 0, 1, layers).losses(llama, [prompt], responses()[:1], data)
        distances = [relative_distance(student[n], teacher[n]).mean() for n in numbers]
        assert stats["hidden_loss"].item() == pytest.approx(torch.stack(distances).mean().item())


def test_gradients_reach_the_audio_alone(llama):
    for targets in (Targets(0, 1), Targets(0, 0, 1), Targets(0, 0, 1, (1,)), ALL):
        audios = own_embeddings(llama, 0.5)
        loss, _, _ = targets.losses(llama, spoken(llama, audios), responses(), batch(llama))
        loss.backward()
        assert all(audio.grad.abs().sum() > 0 for audio in audios)
        assert not [name for name, p in llama.named_parameters() if p.grad is not None]


def test_the_models_forward_pass(llama):
    """From samples to the loss, with what the trainer passes beside them."""
    llm = LLM(llama, None, "tiny", "", "", (2,))
    prompt = [*BEFORE, AUDIO_SLOT, *AFTER]
    model = AudioLLMESPnetModel(
        tiny_encoder(), StackAdapter(16, 16).double(), llm, prompt, targets=ALL
    )
    speech, lengths = noise(9_000, 16_000, 12_000)
    padded = torch.nn.utils.rnn.pad_sequence(responses(), batch_first=True)
    answers = {"response": padded, "response_lengths": [3, 1, 4]}
    loss, stats, weight = model(speech, lengths, **answers, **batch(llama), utt_id=["a", "b", "c"])
    assert weight.item() == 8 and stats["total_loss"] == loss
    loss.backward()
    assert model.adapter.project.weight.grad.abs().sum() > 0
    short = batch(llama) | {"teacher_ids_lengths": [3, 2, 4]}
    with pytest.raises(ValueError, match="1 of 3 utterances.*first: b, 2 of 1.*rerun stage 7"):
        model(speech, lengths, **answers, **short, utt_id=["a", "b", "c"])


def test_the_teachers_distributions_are_the_text_prompts(llama):
    prompts = [[*BEFORE, *text, *AFTER] for text in TEXTS]
    found = top_k(LLM(llama, None, "tiny", "", "", (2,)), prompts, ANSWERS, 5)
    for prompt, answer, (ids, logp) in zip(prompts, ANSWERS, found, strict=True):
        embeds = [embed_prompt(llama, prompt)]
        expected = response_logits(llama, embeds, [torch.tensor(answer)]).softmax(-1)
        assert ids.shape == (len(answer), 5) and logp.shape == (len(answer), 6)
        best = expected.topk(5)
        assert ids.tolist() == best.indices.tolist()
        torch.testing.assert_close(torch.from_numpy(logp[:, :5]).exp(), best.values)
        torch.testing.assert_close(
            torch.from_numpy(logp).exp().sum(-1), torch.ones(len(answer)).double()
        )


@pytest.mark.parametrize(
    "options, complaint",
    [
        ((-1.0,), "--response_weight -1.0"),
        ((1.0, float("nan")), "--distribution_weight nan"),
        ((0.0,), "are all 0"),
        ((1.0, 0.0, 1.0, ()), "--hidden_layers is empty"),
        ((0.0, 0.0, 0.0, (-1,), -0.5), "--risk_weight -0.5"),
        ((0.0, 0.0, 0.0, (-1,), 1.0, 0), "--risk_draws 0"),
    ],
)
def test_weights_that_cannot_be(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        Targets(*options)


@pytest.mark.parametrize("layers", [(0,), (3,), (-3, 1)])
def test_layers_that_the_llm_does_not_have(llama, layers):
    with pytest.raises(ValueError, match=f"1 are none of the LLM's 2 layers .first: {layers[0]}"):
        Targets(1, 0, 1, layers).layers(llama)


@pytest.mark.parametrize(
    "targets, name, option",
    [(Targets(1, 1), "teacher", "--teacher_top_k"), (Targets(1, 0, 1), "text_prompt", "--prompt_")],
)
def test_data_that_is_missing(llama, targets, name, option):
    prompts = spoken(llama, own_embeddings(llama))
    with pytest.raises(ValueError, match=f"needs the data '{name}'.*stage 7 with {option}"):
        targets.losses(llama, prompts, responses(), {})
