"""From a training to answers: bin/export_llm, bin/respond_tasks and bin/score_tasks."""

import json

import pytest
import torch
from tiny_speechlm import make_joint, make_tables, make_world, options, write_tasks
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
    assert read_set(tts / "audio").quantiser == read_vocabulary(learned / "llm").output.quantiser
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


def test_other_answers_take_away_what_was_made_of_the_first(learned, run, tmp_path):
    out = tmp_path / "out"
    respond(run, learned, out).says()
    for name in ("t.tts_english/judged/audio/speech.json", "run/run.json"):
        (out / name).parent.mkdir(parents=True)
        (out / name).write_text("{}")
    respond(run, learned, out)
    assert (out / "t.tts_english/judged/audio/speech.json").exists()  # the same answers
    respond(run, learned, out, "--max_tokens", 3).says()
    assert not (out / "t.tts_english/judged").exists() and (out / "t.tts_english/faults").exists()
    assert (out / "run/run.json").exists()


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


STAGES = {  # of SpeechGPT: tasks, what is trained, epochs
    "1_units": (["[LM]"], "all", 2),
    "2_crossmodal": (["[ASR English]", "[TTS English]"], "all", 30),
    "3_chain": (["[ASR SQA SQSA English]"], "lora", 30),
}


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """A training from the export of the one before, three times."""
    from espnet_audiollm.bin import export_llm

    place, begun = tmp_path_factory.mktemp("stages"), "joint"
    joint = make_joint(place)
    (place / "ways.yaml").write_text("ASR: ['What is {input}']\nTTS: ['Say {input}']\n")
    for split, number in (("train", 24), ("valid", 6)):
        make_tables(place / split, joint, number, seed=number)
    for name, (tags, how, epochs) in STAGES.items():
        world = place / name
        for split in ("train", "valid"):
            (world / split).mkdir(parents=True)
            fields = {"audio": f"{place}/{split}/audio", "text": f"{place}/{split}/text"}
            fields |= {"answer": fields["text"], "answer_audio": fields["audio"]}
            source = {"name": "a", "tasks": tags, "fields": fields}
            source |= {} if name == "1_units" else {"language": "English"}
            ways = {"instructions": f"{place}/ways.yaml"} if name == "2_crossmodal" else {}
            write_tasks(world / split, joint, {"sources": [source | ways]})
        (world / "joint").symlink_to(place / begun)
        more = dict(trained=how, max_epoch=epochs, scheduler=None, batch_bins=500)
        SpeechLMTask.main(cmd=options(world, world / "exp", **more))
        words = ["--exp", f"{world}/exp", "--output", f"{place}/llm_{name}"]
        assert export_llm.main(words) == 0
        begun = f"llm_{name}"
    return place


def test_trainings_go_on_from_one_another(stages, run, tmp_path):
    facts = [read_vocabulary(stages / name) for name in ("joint", "llm_1_units", "llm_3_chain")]
    assert facts[0] == facts[1] == facts[2]
    weights = [
        AutoModelForCausalLM.from_pretrained(stages / f"llm_{name}").state_dict() for name in STAGES
    ]
    key = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(weights[0][key], weights[1][key])
    assert torch.equal(weights[1][key], weights[2][key])  # LoRA has queries and values alone
    key = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(weights[1][key], weights[2][key])
    [block] = read_about(stages / "1_units/train/tasks").blocks
    assert block.size < 24 and block.name == "a.lm"  # packed
    words = ["--max_tokens", 40, "--output", tmp_path / "o"]
    tasks = stages / "3_chain/valid/tasks"
    run("respond_tasks", "--llm", stages / "llm_3_chain", "--tasks", tasks, *words).says("no end")
    chain = tmp_path / "o/a.asr_sqa_sqsa_english"
    assert read_dict(chain / "reference/answer") == read_dict(stages / "valid/text")
    assert read_dict(chain / "reference/answer_audio/units") == read_dict(
        stages / "valid/audio/units"
    )
    tasks = stages / "1_units/valid/tasks"
    run("respond_tasks", "--llm", stages / "llm_3_chain", "--tasks", tasks, *words).fails(
        "1 of 1 tasks", "first: a.lm", "without them"
    )


def test_a_stage_of_another_vocabulary_is_refused(stages, tmp_path):
    other = make_joint(tmp_path, seed=5)
    world = stages / "2_crossmodal"
    cmd = [
        str(other) if word == f"{world}/joint" else word for word in options(world, tmp_path / "x")
    ]
    with pytest.raises(ValueError, match="another llm .*prepare the tasks again"):
        SpeechLMTask.main(cmd=cmd)
