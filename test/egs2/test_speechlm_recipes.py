"""The recipes of discrete speech LMs: what run.sh gives to speechlm.sh, tasks, configurations."""

import shutil
import subprocess
from pathlib import Path

import pytest

from espnet_audiollm.data.task_mixture import read_mixture

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path.parents[1].name for path in ROOT.glob("egs2/*/speechlm1/run.sh"))
SLOTS = {"{split}": "test", "{data}": "d", "{units}": "u", "{answer_units}": "a"}
SLOTS |= {"{translation_units}": "t"}
TASKS = {  # recipe: (options of run.sh, tags)
    "librispeech": ([], ["ASR", "TTS", "SQA", "SQSA", "ASR SQA SQSA"]),
    "voxpopuli": (["--lang", "de"], ["ASR", "TTS"]),
    "commonvoice": (["--lang", "zh-CN"], ["ASR", "TTS"]),
    "covost2": (["--pair", "es_en"], ["ASR", "AST", "MT", "ASR AST"]),
    "cvss": (
        ["--lang", "es"],
        ["ASR", "AST", "MT", "S2ST", "AST S2ST", "ASR AST S2ST", "ASR", "TTS"],
    ),
    "mini": ([], ["ASR", "QA", "SQA", "QSA", "SQSA", "ASR SQA SQSA", "TTS"]),
}


def given(recipe: str, place: Path, *options: str) -> dict[str, str]:
    """The options that run.sh gives to speechlm.sh, the last of each."""
    source = ROOT / "egs2" / recipe / "speechlm1"
    shutil.copy(source / "run.sh", place)
    (place / "utils").symlink_to(ROOT / "utils")
    (place / "speechlm.sh").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (place / "speechlm.sh").chmod(0o755)
    done = subprocess.run([place / "run.sh", *options], capture_output=True, text=True, check=True)
    words = done.stdout.split("\n")
    return {a[2:]: b for a, b in zip(words, words[1:], strict=False) if a.startswith("--")}


def mixture_of(recipe: str, name: str, words: dict[str, str], place: Path):
    """A configuration of tasks, as a run with these options reads it; and its tags."""
    text = (ROOT / "egs2" / recipe / "speechlm1/conf" / name).read_text()
    for slot, value in SLOTS.items():
        text = text.replace(slot, value)
    (place / "tasks.yaml").write_text(text)
    languages = (words.get("language"), words.get("translation_language"))
    mixture = read_mixture(place / "tasks.yaml", languages)
    tags = [" ".join(task.steps) for source in mixture.sources for task in source.tasks]
    return mixture, tags


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_mixture_has_the_corpus_s_tasks(tmp_path, recipe):
    options, tags = TASKS[recipe]
    words = given(recipe, tmp_path, *options)
    mixture, found = mixture_of(recipe, "tasks.yaml", words, tmp_path)
    assert found == tags
    spoken = {"answer_audio": "answer_voice", "translation_audio": "spoken_translations"}
    made = {field for source in mixture.sources for field in source.fields}
    assert all((field in made) == bool(words.get(option)) for field, option in spoken.items())


@pytest.mark.parametrize(
    "recipe, name, held_out",
    [("covost2", "zero_shot_ast.yaml", "AST"), ("mini", "ablation/held_out.yaml", "SQA")],
)
def test_what_is_held_out_is_among_the_tasks_asked(tmp_path, recipe, name, held_out):
    options, tags = TASKS[recipe]
    _, learned = mixture_of(recipe, name, given(recipe, tmp_path, *options), tmp_path)
    assert set(learned) < set(tags) and held_out in set(tags) - set(learned)
    assert not any(held_out in tag.split() for tag in learned)


def test_languages_and_voices_are_the_options(tmp_path):
    places = iter(tmp_path / str(number) for number in range(9))

    def call(*words):
        place = next(places)
        place.mkdir()
        return given(*words[:1], place, *words[1:])

    assert call("voxpopuli")["vocoder"] == "train"  # English, which the judge knows
    german = call("voxpopuli", "--lang", "de")
    assert (german["language"], german["vocoder"]) == ("de", "none")
    pair = call("covost2", "--pair", "en_zh-CN", "--llm", "x", "--vocoder", "patches")
    assert (pair["language"], pair["translation_language"]) == ("en", "zh-CN")
    assert (pair["llm"], pair["vocoder"]) == ("x", "patches")
    assert call("cvss")["translation_speaker"] == "cvss_c"
    transferred = call("cvss", "--version", "t", "--lang", "fr")
    assert (transferred["language"], transferred["translation_speaker"]) == ("fr", "")


@pytest.mark.parametrize("recipe", RECIPES)
def test_help_lists_the_options(recipe):
    script = ROOT / "egs2" / recipe / "speechlm1/run.sh"
    done = subprocess.run([script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"--language", "--spoken_translations", "--lm_stages"} <= set(done.stdout.split())


@pytest.mark.parametrize("recipe", sorted(set(RECIPES) - {"mini"}))
def test_without_an_llm_it_says_so(recipe):
    script = ROOT / "egs2" / recipe / "speechlm1/run.sh"
    done = subprocess.run([script, "--stage", "6"], capture_output=True, text=True)
    assert done.returncode == 1 and "stage 6 needs --llm ID_OR_DIRECTORY" in done.stderr
