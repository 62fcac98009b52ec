"""utils/parse_options.sh, as a script sees it."""

import subprocess
from pathlib import Path

import pytest

PARSER = Path(__file__).parents[2] / "utils/parse_options.sh"

SCRIPT = f"""#!/usr/bin/env bash
# Cook something.
set -euo pipefail
## Kitchen
max_audio=20 # Longest utterance kept (seconds).
name=plain   # A name.
resume=false # Whether.
bare=1
_hidden=1 # Not an option, nor are HIDDEN and hidden_words.
HIDDEN=1
hidden_words=(1)
. "{PARSER}"
late=1 # Not an option: it stands below.
printf '[%s]' "${{max_audio}}" "${{name}}" "${{resume}}" "${{bare}}" "$@"
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "cook.sh"
    path.write_text(SCRIPT)

    def run(*words):
        return subprocess.run(["bash", path, *words], capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        ([], "[20][plain][false][1]"),
        (["--max_audio", "17.5"], "[17.5][plain][false][1]"),
        (["--max-audio=3", "--resume", "true"], "[3][plain][true][1]"),
        (["--name", "two words  $(id) `id` 'x' *"], "[20][two words  $(id) `id` 'x' *][false][1]"),
        (["--name=a=b --c"], "[20][a=b --c][false][1]"),
        (["--name", "--train_opts 3"], "[20][--train_opts 3][false][1]"),
        (["--name", ""], "[20][][false][1]"),
        (["--bare", "2"], "[20][plain][false][2]"),
        (["--name", "x", "--", "rest", "--name", "y"], "[20][x][false][1][rest][--name][y]"),
        (["--", "--name"], "[20][plain][false][1][--name]"),
    ],
)
def test_values_arrive_as_given(script, words, printed):
    done = script(*words)
    assert (done.stdout, done.stderr, done.returncode) == (printed, "", 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max_audi", "3"], "unknown option --max_audi; the nearest is --max_audio"),
        (["--nome=x"], "unknown option --nome; the nearest is --name"),
        (["--bare", "x"], "--bare takes a number, not 'x'"),
        (["--_hidden", "2"], "unknown option --_hidden"),
        (["--HIDDEN", "2"], "unknown option --HIDDEN"),
        (["--hidden_words", "2"], "unknown option --hidden_words"),
        (["--late", "2"], "unknown option --late"),
        (["--PATH", "/"], "unknown option --PATH"),
        (["--name"], "--name needs a value"),
        (["--name", "--resume"], "--name needs a value, and the next word is the option --resume"),
        (["--resume", "yes"], "--resume takes true or false, not 'yes'"),
        (["--max_audio", "long"], "--max_audio takes a number, not 'long'"),
        (["-n", "3"], "'-n' is no option"),
        (["--name", "1", "0.9", "--bare", "2"], "'0.9' is no option"),
    ],
)
def test_mistakes_are_refused(script, words, message):
    done = script(*words)
    assert done.returncode == 1
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_is_the_option_block(script):
    done = script("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Cook something.\n")
    assert "\nKitchen\n" in done.stdout
    assert "--max_audio              Longest utterance kept (seconds). [20]" in done.stdout
    assert "--bare                   [1]" in done.stdout
    assert "hidden" not in done.stdout and "late" not in done.stdout


def run(tmp_path, body):
    script = tmp_path / "data.sh"
    script.write_text(f"#!/usr/bin/env bash\nset -euo pipefail\n{body}\n")
    return subprocess.run(["bash", script], capture_output=True, text=True, check=False), script


@pytest.mark.parametrize("options", ['coffee=""', ""])
def test_no_comment_and_no_option_are_needed(tmp_path, options):
    done, _ = run(tmp_path, f'{options}\n. "{PARSER}"\necho "made ${{coffee:-nothing}}"')
    assert (done.returncode, done.stdout, done.stderr) == (0, "made nothing\n", "")


@pytest.mark.parametrize(
    ("failing", "line"),
    [
        ("grep -q a /dev/null", 6),
        ("x=$(grep a /dev/null)", 6),
        ("grep a /dev/null | sort", 6),
        ("brew", 5),
    ],
)
def test_a_command_that_fails_without_a_word_is_named(tmp_path, failing, line):
    body = f'coffee=""\n. "{PARSER}"\nbrew() {"{ false; }"}\n{failing}\necho done'
    done, script = run(tmp_path, body)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{script}: line {line} failed (exit status 1): ")
    assert done.stderr.count("\n") == 1


def test_a_command_that_may_fail_is_not_named(tmp_path):
    body = f'. "{PARSER}"\nif false; then :; fi\nfalse || true\nx=$(false) || true\necho done'
    done, _ = run(tmp_path, body)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
