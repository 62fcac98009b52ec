"""The speech LM's recipe: its stages on a tiny corpus, and its configurations."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from espnet_audiollm.data.task_mixture import read_mixture

CONFIGS = ["TEMPLATE", "mini"]
SPEECHGPT = {"1_units": "all", "2_crossmodal": "all", "3_chain": "lora"}
SLOTS = {"{split}": "test", "{data}": "d", "{units}": "u", "{answer_units}": "a"}
TINY = """
batch_type: numel
batch_bins: 4000
max_epoch: 1
optim: adafactor
optim_conf: {lr: 0.01}
num_workers: 0
num_att_plot: 0
best_model_criterion: [[valid, loss, min]]
keep_nbest_models: 1
use_matplotlib: false
"""


@pytest.mark.parametrize("recipe", CONFIGS)
@pytest.mark.parametrize("name, trained", SPEECHGPT.items())
def test_speechgpt_s_stages_are_configurations(root, recipe, name, trained, tmp_path):
    from espnet_audiollm.data.unit_tokens import UnitVocabulary, VocabularySet
    from espnet_audiollm.tasks.speechlm import SpeechLMTask, build_tuning

    conf = root / "egs2" / recipe / "speechlm1/conf"
    words = ["--config", str(conf / f"speechgpt/{name}.yaml"), "--output_dir", "none"]
    args = SpeechLMTask.get_parser().parse_args(words)
    tuning = build_tuning(args, UnitVocabulary((VocabularySet("f", 9, 25.0),), "e", "mean", 0))
    rank = 32 if recipe == "mini" and name == "3_chain" else 8  # docs/speechlm.md
    assert tuning.train == trained and tuning.lora_rank == rank
    for file in (f"{name}_tasks.yaml", "test_tasks.yaml"):
        text = (conf / "speechgpt" / file).read_text()
        for slot, value in SLOTS.items():
            text = text.replace(slot, value)
        text = text.replace("conf/instructions", f"{conf}/instructions")
        (tmp_path / "tasks.yaml").write_text(text)
        for source in read_mixture(tmp_path / "tasks.yaml").sources:
            assert (source.instructions is None) == (file == "1_units_tasks.yaml")


@pytest.mark.parametrize("recipe", CONFIGS)
def test_configurations_are_of_the_task(root, recipe):
    from espnet_audiollm.tasks.speechlm import SpeechLMTask

    path = root / "egs2" / recipe / "speechlm1/conf/train_speechlm.yaml"
    args = SpeechLMTask.get_parser().parse_args(["--config", str(path), "--output_dir", "none"])
    assert args.best_model_criterion == [["valid", "loss", "min"]] and args.trained == "all"


@pytest.fixture(scope="module")
def systems(tmp_path_factory):
    """Tones with transcripts, and a random LLM."""
    import tiny_systems

    root = tmp_path_factory.mktemp("systems")
    tiny_systems.make_data(root / "data")
    tiny_systems.save_tiny_llm(root / "llm")
    return root


@pytest.fixture(scope="module")
def audiollm(systems, tmp_path_factory):
    """What audiollm1 leaves: three splits, an LLM's answers to them, and the run of the LLM itself
    on the test set."""
    from tiny_systems import WORDS
    from written_runs import write_store

    from espnet_audiollm.bin import respond
    from espnet_audiollm.infer.systems import reference_ids
    from espnet_audiollm.model import llm as llms

    llm = llms.load(str(systems / "llm"))
    about = {"fingerprint": llm.fingerprint, "chat_template_hash": llm.chat_template_hash}
    place = tmp_path_factory.mktemp("audiollm1")
    for split in ("train", "valid", "test"):
        data = place / "dump" / split
        shutil.copytree(systems / "data", data, ignore=shutil.ignore_patterns("wav", "bpe"))
        texts = {f"u{i:02}": f"{WORDS[i]} {WORDS[i + 1]} ." for i in range(12)}
        answers = {id_: (text, reference_ids(llm, text)) for id_, text in texts.items()}
        write_store(data / "responses", answers, **about)
        (data / "answers").write_text("".join(f"u{i:02} {WORDS[i]}\n" for i in range(12)))
    words = ["--system", "reference", "--llm", systems / "llm", "--data", place / "dump/test"]
    words += ["--references", place / "dump/test/responses"]
    words += ["--output", place / "exp/text/respond_test/reference"]
    assert respond.main([str(word) for word in words]) == 0
    return place


def run(root, place, *words):
    return subprocess.run(
        [root / "egs2/mini/speechlm1/run.sh", *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHON": sys.executable},
        cwd=place,
        capture_output=True,
        text=True,
    )


def tiny_run(systems, audiollm, tmp_path):
    """The words of a run from stage 4 on: mean patches speak, four utterances are judged."""
    words = ["--stage", 4, "--audiollm", audiollm, "--llm", f"{systems}/llm"]
    words += ["--unit_source", "fbank:4", "--unit_size", 5, "--max_tokens", 20, "--nj", 1]
    words += ["--answer_unit_source", "fbank:8", "--answer_unit_size", 6]
    words += ["--vocoder", "patches", "--judged_utterances", 4, "--listen", 2, "--timed", 2]
    words += ["--align_tag", ""]
    return [*words, "--dumpdir", tmp_path / "dump", "--expdir", tmp_path / "exp"]


@pytest.mark.long
def test_from_units_to_scores(root, systems, audiollm, tmp_path):
    (tmp_path / "train_tiny.yaml").write_text(TINY)
    words = tiny_run(systems, audiollm, tmp_path)
    words += ["--lm_config", tmp_path / "train_tiny.yaml"]
    done = run(root, tmp_path, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    exp = tmp_path / "exp/speechlm_tiny_fbank_4_5_spoken_fbank_8_6"
    results = json.loads((exp / "results.json").read_text())
    [system] = results["task_systems"]
    found = {(m["step"], m["name"]): m for m in system["measures"]}
    wanted = {("ASR", "WER %"), ("SQA", "success %"), ("QA", "success %"), ("faults", "no end %")}
    assert wanted <= found.keys()
    spoken = ["TTS", "SQSA", "QSA"]
    kinds = ["", ", true", ", units", ", shuffled"]
    assert {(step, f"ASR-WER %{kind}") for step in spoken for kind in kinds} <= found.keys()
    assert found["SQSA", "ASR-WER %, true"]["value"] < found["SQSA", "ASR-WER %, shuffled"]["value"]
    assert found["SQSA", "spoken success %, true"]["counts"].endswith("/4")
    assert results["recipe"] == "mini" and "./run.sh" in (exp / "RESULTS.md").read_text()
    assert json.loads((tmp_path / "exp/results.json").read_text())["task_systems"] == [system]
    check_comparison(tmp_path / "exp", exp.name, done.stdout)
    pages = sorted((exp / "respond_test").glob("*/listen.html"))
    assert len(pages) == 4 and "data:audio/" in pages[0].read_text()
    before = (exp / "1epoch.pth").stat().st_mtime_ns
    again = run(root, tmp_path, *words)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "learn.log" not in again.stdout and again.stdout.count("up to date") >= 30
    assert (exp / "1epoch.pth").stat().st_mtime_ns == before


def check_comparison(expdir, name, screen):
    """The LLM itself and the speech LM, on the same tokens; what both cost."""
    compared = json.loads((expdir / "comparison.json").read_text())
    reference, speech = compared["systems"]
    assert (reference["name"], speech["label"]) == ("reference", "AudioPaLM-style")
    assert reference["num_response_tokens"] == speech["num_response_tokens"] > 12
    assert speech["response_ppl"] > 1 and speech["success_rate"] is not None
    assert {each["name"] for each in speech["speech"]} >= {"spoken success %, true"}
    for system in (reference, speech):
        cost = system["answer_cost"]
        assert len(cost["ids"]) == 2 and min(cost["read"]) > 1 and cost["memory"] > 10**7
    cost = speech["trainings"][f"exp/{name}"]
    assert cost["trained"] > 1000 and cost["memory"] > 10**7 and cost["seconds"] > 0
    assert "AudioPaLM-style" in screen


def test_the_other_recipe_answers_each_transcript(root, tmp_path):
    """Whatever contexts its own default asks in: stage 6 reads the answers without any."""
    other = tmp_path / "audiollm1/run.sh"
    other.parent.mkdir()
    other.write_text('#!/usr/bin/env bash\nprintf "%s|" "$@" >> words\n')
    other.chmod(0o755)
    words = ["--audiollm", other.parent, "--stage", 3, "--stop_stage", 3]
    assert run(root, tmp_path, *words).returncode == 0
    said = (other.parent / "words").read_text()
    assert "--behaviours||" in said and "--stage|7|--stop_stage|7|" in said


def test_what_is_refused(root, tmp_path):
    for words, says in [
        (["--unit_source", ""], "--unit_source"),
        (["--stage", 14], "from 1 to 13"),
        (["--vocoder", "some"], "train, patches or none"),
        (["--stage", 7, "--answer_voice", ""], "--answer_voice NAME"),
        (
            ["--answer_unit_source", "", "--answer_voice", "", "--stage", 7],
            "--answer_voice NAME says",
        ),
        (["--units", "x"], "units"),
    ]:
        done = run(root, tmp_path, *words)
        assert done.returncode and says in done.stderr, done.stderr


def test_mini_s_configuration_says_what_it_learns(root):
    conf = yaml.safe_load((root / "egs2/mini/speechlm1/conf/train_speechlm.yaml").read_text())
    assert conf["optim"] == "muon" and conf["init"] == "llm"
