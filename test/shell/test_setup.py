"""setup.sh: a new recipe lacks nothing but its author's work; one that is there is not harmed."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

LINKS = {
    "audiollm.sh": "../../TEMPLATE/audiollm1/audiollm.sh",
    "cmd.sh": "../../TEMPLATE/common/cmd.sh",
    "db.sh": "../../TEMPLATE/common/db.sh",
    "path.sh": "../../TEMPLATE/common/path.sh",
    "stages.sh": "../../TEMPLATE/common/stages.sh",
    "utils": "../../../utils",
}
TEMPLATES = ("common", "audiollm1")


@pytest.fixture
def checkout(root, tmp_path):
    """A tree with a template of its own; the rest is linked."""
    shutil.copytree(root / "egs2/TEMPLATE", tmp_path / "egs2/TEMPLATE", symlinks=True)
    for name in ("utils", "tools", "espnet_audiollm"):
        (tmp_path / name).symlink_to(root / name)
    return tmp_path


def setup(checkout, *words):
    script = checkout / "egs2/TEMPLATE/common/setup.sh"
    return subprocess.run([script, *words], cwd=checkout, capture_output=True, text=True)


@pytest.fixture
def recipe(checkout):
    done = setup(checkout, "egs2/sea_shanties/audiollm1")
    assert done.returncode == 0, done.stderr
    assert "--sea_shanties DIR" in done.stdout
    return checkout / "egs2/sea_shanties/audiollm1"


def links(directory: Path) -> dict[str, str]:
    return {path.name: os.readlink(path) for path in directory.iterdir() if path.is_symlink()}


def state(directory: Path) -> dict[Path, tuple]:
    """What a second run might change: inode, time of change, target."""
    paths = sorted(path for path in directory.rglob("*") if not path.is_dir())
    return {
        path: (
            path.lstat().st_ino,
            path.lstat().st_mtime_ns,
            path.is_symlink() and os.readlink(path),
        )
        for path in paths
    }


def test_a_new_recipe_has_everything(recipe):
    assert links(recipe) == LINKS
    shared = {
        path.name: f"../../../TEMPLATE/{part}/conf/{path.name}"
        for part in TEMPLATES
        for path in (recipe.parents[1] / "TEMPLATE" / part / "conf").iterdir()
    }
    assert links(recipe / "conf") == shared
    for kind in ("ctc", "align"):
        own = recipe / f"conf/train_{kind}.yaml"
        assert yaml.safe_load(own.read_text())["num_iters_per_epoch"] and not own.is_symlink()
    for name in ("run.sh", "local/data.sh", "README.md"):
        text = (recipe / name).read_text()
        assert "sea_shanties" in text and "CORPUS" not in text and "VARIABLE" not in text
    code = [line for line in (recipe / "run.sh").read_text().splitlines() if line[:1] not in "#"]
    assert len(code) <= 10


def run(recipe, *words):
    return subprocess.run(
        [recipe / "run.sh", *map(str, words)], cwd="/", capture_output=True, text=True
    )


def test_it_says_what_is_to_be_written(recipe, tmp_path):
    (tmp_path / "corpus").mkdir()
    done = run(recipe, "--sea_shanties", tmp_path / "corpus", "--llm", "none")
    assert done.returncode == 1
    assert "data.sh is not written yet" in done.stderr and "stage 1" in done.stderr
    done = run(recipe, "--llm", "none")
    assert done.returncode == 1 and "--sea_shanties DIR" in done.stderr
    done = run(recipe, "--local_data_opts", "--subsett true", "--llm", "none")
    assert "the nearest is --subset" in done.stderr


def test_its_command_in_the_readme_is_one(recipe):
    text = (recipe / "README.md").read_text()
    assert re.search(r"\./run\.sh --sea_shanties \S+ --llm ", text)
    for word in ("Licence:", "://", "What it costs", "esults", "estimate"):
        assert word in text  # what test_recipe_readmes.py asks of all


def test_a_second_run_changes_nothing(checkout, recipe):
    (recipe / "run.sh").write_text("mine\n")
    (recipe / "conf/slurm.yaml").unlink()
    (recipe / "conf/slurm.yaml").write_text("mine\n")
    (recipe / "local/data.sh").unlink()
    before = state(recipe)
    done = setup(checkout, "egs2/sea_shanties/audiollm1")
    assert done.returncode == 0 and state(recipe) == before


def test_links_that_lead_nowhere_are_fixed(checkout, recipe):
    for name, target in {"path.sh": "../../OLD/path.sh", "utils": "/nowhere"}.items():
        (recipe / name).unlink()
        (recipe / name).symlink_to(target)
    (recipe / "conf/llm").unlink()
    assert setup(checkout, "egs2/sea_shanties/audiollm1").returncode == 0
    assert links(recipe) == LINKS and (recipe / "conf/llm").is_dir()


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("a", "b"),
        ("elsewhere",),
        ("egs2/Sea-Shanties/audiollm1",),
        ("egs2/sea_shanties/asr1",),
        ("egs2/sea_shanties/common",),
    ],
)
def test_refused(checkout, words):
    done = setup(checkout, *words)
    assert done.returncode == 1 and done.stderr.startswith("setup.sh: ")
    assert sorted(path.name for path in (checkout / "egs2").iterdir()) == ["TEMPLATE"]


def test_another_kind_has_a_template_of_its_own(checkout):
    other = checkout / "egs2/TEMPLATE/singing1"
    for name, text in {"singing.sh": "", "conf/tiny.yaml": "a: 1\n"}.items():
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_text(text)
    (other / "skeleton").mkdir()
    (other / "skeleton/run.sh").write_text("./singing.sh --CORPUS\n")
    done = setup(checkout, "egs2/sea_shanties/singing1")
    assert done.returncode == 0, done.stderr
    made = checkout / "egs2/sea_shanties/singing1"
    assert links(made) == {
        **{name: target for name, target in LINKS.items() if name != "audiollm.sh"},
        "singing.sh": "../../TEMPLATE/singing1/singing.sh",
    }
    assert set(links(made / "conf")) == {"tiny.yaml", "llm", "slurm.yaml"}
    assert (made / "run.sh").read_text() == "./singing.sh --sea_shanties\n"
    assert (made / "local/data.sh").is_file()


def test_a_speech_lm_in_one_command(checkout):
    done = setup(checkout, "egs2/sea_shanties/speechlm1")
    assert done.returncode == 0, done.stderr
    assert "audiollm1 is made" in done.stdout and "speechlm1 is made" in done.stdout
    made = checkout / "egs2/sea_shanties/speechlm1"
    assert (made.parent / "audiollm1/local/data.sh").is_file() and not (made / "local").exists()
    own = {name: target for name, target in LINKS.items() if name != "audiollm.sh"}
    assert links(made) == own | {"speechlm.sh": "../../TEMPLATE/speechlm1/speechlm.sh"}
    assert not (made / "conf/tasks.yaml").is_symlink() and (made / "conf/speechgpt").is_dir()
    for name in ("run.sh", "README.md", "conf/tasks.yaml"):
        text = (made / name).read_text()
        assert "sea_shanties" in text and "CORPUS" not in text and "VARIABLE" not in text
    before = state(made.parent)
    assert setup(checkout, "egs2/sea_shanties/speechlm1").returncode == 0
    assert state(made.parent) == before
    done = run(made, "--llm", "none", "--stop_stage", 1)
    assert done.returncode == 1 and "--sea_shanties DIR" in done.stderr


def recipes() -> list[Path]:
    root = Path(__file__).parents[2]
    return sorted(path.parent for path in root.glob("egs2/*/*1/run.sh"))


@pytest.mark.parametrize("source", recipes(), ids=lambda p: f"{p.parent.name}-{p.name}")
def test_the_recipes_are_as_setup_makes_them(checkout, source):
    """All have the template's links; who adds a configuration to it runs setup.sh for each."""
    own = checkout / "egs2" / source.parent.name / source.name
    if source.name != "audiollm1":  # which would be made, too
        below = own.parent / "audiollm1/run.sh"
        below.parent.mkdir(parents=True)
        below.touch()
    ignore = shutil.ignore_patterns("data", "dump", "exp", "downloads")
    shutil.copytree(source, own, symlinks=True, ignore=ignore)
    before = state(own)
    assert setup(checkout, own).returncode == 0
    assert state(own) == before
