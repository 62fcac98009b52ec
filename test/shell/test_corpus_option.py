"""utils/corpus_option.sh: what a recipe's run.sh takes out of its arguments."""

import subprocess
from pathlib import Path

import pytest

OPTIONS = Path(__file__).parents[2] / "utils/corpus_option.sh"
SCRIPT = f"""#!/usr/bin/env bash
set -euo pipefail
. "{OPTIONS}" songs SONGS "$@"
take_option pair PAIR
printf '[%s]' "${{SONGS:-}}" "${{PAIR:-none}}" ${{arguments[@]+"${{arguments[@]}}"}}
"""


@pytest.fixture
def run(tmp_path):
    script = tmp_path / "recipe/run.sh"
    script.parent.mkdir()
    script.write_text(SCRIPT)

    def call(*words, **environment):
        return subprocess.run(
            ["bash", script, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin", **environment},
        )

    return call


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        ([], "[][none]"),
        (["--songs", "/a b", "--llm", "x y"], "[/a b][none][--llm][x y]"),
        (["--songs=/a=b", "--pair=fr_en"], "[/a=b][fr_en]"),
        (["--pair", "fr_en", "--stage", "2", "--pair", "en_de"], "[][en_de][--stage][2]"),
        (["--name", "", "--song", "/a"], "[][none][--name][][--song][/a]"),
        (["--name", "$(id) `id` *"], "[][none][--name][$(id) `id` *]"),
    ],
)
def test_values_arrive_as_given(run, words, printed):
    done = run(*words)
    assert (done.stdout, done.stderr, done.returncode) == (printed, "", 0)


def test_a_path_is_from_where_the_command_was_typed(run, tmp_path):
    assert run("--songs", "here").stdout == f"[{tmp_path}/here][none]"
    assert run(SONGS="/there", PAIR="a_b").stdout == "[/there][a_b]"
    assert run("--songs", "here", SONGS="/there").stdout == f"[{tmp_path}/here][none]"


def test_a_value_that_is_missing(run):
    for option in ("--songs", "--pair"):
        done = run("--stage", "1", option)
        assert done.returncode == 1 and f"{option} needs a value" in done.stderr
