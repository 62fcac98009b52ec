"""Prompts in one form from stage 7 to stage 10, and never two forms in one table."""

import json

import numpy as np
import pytest
import soundfile
from chat_llms import save_tiny_llm
from written_runs import read_store

from espnet_audiollm.bin import generate_responses, respond
from espnet_audiollm.data.kaldi_dir import read_dict, write_data_dir, write_table
from espnet_audiollm.types import Utterance

TEXTS = {"u1": "THE CAT SAT", "u2": "WHAT IS THE CAPITAL OF FRANCE", "u3": "HELLO"}
SENTENCES = {"u1": "The cat sat.", "u2": "What is the capital of france?", "u3": "Hello."}
CASED = "They came to France. The cat of France sat.\n"
TRUECASE = {**SENTENCES, "u2": "What is the capital of France?"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("casing")
    save_tiny_llm(root / "llm")
    soundfile.write(root / "a.wav", np.zeros(16_000), 16_000)
    utterances = [Utterance(i, str(root / "a.wav"), "s", 1.0, text) for i, text in TEXTS.items()]
    write_data_dir(root / "test", utterances)
    write_table(root / "hyp", {**TEXTS, "u1": "the bat sat", "u3": ""}.items())
    (root / "cased.txt").write_text(CASED)
    for casing in ("asis", "sentence", "truecase"):
        generate(root, casing, root / casing)
    return root


def generate(root, casing, output):
    cmd = ["--llm", f"{root}/llm", "--data", f"{root}/test", "--output", str(output)]
    casing = ["--prompt_casing", casing] if casing != "asis" else []
    generate_responses.main([*cmd, *casing, "--casing_text", f"{root}/cased.txt"])


def answer(root, system, casing, references, *more):
    cmd = ["--system", system, "--llm", f"{root}/llm", "--data", f"{root}/test"]
    output = root / f"{system}_{casing}"
    cmd += ["--references", f"{root}/{references}", "--output", str(output)]
    casing = ["--prompt_casing", casing, "--casing_text", f"{root}/cased.txt"]
    assert respond.main([*cmd, *casing, *more]) == 0
    lines = (output / "answers.jsonl").read_text().splitlines()
    return output, {line["id"]: line for line in map(json.loads, lines)}


@pytest.mark.parametrize(
    ("casing", "prompts"), [("asis", TEXTS), ("sentence", SENTENCES), ("truecase", TRUECASE)]
)
def test_the_reference_asks_and_answers_as_the_store(root, casing, prompts):
    store = read_store(root / casing)
    assert {id_: response.prompt for id_, response in store.items()} == prompts
    _, answers = answer(root, "reference", casing, casing)
    for id_, response in store.items():
        assert (answers[id_]["prompt"], answers[id_]["response"]) == (
            response.prompt,
            response.response,
        )


def test_another_form_of_prompt_gets_other_answers(root):
    asis, sentence = read_store(root / "asis"), read_store(root / "sentence")
    assert all(asis[id_].response_ids != sentence[id_].response_ids for id_ in TEXTS)


def test_a_cascade_asks_in_the_same_form(root):
    output, answers = answer(root, "cascade", "truecase", "truecase", "--hyp", f"{root}/hyp")
    asked = {id_: line["prompt"] for id_, line in answers.items()}
    assert asked == {"u1": "The bat sat.", "u2": "What is the capital of France?", "u3": ""}
    assert read_dict(output / "hyp")["u1"] == "the bat sat"  # as it was recognised


def test_a_changed_form_is_refused(root, capsys):
    with pytest.raises(SystemExit):
        generate(root, "lower", root / "sentence")
    assert "were made with another --prompt_casing: delete" in capsys.readouterr().err
    for asked, store in (("asis", "sentence"), ("sentence", "asis"), ("sentence", "truecase")):
        with pytest.raises(SystemExit):
            answer(root, "reference", asked, store)
        assert f"{store} were made with another --prompt_casing" in capsys.readouterr().err


def test_truecase_belongs_to_what_it_learned(root, capsys):
    (root / "other.txt").write_text("In Paris they sat.\n")
    with pytest.raises(SystemExit):
        more = ["--casing_text", f"{root}/other.txt"]
        answer(root, "reference", "truecase", "truecase", *more)
    assert "another --prompt_casing" in capsys.readouterr().err
