"""Stages 7 and 10 as commands on a tiny LLM: what they leave, and what they refuse."""

import json

import numpy as np
import pytest
import soundfile
from chat_llms import save_tiny_llm

from espnet_audiollm.bin import generate_responses, respond
from espnet_audiollm.data.kaldi_dir import read_dict, write_data_dir
from espnet_audiollm.data.responses import read_responses
from espnet_audiollm.types import Utterance

TEXTS = {"u1": "the cat sat", "u2": "what is the capital of france", "u3": "hello"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An LLM, a data directory and its response store."""
    root = tmp_path_factory.mktemp("respond")
    save_tiny_llm(root / "llm")
    soundfile.write(root / "a.wav", np.zeros(16_000), 16_000)
    write_data_dir(
        root / "test",
        [Utterance(i, str(root / "a.wav"), "s", 1.0, text) for i, text in TEXTS.items()],
    )
    cmd = ["--llm", f"{root}/llm", "--data", f"{root}/test", "--output", f"{root}/responses"]
    generate_responses.main(cmd)
    return root


def run(made, system, *more, llm="llm", output=None):
    output = output or made / system
    cmd = ["--system", system, "--llm", f"{made}/{llm}", "--data", f"{made}/test"]
    cmd += ["--references", f"{made}/responses", "--output", str(output), *more]
    assert respond.main(cmd) == 0
    return output


def test_the_reference_answers_as_the_store_does(made):
    out = run(made, "reference")
    stored = read_responses(made / "responses")
    answers = [json.loads(line) for line in (out / "responses.jsonl").read_text().splitlines()]
    assert [a["id"] for a in answers] == sorted(TEXTS)
    for answer in answers:
        assert tuple(answer["response_ids"]) == stored[answer["id"]].response_ids
    about = json.loads((out / "system.json").read_text())
    assert (about["name"], about["prompt_wer"], about["test_set"]) == ("reference", 0.0, "test")


def test_the_references_cost_is_that_of_transformers(made):
    """One utterance at a time through LlamaForCausalLM(labels=...), prompt masked."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    nats = read_dict(run(made, "reference") / "nats")
    model = AutoModelForCausalLM.from_pretrained(made / "llm")
    tokenizer = AutoTokenizer.from_pretrained(made / "llm")
    for id_, response in read_responses(made / "responses").items():
        turns = [{"role": "user", "content": TEXTS[id_]}]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
        whole = torch.tensor([prompt + list(response.response_ids)])
        labels = whole.clone()
        labels[:, : len(prompt)] = -100
        with torch.no_grad():
            mean = model(whole, labels=labels).loss.item()
        cost, tokens = nats[id_].split()
        assert int(tokens) == len(response.response_ids)
        assert float(cost) == pytest.approx(mean * int(tokens), rel=1e-4)


def test_a_perfect_cascade_costs_what_the_reference_does(made, tmp_path):
    hyp = tmp_path / "hyp"
    hyp.write_text("".join(f"{i} {text}\n" for i, text in TEXTS.items()))
    perfect = run(made, "cascade", "--hyp", str(hyp), output=tmp_path / "perfect")
    assert (perfect / "nats").read_text() == (run(made, "reference") / "nats").read_text()
    hyp.write_text("u1 the cat\nu2\nu3 hello\n")
    poor = run(made, "cascade", "--hyp", str(hyp), output=tmp_path / "poor")
    # By hand: "sat" deleted, six words of u2 deleted, of 3 + 6 + 1 words.
    assert json.loads((poor / "system.json").read_text())["prompt_wer"] == pytest.approx(70.0)
    a, b = read_dict(perfect / "nats"), read_dict(poor / "nats")
    assert a["u3"] == b["u3"] and a["u1"] != b["u1"]


def test_no_prompt_reads_nothing(made):
    out = run(made, "no_prompt")
    assert json.loads((out / "system.json").read_text())["prompt_wer"] is None
    answers = [json.loads(line)["response"] for line in (out / "responses.jsonl").open()]
    assert len(set(answers)) == 1  # nothing distinguishes the utterances


@pytest.mark.parametrize(
    ("system", "more", "message"),
    [
        ("cascade", [], "--system cascade needs --hyp"),
        ("audiollm", [], "--system audiollm needs --exp"),
        ("cascade", ["--hyp", "few"], "has 1 transcripts for 3 utterances"),
    ],
)
def test_refusals(made, capsys, system, more, message):
    (made / "few").write_text("u1 the cat\n")
    more = [str(made / word) if word == "few" else word for word in more]
    with pytest.raises(SystemExit):
        run(made, system, *more)
    assert message in capsys.readouterr().err


def test_a_store_of_another_llm_is_refused(made, capsys):
    save_tiny_llm(made / "other", seed=7)
    with pytest.raises(SystemExit):
        run(made, "reference", llm="other", output=made / "refused")
    error = capsys.readouterr().err
    assert "were made with another LLM" in error and "rerun stage 7" in error
    assert not (made / "refused" / "system.json").exists()
