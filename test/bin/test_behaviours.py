"""Stages 7 to 9 with behaviours, through their commands, on a random Llama and noises."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import chat_llms
import pytest
import torch
import yaml
from tiny_tasks import task_options
from written_runs import read_store

from espnet_audiollm.bin import audiollm_train, data_lengths, generate_responses
from espnet_audiollm.data.prompt import AUDIO_SLOT, encode
from espnet_audiollm.model import llm as llms
from espnet_audiollm.store import responses
from espnet_audiollm.store.tables import read_table
from espnet_audiollm.train import checkpoints
from espnet_audiollm.types import Audio, Turn

OWN = {"role": "assistant"}


def user(text):
    return {"role": "user", "text": text}


CONTEXTS = [
    {"name": "alone", "weight": 1},
    {"name": "say", "weight": 1, "turns": [user("w1 {speech} w2")]},
    {"name": "later", "weight": 2, "turns": [user("{other}"), OWN, user("{speech}")]},
    {"name": "about", "weight": 2, "turns": [user("{speech}"), OWN, user("w3")]},
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, data) -> Path:
    """The noises as stage 2 leaves them, with words that the random Llama has."""
    root = tmp_path_factory.mktemp("corpus")
    shutil.copy(data / "wav.scp", root)
    shutil.copy(data / "shape", root / "utt2num_samples")
    (root / "text").write_text("".join(f"u{i} w{i} w{i + 4}\n" for i in range(8)))
    (root / "some.yaml").write_text(yaml.safe_dump(CONTEXTS))
    return root


def stage7(corpus, llm_dir, output, **more):
    options = {"llm": llm_dir, "data": corpus, "output": output, "batch_size": 4, "shard_size": 6}
    options |= {"behaviours": corpus / "some.yaml", "behaviours_per_utterance": 2} | more
    given = [str(w) for name, value in options.items() if value for w in (f"--{name}", value)]
    generate_responses.main([*given, "--device", "cpu"])


@pytest.fixture(scope="module")
def store(corpus, llm_dir, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("store") / "responses"
    stage7(corpus, llm_dir, output)
    return output


def contents(directory):
    return {p.name: p.read_bytes() for p in directory.iterdir() if not p.name.endswith(".index")}


def test_the_teacher_is_added_to_a_complete_store(corpus, llm_dir, store, tmp_path):
    """As where an alignment by the teacher's distributions follows one without."""
    shutil.copytree(store, tmp_path / "later")
    for name in ("later", "at_once"):
        stage7(corpus, llm_dir, tmp_path / name, teacher_top_k=3)
    later, at_once = (contents(tmp_path / name / "teacher") for name in ("later", "at_once"))
    assert later == at_once and {"prompt_ids", "top_k", "top_k.bin"} <= later.keys()


def test_prompts_are_those_that_were_answered(corpus, llm_dir, store):
    """Transcripts in the slots give the text prompt, and the response is what it draws."""
    llm = llms.load(str(llm_dir))
    texts, wavs = read_table(corpus / "text"), read_table(corpus / "wav.scp")
    samples = read_table(corpus / "utt2num_samples")
    tables = {name: read_table(store / name) for name in responses.ASKED}
    recordings, lengths = read_table(store / "recordings"), read_table(store / "recording_samples")
    read = read_store(store)
    assert len(read) == 16 and len({id_.split("!")[1] for id_ in read}) == 4
    for id_, response in read.items():
        prompt = list(map(int, tables["prompt_ids"][id_].split()))
        utterances = tables["utterances"][id_].split()
        assert prompt.count(AUDIO_SLOT) == len(utterances) == 1 + id_.endswith("!later")
        assert utterances[-1] == id_.split("!")[0]
        assert json.loads(recordings[id_]) == [wavs[u] for u in utterances]
        assert lengths[id_].split() == [samples[u] for u in utterances]
        said = iter([llm.tokenizer(texts[u])["input_ids"] for u in utterances])
        written = [i for token in prompt for i in (next(said) if token == AUDIO_SLOT else [token])]
        expected = chat_llms.by_transformers(llm, written, 4 * len(written))
        assert tuple(response.response_ids) == expected
    [one] = [id_ for id_ in read if id_.endswith("!say")][:1]
    turn = Turn("user", ("w1 ", Audio(), " w2"))
    assert list(map(int, tables["prompt_ids"][one].split())) == encode((turn,), llm.tokenizer)


def test_jobs_and_a_second_run(corpus, llm_dir, store, tmp_path, monkeypatch):
    for job in (3, 1, 2):
        stage7(corpus, llm_dir, tmp_path, job=job, num_jobs=3)
    merge = ["--merge", "--num_jobs", "3", "--output", str(tmp_path)]
    generate_responses.main([*merge, "--data", str(corpus), "--behaviours", "conf/gone.yaml"])
    assert contents(tmp_path) == contents(store)
    monkeypatch.setattr(llms, "load_llm", None)  # nothing is left to answer
    (tmp_path / "recordings").unlink()
    stage7(corpus, llm_dir, tmp_path)
    assert contents(tmp_path) == contents(store)


