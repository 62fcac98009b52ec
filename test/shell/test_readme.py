"""Every command that the guides show exists, and takes the options it is shown with."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

GUIDES = (
    "README.md",
    "CONTRIBUTING.md",
    "egs2/TEMPLATE/audiollm1/README.md",
    "docs/cluster.md",
    "docs/first_real_run.md",
    "docs/speechlm.md",
)
COMMAND = re.compile(r"^    ((?:\./|tools/|egs2/|utils/|python )\S.*?)(?:\s{2,}#.*)?$")


def shown_commands(root: Path) -> list[tuple[str, list[str]]]:
    """(guide, words) of every indented line that is a command; continued lines are joined."""
    found = []
    for guide in GUIDES:
        text = (root / guide).read_text().replace("\\\n", " ")
        for line in text.splitlines():
            match = COMMAND.match(line)
            if match and not match[1].split()[0].endswith("/"):
                found.append((guide, shlex.split(match[1])))
    return found


def recipe_help(root: Path) -> str:
    done = subprocess.run(
        [str(root / "egs2/mini/audiollm1/run.sh"), "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_guides_show_commands(root):
    assert len(shown_commands(root)) >= 5


def test_shown_programs_exist(root):
    for guide, words in shown_commands(root):
        if words[0] == "python":
            continue
        places = [root, root / "egs2/librispeech/audiollm1"]
        assert any((place / words[0]).is_file() for place in places), (guide, words)


def test_shown_options_of_recipes_exist(root):
    known = set(re.findall(r"--[a-z_]+", recipe_help(root))) | {"--help"}
    known |= {f"--{recipe.name}" for recipe in (root / "egs2").iterdir()}  # where a corpus lies
    for guide, words in shown_commands(root):
        if words[0].endswith("run.sh") and "test/" not in words[0]:
            options = {word for word in words[1:] if word.startswith("--") and " " not in word}
            assert options <= known, (guide, words, options - known)


def test_shown_configurations_exist(root):
    places = [root, *(root / f"egs2/{name}/audiollm1" for name in ("mls_english", "librispeech"))]
    for guide, words in shown_commands(root):
        for word in (word for word in words if re.fullmatch(r"\S*conf/\S+", word)):
            assert any((place / word).is_file() for place in places), (guide, word)


def test_shown_modules_have_help(root):
    for guide, words in shown_commands(root):
        if words[:2] == ["python", "-m"]:
            help_ = [sys.executable, "-m", words[2], "--help"]
            done = subprocess.run(help_, cwd=root, capture_output=True, text=True)
            assert done.returncode == 0, (guide, words, done.stderr)


@pytest.mark.parametrize("link", ["egs2/TEMPLATE/audiollm1/README.md", "docs/LOG.md", "LICENSE"])
def test_what_the_readme_names_is_there(root, link):
    assert (root / link).is_file()
