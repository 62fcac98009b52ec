"""The house rules that a machine can check."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SCRIPTS = {"audiollm1": "audiollm.sh", "speechlm1": "speechlm.sh"}  # of each kind of recipe
RECIPES = sorted(path.parent for kind in SCRIPTS for path in ROOT.glob(f"egs2/*/{kind}/run.sh"))
LINKS = {
    "cmd.sh": "../../TEMPLATE/common/cmd.sh",
    "db.sh": "../../TEMPLATE/common/db.sh",
    "path.sh": "../../TEMPLATE/common/path.sh",
    "stages.sh": "../../TEMPLATE/common/stages.sh",
    "utils": "../../../utils",
}
by_recipe = pytest.mark.parametrize(
    "recipe", RECIPES, ids=lambda path: f"{path.parent.name}-{path.name}"
)


def shell_files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    files = [ROOT / name for name in listed]
    files = [path for path in files if path.is_file() and not path.is_symlink()]
    return [str(path.relative_to(ROOT)) for path in files if is_shell(path)]


def is_shell(path: Path) -> bool:
    with open(path, "rb") as file:
        first = file.readline()
    return path.suffix == ".sh" or (first.startswith(b"#") and re.search(rb"\bbash\b", first))


def clean(tool: str, *words: str) -> None:
    """The tool of this environment finds nothing to say."""
    done = subprocess.run([BIN / tool, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("words", [("check", "."), ("format", "--check", ".")], ids=lambda w: w[0])
def test_ruff(words):
    clean("ruff", *words)


def test_mypy():
    clean("mypy")


def test_no_test_edits_where_modules_are_looked_for():
    """pyproject.toml has the pythonpath; what several tests share lies in test/."""
    edit = re.compile(r"\bsys\.path(\.|\[:)")
    assert not [str(p) for p in ROOT.glob("test/**/*.py") if edit.search(p.read_text())]


def test_the_shell_files_are_found():
    files = shell_files()
    assert "egs2/TEMPLATE/audiollm1/audiollm.sh" in files and ".ci/run" in files


def test_shellcheck():
    clean("shellcheck", "-x", *shell_files())


def test_shfmt():
    """Its options are in .editorconfig."""
    clean("shfmt", "-d", *shell_files())


@by_recipe
def test_recipe_links_into_the_template(recipe):
    found = {path.name: os.readlink(path) for path in recipe.iterdir() if path.is_symlink()}
    script = SCRIPTS[recipe.name]
    assert found == LINKS | {script: f"../../TEMPLATE/{recipe.name}/{script}"}
    assert all((recipe / name).exists() for name in found)


@by_recipe
def test_run_sh_is_short_and_its_options_exist(recipe):
    lines = (recipe / "run.sh").read_text().splitlines()
    assert len([line for line in lines if line.strip() and not line.startswith("#")]) <= 20
    block = (recipe / SCRIPTS[recipe.name]).read_text().split("parse_options.sh")[0]
    known = set(re.findall(r"^([a-z][a-z_]*)=", block, re.MULTILINE))
    given = set(re.findall(r"^\s+--([a-z_]+)", "\n".join(lines), re.MULTILINE))
    assert given and given <= known


@by_recipe
def test_configurations_that_run_sh_names_exist(recipe):
    for name in re.findall(r"[\w./-]*conf/[\w./-]+", (recipe / "run.sh").read_text()):
        assert (recipe / name).is_file(), name


@pytest.mark.parametrize(
    "path",
    sorted(ROOT.glob("egs2/*/*/conf/*.yaml")),
    ids=lambda path: str(path.relative_to(ROOT / "egs2")),
)
def test_configuration_parses(path):
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_check_env_finds_what_the_tests_run_on():
    done = subprocess.run([ROOT / "tools/check_env", "--llm", "no/such/dir"], capture_output=True)
    lines = {line.split()[1]: line for line in done.stdout.decode().splitlines()[1:-1]}
    assert lines["Python"].startswith("ok")
    assert lines["LLM"].startswith("MISSING") and "->" in lines["LLM"]
    assert done.returncode == 1


def test_files_that_the_tests_share_or_mark_exist():
    import conftest

    groups = {"mini_run", "slurm"}
    assert all((ROOT / name).is_file() for name in {*conftest.MINI_RUN, *conftest.LONG} - groups)
