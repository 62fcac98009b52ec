"""The recipes of real speech from the corpus to the table, cut down: a few utterances, models too
small to learn anything. What is tested is that every stage takes what the one before it left."""

import json
import os
import shutil
import subprocess

import pytest

TINY = """
encoder: conformer
encoder_conf: {output_size: 16, attention_heads: 2, linear_units: 16, num_blocks: 1,
               subsampling: 8, subsampling_channels: 4}
batch_type: numel
batch_bins: 800000
max_epoch: 1
num_workers: 0
best_model_criterion: [[valid, loss, min]]
keep_nbest_models: 1
use_matplotlib: false
"""


@pytest.fixture
def recipe(root, tmp_path):
    """recipe(name): a copy of egs2/<name> beside links to the rest of the checkout."""

    def copy(name):
        for link in ("utils", "tools", "espnet_audiollm", "egs2/TEMPLATE", "egs2/mini"):
            (tmp_path / link).parent.mkdir(exist_ok=True)
            (tmp_path / link).symlink_to(root / link)
        place = tmp_path / "egs2" / name / "audiollm1"
        left = shutil.ignore_patterns("data", "dump", "exp", "downloads")
        shutil.copytree(root / "egs2" / name / "audiollm1", place, symlinks=True, ignore=left)
        (place / "conf/train_ctc_test.yaml").write_text(TINY)
        adapter = "audio_adapter: stack\naudio_adapter_conf: {stack: 4}\n"
        (place / "conf/train_align_test.yaml").write_text(TINY + adapter)
        return place

    return copy


TEST_OPTIONS = (
    "--ctc_config conf/train_ctc_test.yaml --align_configs conf/train_align_test.yaml "
    "--ctc_checkpoints valid.loss.ave.pth --nj 2"
).split()


def run(place, *options):
    command = [str(place / "run.sh"), *map(str, options), *TEST_OPTIONS]
    done = subprocess.run(
        command, cwd="/", capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def check_results(place, recipe, test_set, num_utts):
    results = json.loads((place / "exp/results.json").read_text())
    assert (results["recipe"], results["test_set"]) == (recipe, test_set)
    systems = {system["name"]: system for system in results["systems"]}
    assert set(systems) == {"reference", "cascade", "audiollm", "no_prompt"}
    assert {system["num_utts"] for system in systems.values()} == {num_utts}
    assert len({system["num_response_tokens"] for system in systems.values()}) == 1
    assert all(system["response_ppl"] >= 1 for system in systems.values())


def shortest(part, number):
    """The speakers of a part with the smallest recordings: one utterance each."""
    sizes = sorted((p.stat().st_size, p.parents[1]) for p in part.glob("*/*/*.flac"))
    return [speaker for _, speaker in sizes[:number]]


def test_librispeech(recipe, shared, tmp_path):
    place, corpus = recipe("librispeech"), tmp_path / "Libri Speech"
    for part, number in (("train-clean-100", 8), ("dev-clean", 2), ("test-clean", 2)):
        (corpus / part).mkdir(parents=True)
        for speaker in shortest(shared / "data/LibriSpeech" / part, number):
            (corpus / part / speaker.name).symlink_to(speaker)
    llm = shared / "models/stories260k"
    options = ("--librispeech", corpus, "--llm", llm, "--chat_template", "conf/plain.jinja")
    run(place, *options, "--local_data_opts", "--subset true", "--vocab_size", 40)
    check_results(place, "librispeech", "test", 2)


def test_fsdd(recipe, shared):
    place = recipe("fsdd")
    few = "--num_train 16 --num_valid 4 --num_test 4 --llm_conversations 300 --llm_eval 10"
    run(place, "--fsdd", shared / "data/fsdd", "--local_data_opts", few, "--vocab_size", 24)
    check_results(place, "fsdd", "test_known", 4)
    assert "test_new" in (place / "exp/RESULTS.md").read_text()
