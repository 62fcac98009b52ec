"""The recipes of real speech from the corpus to the table, cut down: a few utterances, models too
small to learn anything. What is tested is that every stage takes what the one before it left."""

import json
import re
import subprocess

import chat_llms
import corpora
import pytest
import yaml
from recipe_copies import TINY_OPTIONS, copy_recipe, environment

from espnet_audiollm.data import kaldi_dir
from espnet_audiollm.store import responses


@pytest.fixture
def recipe(root, tmp_path):
    """recipe(name): a copy of egs2/<name> beside links to the rest of the checkout."""
    return lambda name: copy_recipe(root, tmp_path, name)


def run(place, *options):
    command = [str(place / "run.sh"), *map(str, options), *TINY_OPTIONS]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, env=environment())
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
    pieces = ("--token_type", "bpe", "--vocab_size", 40)  # the LLM's own are letters, almost
    run(place, *options, "--local_data_opts", "--subset true", *pieces)
    check_results(place, "librispeech", "test", 2)


def test_fsdd(recipe, shared):
    place = recipe("fsdd")
    few = "--num_train 16 --num_valid 4 --num_test 4 --llm_conversations 300 --llm_eval 10"
    words = ("--local_data_opts", few, "--noises", "room:0.3:-2")
    run(place, "--fsdd", shared / "data/fsdd", *words)
    check_results(place, "fsdd", "test_known", 4)
    titles = re.findall("^## (.*)", (place / "exp/RESULTS.md").read_text(), re.MULTILINE)
    noisy = ["test_known_room0.3_-2", "test_known, with noise"]
    assert {"test_known", "test_new", *noisy} <= set(titles)
    sweep = json.loads((place / "exp/results.json").read_text())["sweeps"][0]
    assert [found["name"] for found in sweep["conditions"]] == ["no noise", "room, 0.3 s, -2 dB"]


@pytest.mark.slow
def test_covost2(recipe, tmp_path):
    """Speech translation: the LLM reads what to do in stages 7, 9 and 10, and scored by BLEU."""
    place, corpus = recipe("covost2"), tmp_path / "cv"
    corpora.spoken_covost(corpus)
    llm = chat_llms.save_tiny_llm(tmp_path / "llm")
    options = ("--commonvoice", corpus, "--pair", "fr_en", "--llm", llm)
    options += ("--token_type", "word")
    run(place, *options, "--local_data_opts", f"--subset true --covost2 {corpus}")
    check_results(place, "covost2", "test", 4)
    prompt = "Translate what the user says into English. Answer with the translation alone."
    for split in ("train", "valid", "test"):
        store = responses.read_about(place / "dump" / split / "responses")
        assert store["system_prompt"] == prompt
    config = (place / "exp/audiollm_test/config.yaml").read_text()
    assert yaml.safe_load(config)["system_prompt"] == prompt
    assert kaldi_dir.read_dict(place / "dump/test/translation")["common_voice_fr_101"] == (
        "The cat eats in the morning."
    )
    assert "BLEU" in (place / "exp/RESULTS.md").read_text()


def make_triviaqa(place):
    corpora.triviaqa(place)
    return "--num_train 2 --num_valid 1 --num_test 1"


def make_covost(place):
    corpora.common_voice(place)
    corpora.covost(place / "covost")
    return f"--covost2 {place}/covost"


def make_cvss(place):
    corpora.common_voice(place)
    corpora.cvss(place)
    return f"--cvss {place}"


CORPORA = {  # recipe: (the option that names the corpus, how a small one is made, utterances)
    "an4": ("an4", corpora.an4, 1),
    "commonvoice": ("commonvoice", corpora.common_voice, 4),
    "covost2": ("commonvoice", make_covost, 3),
    "cvss": ("commonvoice", make_cvss, 3),
    "mls_english": ("mls_english", corpora.mls, 6),
    "spoken_squad": ("spoken_squad", corpora.spoken_squad, 1),
    "triviaqa_tts": ("triviaqa", make_triviaqa, 2),
    "voxpopuli": ("voxpopuli", corpora.voxpopuli, 2),
    "webquestions_tts": ("webquestions", corpora.webquestions, 3),
}
LANG = {"commonvoice": ["--lang", "fr"], "cvss": ["--lang", "fr"], "voxpopuli": ["--lang", "de"]}


@pytest.mark.parametrize("name", CORPORA)
def test_the_first_two_stages(recipe, tmp_path, name):
    """run.sh, data.sh and stage 2 take what the preparation leaves, in every format there is."""
    option, make, number = CORPORA[name]
    corpus = tmp_path / "corpora" / "small"
    corpus.parent.mkdir()
    more = make(corpus)
    words = f"--subset true {more or ''}"
    place = recipe(name)
    few = ("--min_audio", 0.05, "--stop_stage", 2, *LANG.get(name, ()))
    run(place, f"--{option}", corpus, "--local_data_opts", words, *few)
    for split in ("train", "valid", "test"):
        assert (place / "dump" / split / ".done").is_file()
    assert sum(1 for _ in kaldi_dir.read_table(place / "dump/train/wav.scp")) == number
    assert (place / "dump/train/text").is_file()
