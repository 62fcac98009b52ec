"""From a training to answers: bin/export_llm, bin/respond_tasks and bin/score_tasks."""

import json

import pytest
import torch
from tiny_speechlm import make_world, options
from tool_mains import main_of, run_main
from transformers import AutoModelForCausalLM, AutoTokenizer

from espnet_audiollm.data.kaldi_dir import read_dict
from espnet_audiollm.data.task_examples import read_about
from espnet_audiollm.data.unit_tables import read_set
from espnet_audiollm.data.unit_tokens import read_vocabulary
from espnet_audiollm.tasks.speechlm import SpeechLMTask
from espnet_audiollm.train.loading import load_weights, read_config


@pytest.fixture
def run(root, capfd):
    return lambda name, *words: run_main(main_of(root, name), words, capfd)


@pytest.fixture(scope="module", params=["tied", "untied"])
def world(request, tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"), tied=request.param == "tied")


def trained(world, directory, **more):
    SpeechLMTask.main(cmd=options(world, directory, **more))
    return directory


def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits


@pytest.mark.parametrize(
    "how",
    [
        dict(trained="all"),
        dict(trained="rows"),
        dict(trained="lora", tuning_conf={"lora_dropout": 0.1}),
        dict(init="scratch"),
    ],
    ids=lambda how: "_".join(map(str, how.values()))[:12],
)
def test_an_export_says_what_the_checkpoint_says(world, run, tmp_path, how):
    exp = trained(world, tmp_path / "exp", max_epoch=1, **how)
    words = ["--exp", exp, "--output", tmp_path / "llm"]
    run("export_llm", *words).says(f"{tmp_path}/llm: {exp}/valid.loss.ave.pth")
    run("export_llm", *words).says("valid.loss.ave.pth")  # the same: it stays
    ours = SpeechLMTask.build_model(read_config(exp))
    load_weights(ours, exp / "valid.loss.ave.pth")
    ours.eval()
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "llm").eval()
    size = len(AutoTokenizer.from_pretrained(tmp_path / "llm"))
    ids = [1, 300, 261, *range(size - 8, size)]  # text, marks, units
    torch.testing.assert_close(logits(theirs, ids), logits(ours.model, ids), rtol=1e-5, atol=1e-5)
    tied = theirs.get_input_embeddings().weight is theirs.get_output_embeddings().weight
    assert tied == theirs.config.tie_word_embeddings
    assert read_vocabulary(tmp_path / "llm") == read_vocabulary(world / "joint")
    before = AutoModelForCausalLM.from_pretrained(world / "joint").eval()
    assert not torch.equal(logits(theirs, ids), logits(before, ids))


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A world, and an LLM that has learned its tasks."""
    from espnet_audiollm.bin import export_llm

    world = make_world(tmp_path_factory.mktemp("learned"))
    exp = trained(world, world / "exp", max_epoch=40, scheduler=None, batch_bins=500)
    assert export_llm.main(["--exp", str(exp), "--output", f"{world}/llm"]) == 0
    return world


def respond(run, world, output, *more, llm="llm"):
    words = ["--llm", world / llm, "--tasks", world / "valid/tasks", "--max_tokens", 40]
    return run("respond_tasks", *words, "--output", output, *more)


def contents(directory):
    skipped = ("inputs.json", "replies.json")
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name not in skipped)
    return {str(path.relative_to(directory)): path.read_text() for path in files}


def test_answers_are_tables(learned, run, tmp_path):
    respond(run, learned, tmp_path / "one").says("a.asr_english", "t.tts_english")
    asr, tts = tmp_path / "one/a.asr_english", tmp_path / "one/t.tts_english"
    reference = read_dict(asr / "reference/text")
    assert reference == read_dict(learned / "valid/a/text")
    hypotheses, faults = read_dict(asr / "text"), read_dict(asr / "faults")
    assert hypotheses.keys() == reference.keys()
    right = sum(hypotheses[id_] == text for id_, text in reference.items())
    assert right >= 2 and all(hypotheses[id_] or id_ in faults for id_ in reference)
    spoken = read_dict(tts / "audio/units")
    assert read_set(tts / "audio").quantiser == read_vocabulary(learned / "llm").quantiser
    assert spoken.keys() | read_dict(tts / "faults").keys() == {"u00", "u01", "u02"}
    assert read_dict(tts / "reference/audio/units") == read_dict(learned / "valid/t/audio/units")


def test_jobs_and_batches_give_the_same(learned, run, tmp_path):
    respond(run, learned, tmp_path / "one", "--shard_size", 5)
    for job in (2, 1):
        split = ["--shard_size", 5, "--num_jobs", 2, "--job", job, "--batch_tokens", 60]
        respond(run, learned, tmp_path / "two", *split).says()
    merge = ["--shard_size", 5, "--num_jobs", 2, "--merge", "--batch_tokens", 60]
    respond(run, learned, tmp_path / "two", *merge).says("a.asr_english")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    again = respond(run, learned, tmp_path / "one", "--shard_size", 5)
    assert "nothing left" in again.err


def test_answers_without_an_end_are_counted(learned, run, tmp_path):
    """An LLM that has learned nothing goes on until its limit."""
    respond(run, learned, tmp_path / "raw", llm="joint").says("no end")
    faults = json.loads((tmp_path / "raw/replies.json").read_text())["faults"]
    blocks = read_about(learned / "valid/tasks").blocks
    for block in blocks:
        assert sum(faults[block.name].values()) == block.size  # none of them is right


def test_what_is_refused(learned, run, tmp_path):
    respond(run, learned, tmp_path / "x", "--max_tokens", 0).fails("at least 1")
    other = make_world(tmp_path / "other", seed=5)
    respond(run, learned, tmp_path / "x", "--tasks", other / "valid/tasks").fails(
        "another llm", "prepare the tasks again"
    )
    run("export_llm", "--exp", learned, "--output", tmp_path / "x").fails("config")
    missing = ["--exp", learned / "exp", "--checkpoint", "9epoch.pth", "--output", tmp_path / "x"]
    run("export_llm", *missing).fails("9epoch.pth does not exist")
    wrong = ["--exp", learned / "exp", "--llm", other / "joint", "--output", tmp_path / "x"]
    run("export_llm", *wrong).fails("trained with another llm", "give the LLM")
    assert not (tmp_path / "x").exists()
