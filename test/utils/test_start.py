"""The tools as a user starts them: through a recipe's link, with the system's Python."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = sorted(path for path in (ROOT / "utils/data").glob("*.py") if path.name != "_start.py")


def start(place, *words):
    (place / "utils").symlink_to(ROOT / "utils")
    return subprocess.run(
        words, cwd=place, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}, check=False
    )


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: path.stem)
def test_help_with_an_example(path, tmp_path):
    done = start(tmp_path, f"utils/data/{path.name}", "--help")
    assert done.returncode == 0, done.stderr
    assert f"usage: {path.name}" in done.stdout
    assert f"utils/data/{path.name}" in done.stdout.partition("xample")[2]


def test_an_error_is_one_sentence(tmp_path):
    done = start(tmp_path, "utils/data/validate.py", "none")
    assert done.returncode == 1
    assert done.stderr.startswith("validate: error: 1 kinds of error in the data:\n")