def test_a_killed_run_goes_on(corpus, llm_dir, store, tmp_path, monkeypatch):
    from espnet_audiollm.infer.systems import System

    converse, calls = System.converse, []

    def killed(self, *args):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return converse(self, *args)

    monkeypatch.setattr(System, "converse", killed)
    with pytest.raises(KeyboardInterrupt):
        stage7(corpus, llm_dir, tmp_path)
    assert not (tmp_path / "response_ids").exists()
    stage7(corpus, llm_dir, tmp_path)
    assert contents(tmp_path) == contents(store)
    assert len(calls) == 2 + 2  # of 3 batches one was there


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"behaviours_per_utterance": 1},
        {"contexts": [*CONTEXTS[1:], {**CONTEXTS[0], "weight": 5}]},
        {"behaviours": ""},
    ],
)
def test_what_a_store_depends_on(corpus, llm_dir, store, tmp_path, capsys, change):
    before = contents(store)
    if "contexts" in change:
        (tmp_path / "some.yaml").write_text(yaml.safe_dump(change["contexts"]))
        change = {"behaviours": tmp_path / "some.yaml"}
    with pytest.raises(SystemExit):
        stage7(corpus, llm_dir, store, **change)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "other --behaviours, --behaviours_per_utterance or --seed" in said
    assert said.endswith("delete the directory or choose another one")
    assert contents(store) == before


def test_without_behaviours_a_store_is_as_it_was(corpus, llm_dir, tmp_path):
    stage7(corpus, llm_dir, tmp_path, behaviours="")
    names = {"store.json", "response_ids", "shard.00000.jsonl", "shard.00001.jsonl"}
    assert contents(tmp_path).keys() == names
    assert "behaviours" not in json.loads((tmp_path / "store.json").read_text())
    first = json.loads((tmp_path / "shard.00000.jsonl").read_text().splitlines()[0])
    assert tuple(first) == responses.FIELDS


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"data": "talks.jsonl"}, "--behaviours: .*talks.jsonl is no directory of utterances"),
        ({"data": ""}, "--behaviours needs --data"),
        ({"behaviours_per_utterance": 5}, "--behaviours_per_utterance 5: .* has 4 contexts"),
    ],
)
def test_bad_options(corpus, llm_dir, tmp_path, capsys, options, complaint):
    (corpus / "talks.jsonl").write_text("{}\n")
    if options.get("data"):
        options = {"data": corpus / options["data"]}
    with pytest.raises(SystemExit):
        stage7(corpus, llm_dir, tmp_path / "out", **options)
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and re.search(complaint, said[0])


def training(corpus, store, llm_dir, output, **more):
    cmd = task_options(corpus, output, "unused", **more)
    for split in ("train", "valid"):
        flag = f"--{split}_data_path_and_name_and_type"
        while flag in cmd:
            at = cmd.index(flag)
            del cmd[at : at + 2]
        sources = {
            "response_ids": "response,text_int",
            "recordings": "speech,recordings",
            "recording_samples": "recording_samples,text_int",
            "prompt_ids": "prompt,text_int",
        }
        cmd += [w for name, kind in sources.items() for w in (flag, f"{store}/{name},{kind}")]
        at = cmd.index(f"--{split}_shape_file")
        cmd[at + 1] = f"{output}/stats/speech_shape"
    stats = ["--responses", f"{store}/response_ids", "--samples", f"{store}/recording_samples"]
    data_lengths.main(["--data", str(corpus), *stats, "--output", f"{output}/stats"])
    return [*cmd, "--llm", str(llm_dir)]


def test_lengths_count_all_recordings(corpus, store, llm_dir, tmp_path):
    training(corpus, store, llm_dir, tmp_path)
    shapes = read_table(tmp_path / "stats/speech_shape")
    samples = read_table(corpus / "utt2num_samples")
    utterances = read_table(store / "utterances")
    assert {i: int(n) for i, n in shapes.items()} == {
        id_: sum(int(samples[u]) for u in each.split()) for id_, each in utterances.items()
    }


def test_training_learns_and_resumes(corpus, store, llm_dir, tmp_path):
    """It ends as one that was stopped after an epoch, whatever is batched with what."""
    undisturbed, resumed = tmp_path / "undisturbed", tmp_path / "resumed"
    audiollm_train.main(training(corpus, store, llm_dir, undisturbed, max_epoch=3))
    for max_epoch in (1, 3):
        cmd = training(corpus, store, llm_dir, resumed, max_epoch=max_epoch)
        audiollm_train.main([*cmd, "--resume", "true"])
    a, b = (checkpoints.load(place / "3epoch.pth") for place in (undisturbed, resumed))
    assert all(torch.equal(a[key], b[key]) for key in a if isinstance(a[key], torch.Tensor))
    stats = checkpoints.load(checkpoints.newest_undamaged(undisturbed))["reporter"]["stats"]
    assert stats[3]["train"]["loss"] < stats[1]["train"]["loss"]


def test_responses_without_their_prompts_are_refused(corpus, store, llm_dir, tmp_path, capsys):
    cmd = training(corpus, store, llm_dir, tmp_path)
    for at in [i for i, word in enumerate(cmd) if word.endswith(",prompt,text_int")][::-1]:
        del cmd[at - 1 : at + 1]
    with pytest.raises(SystemExit):
        audiollm_train.main(cmd)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{store}/prompt_ids as the train data 'prompt'" in said


@pytest.mark.long
def test_two_processes_learn_what_one_does(corpus, store, llm_dir, tmp_path, root):
    """Each has some examples of a batch, however many recordings they have."""
    step = dict(optim="sgd", optim_conf={"lr": 0.1}, max_epoch=1)
    audiollm_train.main(training(corpus, store, llm_dir, tmp_path / "one", **step))
    train = [sys.executable, "-m", "espnet_audiollm.bin.audiollm_train"]
    done = subprocess.run(
        [sys.executable, root / "utils/launch.py", "--num_procs", "2", "--", *train]
        + training(corpus, store, llm_dir, tmp_path / "two", **step),
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    one, two = (checkpoints.load(tmp_path / name / "1epoch.pth") for name in ("one", "two"))
    for key, weight in one.items():
        if isinstance(weight, torch.Tensor):
            torch.testing.assert_close(weight, two[key], msg=key)
