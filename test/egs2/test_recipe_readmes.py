"""What the recipes' READMEs say can be typed: options, configurations, links."""

import re
import shlex
from pathlib import Path

import pytest

from espnet_audiollm.bin import estimate

EGS2 = Path(__file__).parents[2] / "egs2"
READMES = sorted(EGS2.glob("*/*1/README.md"))
READMES = [path for path in READMES if "TEMPLATE" not in path.parts]
OPTION = re.compile(r"^([a-z][a-z_0-9]*)=", re.MULTILINE)
by_readme = pytest.mark.parametrize("readme", READMES, ids=lambda path: "-".join(path.parts[-3:-1]))


def options(script: Path) -> set[str]:
    return {f"--{name}" for name in OPTION.findall(script.read_text().split("parse_options.sh")[0])}


def script(recipe: Path) -> Path:
    """What run.sh calls."""
    return recipe / f"{recipe.name.removesuffix('1')}.sh"


def data_script(recipe: Path) -> Path:
    """What prepares the corpus: a speechlm1 takes the data of its audiollm1."""
    return recipe.parent / "audiollm1/local/data.sh"


def of_run_sh(recipe: Path) -> set[str]:
    """Options that a recipe's run.sh keeps for itself."""
    text = (recipe / "run.sh").read_text()
    names = re.findall(r'^take_option (\w+) |corpus_option.sh" (\w+) ', text, re.M)
    return {f"--{name}" for pair in names for name in pair if name}


def commands(readme: Path) -> list[list[str]]:
    """The words of every indented ./run.sh; continued lines are joined."""
    text = readme.read_text().replace("\\\n", " ")
    lines = [line.partition("  #")[0] for line in text.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("    ./run.sh ")]


@by_readme
def test_commands_have_options_that_exist(readme):
    recipe = readme.parent
    corpus = re.search(r'corpus_option.sh" (\w+) \w+ ', (recipe / "run.sh").read_text())[1]
    known = options(script(recipe)) | of_run_sh(recipe)
    own = options(data_script(recipe))
    assert f"--{corpus}" in own and commands(readme)
    for words in commands(readme):
        given = {word for word in words if word.startswith("--") and " " not in word}
        assert given <= known, (given - known, words)
        for before, word in zip(words, words[1:], strict=False):
            if before == "--local_data_opts":
                found = {w for w in word.split() if w.startswith("--")}
                assert found and found <= own, (found - own, words)
            if word.startswith("conf/"):
                assert (recipe / word).exists(), word


@by_readme
def test_options_and_configurations_in_the_text_exist(readme):
    recipe, text = readme.parent, readme.read_text()
    known = options(script(recipe)) | options(data_script(recipe)) | of_run_sh(recipe)
    for name in re.findall(r"`(--[a-z_0-9]+)", text):
        assert name in known, name
    for name in re.findall(r"`(conf/[\w.]+\.yaml)`", text):
        assert (recipe / name).is_file(), name


HOURS = re.compile(r"CTC ([\d,]+), responses ([\d,]+), alignment ([\d,]+) A100-hours")


@by_readme
def test_gpu_hours_are_those_of_the_command_beside_them(readme, capsys, monkeypatch):
    """No figure of an estimate stands there that bin/estimate does not give."""
    monkeypatch.chdir(readme.parent)
    text = readme.read_text().replace("\\\n", " ")
    found = []
    for words in re.findall(r"^    python -m espnet_audiollm.bin.estimate (.*)$", text, re.M):
        assert estimate.main(shlex.split(words)) == 0
        rows = re.findall(r"^\| [579]: .* ([\d,]+) \|$", capsys.readouterr().out, re.M)
        found.append(tuple(rows))
    assert HOURS.findall(text) == found
    measured = readme.parent.name == "audiollm1"  # bin/estimate knows no speech LM
    assert bool(found) == (measured and readme.parents[1].name not in ("an4", "cvss", "fsdd"))


@by_readme
def test_a_readme_says_what_it_must(readme):
    text = readme.read_text()
    assert len(text.splitlines()) <= 60  # a screen
    for word in ("Licence:", "://", "What it costs", "esults", "estimate"):
        assert word in text, word


def test_the_list_has_every_recipe():
    text = (EGS2 / "README.md").read_text()
    recipes = {path.parents[1].name for path in EGS2.glob("*/audiollm1/run.sh")}
    assert {name for name in recipes if not re.search(rf"^\| \[?{name}\b", text, re.M)} == set()
    for link in re.findall(r"\]\(([\w./]+)\)", text):
        assert (EGS2 / link).exists(), link
