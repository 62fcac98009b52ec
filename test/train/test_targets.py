"""Stage 9 with every target, on what stage 7 kept: trained, resumed, by two processes, refused."""

import logging
import os
import subprocess
import sys

import pytest
import torch
from tiny_tasks import task_options

from espnet_audiollm.bin import generate_responses
from espnet_audiollm.infer.systems import load_system
from espnet_audiollm.tasks.audiollm import AudioLLMTask
from espnet_audiollm.train import checkpoints

WEIGHTS = dict(distribution_weight=0.5, hidden_weight=0.5, hidden_layers=[1])
KEPT = {"teacher": "top_k,teacher,top_k", "text_prompt": "prompt_ids,text_prompt,text_int"}


@pytest.fixture(scope="module")
def store(data, llm_dir):
    output = data / "responses"
    options = ["--llm", llm_dir, "--data", data, "--output", output, "--device", "cpu"]
    generate_responses.main([str(word) for word in [*options, "--teacher_top_k", 4]])
    return output


@pytest.fixture
def options(data, store, llm_dir):
    """options(EXP, **config): words of a training; `tables` leaves some of the teacher's out."""

    def options(exp, tables=tuple(KEPT), **config):
        cmd = task_options(data, exp, "responses/response_ids,response,text_int", **config)
        for split in ("train", "valid"):
            flag = f"--{split}_data_path_and_name_and_type"
            cmd += [word for name in tables for word in (flag, f"{store}/teacher/{KEPT[name]}")]
        return [*cmd, "--llm", str(llm_dir)]

    return options


def statistics(exp):
    return checkpoints.load(checkpoints.newest_undamaged(exp))["reporter"]["stats"]


def weights(exp, epoch=2):
    state = checkpoints.load(exp / f"{epoch}epoch.pth")
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


@pytest.fixture(scope="module")
def criteria():
    return {"best_model_criterion": [["valid", "loss", "min"], ["valid", "response_acc", "max"]]}


@pytest.fixture
def trained(options, criteria, tmp_path):
    AudioLLMTask.main(cmd=options(tmp_path / "exp", max_epoch=2, **WEIGHTS, **criteria))
    return tmp_path / "exp"


def test_every_term_is_reported_and_checkpoints_are_chosen_by_success(trained, llm_dir):
    for phase in ("train", "valid"):
        found = statistics(trained)[2][phase]
        terms = [found[f"{name}_loss"] for name in ("distribution", "hidden")]
        assert min(terms) > 0
        expected = found["loss"] + 0.5 * sum(terms)
        assert found["total_loss"] == pytest.approx(expected, rel=1e-5)
        assert 0 <= found["response_acc"] <= found["token_acc"] <= 1
    assert (trained / "valid.response_acc.ave.pth").exists()
    system = load_system("audiollm", str(llm_dir), exp=trained)  # without its training data
    assert system.kind.name == "audiollm"


def test_resumed_training_ends_like_an_uninterrupted_one(trained, options, criteria, tmp_path):
    for epochs in (1, 2):
        cmd = options(tmp_path / "again", max_epoch=epochs, **WEIGHTS, **criteria)
        AudioLLMTask.main(cmd=[*cmd, "--resume", "true"])
    again = weights(tmp_path / "again")
    for name, weight in weights(trained).items():
        assert torch.equal(again[name], weight), name


def test_a_resumed_training_reads_the_prompts_beginning_again(data, llm_dir, tmp_path, caplog):
    """Kept keys and values are of no training but the present one: the same weights at the end."""
    template = "{% for m in messages %}<s> w0 w1 w2 w3 w4 w5 w6 ask {{ m.content }} answer"
    template += "{% endfor %}"
    for name, epochs in (("straight", 2), ("again", 1), ("again", 2)):
        config = dict(max_epoch=epochs, chat_template=template)
        cmd = task_options(data, tmp_path / name, "response_ids,response,text_int", **config)
        with caplog.at_level(logging.INFO):
            AudioLLMTask.main(cmd=[*cmd, "--llm", str(llm_dir), "--resume", "true"])
    again = weights(tmp_path / "again")
    for name, weight in weights(tmp_path / "straight").items():
        assert torch.equal(again[name], weight), name
    assert caplog.text.count("The prompts begin with 9 common tokens, which are read once") == 3


def test_two_processes_learn_what_one_learns(options, tmp_path, root):
    config = dict(max_epoch=2, optim="sgd", optim_conf={"lr": 0.1}, **WEIGHTS)
    train = [sys.executable, "-m", "espnet_audiollm.bin.audiollm_train"]
    done = subprocess.run(
        [sys.executable, root / "utils/launch.py", "--num_procs", "2", "--", *train]
        + options(tmp_path / "two", **config),
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    AudioLLMTask.main(cmd=options(tmp_path / "one", **config))
    two = weights(tmp_path / "two")
    for name, weight in weights(tmp_path / "one").items():
        torch.testing.assert_close(two[name], weight, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    "tables, weight, complaint",
    [
        (("text_prompt",), "distribution_weight", "needs the data 'teacher'.*--teacher_top_k K"),
        (("teacher",), "hidden_weight", "needs the data 'text_prompt'.*--prompt_ids"),
    ],
)
def test_a_table_that_is_missing(options, tmp_path, tables, weight, complaint):
    with pytest.raises(ValueError, match=complaint):
        AudioLLMTask.main(cmd=options(tmp_path, tables, max_epoch=1, **{weight: 1.0}))


def test_a_teacher_of_another_llm_is_refused(options, store, tmp_path):
    """Only its table says so, wherever the responses come from."""
    about = (store / "store.json").read_text()
    try:
        (store / "store.json").write_text(about.replace('"fingerprint": "', '"fingerprint": "0'))
        cmd = options(tmp_path, ("teacher",), max_epoch=1, distribution_weight=1.0)
        cmd = [w.replace("responses/response_ids", "response_ids") for w in cmd]
        with pytest.raises(ValueError, match="made with another LLM"):
            AudioLLMTask.main(cmd=cmd)
    finally:
        (store / "store.json").write_text(about)
