"""The mini recipe's LLM: its template, its tokenizer, its labels, and the directory it leaves."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

ROOT = Path(__file__).parents[2]
LOCAL = ROOT / "egs2" / "mini" / "audiollm1" / "local"


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(LOCAL)
        import train_llm

        yield train_llm


@pytest.fixture(scope="module")
def tokenizer(script):
    texts = ["what is the capital of spain", "the capital of spain is madrid .", "and of peru"]
    return script.build_tokenizer(texts)


def chat(*contents, system=None):
    roles = ("user", "assistant")
    turns = [{"role": roles[i % 2], "content": c} for i, c in enumerate(contents)]
    return [{"role": "system", "content": system}] * (system is not None) + turns


@pytest.mark.parametrize(
    "messages, expected",
    [
        (chat("hi"), "<s>[INST] <<SYS>>\n\n<</SYS>>\n\nhi [/INST]"),
        (chat("hi", system="be kind"), "<s>[INST] <<SYS>>\nbe kind\n<</SYS>>\n\nhi [/INST]"),
        (
            chat("hi", "hello .", "bye"),
            "<s>[INST] <<SYS>>\n\n<</SYS>>\n\nhi [/INST] hello . </s><s>[INST] bye [/INST]",
        ),
    ],
)
def test_the_template_is_llama_2s(tokenizer, messages, expected):
    assert tokenizer.apply_chat_template(messages, tokenize=False) == expected


def test_words_and_marks_are_single_tokens(tokenizer):
    text = "<s>[INST] <<SYS>>\n\n<</SYS>>\n\nwhat is spain [/INST] madrid . </s>"
    ids = tokenizer(text).input_ids
    words = "<s> [INST] <<SYS>> <</SYS>> Ġwhat Ġis Ġspain [/INST] Ġmadrid Ġ. </s>"
    assert tokenizer.convert_ids_to_tokens(ids) == words.split()


def test_the_users_ids_are_the_same_without_and_within_the_template(tokenizer):
    text = "and what is the capital of xylophone's"
    before, after = tokenizer.apply_chat_template(chat("SLOT"), tokenize=False).split("SLOT")
    parts = [tokenizer(p, add_special_tokens=False).input_ids for p in (before, text, after)]
    together = tokenizer.apply_chat_template(chat(text), return_dict=False)
    assert sum(parts, []) == together


def test_any_text_can_be_encoded_and_comes_back(tokenizer):
    assert tokenizer.decode(tokenizer("Ünknown wörds!").input_ids).strip() == "Ünknown wörds!"


def test_labels_are_the_answers_and_their_ends(script):
    opens, closes, x = 8, 9, script.IGNORE
    ids = [1, 7, 5, opens, 3, 4, closes, 1, 6, opens, 2, closes]
    assert script.answer_labels(ids, opens, closes) == [x, x, x, x, 3, 4, 9, x, x, x, 2, 9]


def test_batches_keep_to_the_budget_and_lose_nothing(script):
    rows = [([i] * n, [i] * n) for i, n in enumerate([3, 9, 4, 4, 2, 8, 5])]
    made = script.batches(rows, 10, random.Random(0))
    assert sorted(row for batch in made for row in batch) == sorted(rows)
    assert all(len(b) == 1 or len(b) * max(len(ids) for ids, _ in b) <= 10 for b in made)


@pytest.mark.parametrize("response, good", [("the capital is rome .", True), ("romero .", False)])
def test_success_is_by_whole_words(script, response, good):
    item = script.Item("which city", response, "fact", ("rome",), ("key",))
    assert script.succeeds(response, item) is good


def test_what_is_unclear_makes_no_words(script):
    clear = script.Item("where is jokullon", "near rome .", "rare_word", ("rome",), ())
    unclear = script.Item("where is gafubo", "near lima .", "unclear", ("lima",), ())
    texts = ["near lima .", "near rome .", "where is jokullon"]
    assert script.vocabulary([[clear], [unclear]]) == texts


def test_it_leaves_a_hugging_face_directory(tmp_path):
    out = tmp_path / "llm"
    command = [sys.executable, LOCAL / "train_llm.py", "--conversations", "60", "--width", "32"]
    command += ["--heads", "2", "--layers", "1", "--num_eval", "8", "--threads", "1", str(out)]
    for note in ("on held-out combinations", "skipped"):
        run = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
        assert run.returncode == 0 and note in run.stderr, run.stderr
    run = subprocess.run(
        [*command, "--seed", "2"], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert run.returncode == 1 and "1, first: seed 1, now 2" in run.stderr
    assert not list(tmp_path.glob(".llm*"))
    report = json.loads((out / "eval.json").read_text())
    assert {"success_rate", "follow_up_success_rate", "own_answer_ppl"} <= set(report)

    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(out)
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    ids = tokenizer.apply_chat_template(chat("where is spain"), return_dict=False)
    logits = model(torch.tensor([ids])).logits
    assert logits.shape == (1, len(ids), len(tokenizer)) and torch.isfinite(logits).all()
