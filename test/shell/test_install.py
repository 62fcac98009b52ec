"""tools/activate: the active environment, or that of this place; and what installs the latter."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def activate(root, tmp_path):
    """Source tools/activate of a copy of tools where no Python will do."""
    place = tmp_path / "check out/tools"
    place.mkdir(parents=True)
    (place.parent / "utils").symlink_to(root / "utils")
    for name in ("activate", "install.sh", "check_env", "requirements.txt", "constraints.txt"):
        shutil.copy(root / "tools" / name, place)
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        (place / name).write_text("#!/bin/sh\nexit 1\n")
        (place / name).chmod(0o755)

    def call(stamp=None, **env):
        if stamp is not None:
            (place / "venv").mkdir(exist_ok=True)
            (place / "venv/.installed").write_text(stamp)
        command = '. ./activate && echo "${VIRTUAL_ENV}"'
        env = {"PATH": f"{place}:/usr/bin:/bin", "install_environment": "true", **env}
        words = ["bash", "-c", command]
        return place, subprocess.run(words, cwd=place, capture_output=True, text=True, env=env)

    return call


def stamp_of(place):
    command = "cat requirements.txt constraints.txt | sha256sum | cut -d ' ' -f 1"
    return subprocess.check_output(["bash", "-c", command], cwd=place, text=True).strip()


def test_the_first_run_installs(activate):
    _, done = activate()
    assert done.returncode == 1 and "needs Python 3.11, 3.12 or 3.13" in done.stderr


def test_what_is_installed_here_is_used_without_a_word(activate):
    place, _ = activate()
    _, done = activate(f"{stamp_of(place)} {place}\n")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"{place}/venv\n")


def test_an_environment_made_elsewhere_is_refused_and_left_as_it_is(activate):
    place, _ = activate()
    stamp = f"{stamp_of(place)} /somewhere/tools\n"
    _, done = activate(stamp)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "(/somewhere/tools)" in done.stderr and f"{place}/install.sh" in done.stderr
    assert (place / "venv/.installed").read_text() == stamp


def test_other_requirements_are_installed_by_the_next_run(activate):
    place, _ = activate()
    _, done = activate(f"0123 {place}\n")
    assert done.returncode == 1 and "needs Python 3.11, 3.12 or 3.13" in done.stderr


def test_a_stamp_of_an_earlier_version_names_no_place(activate):
    _, done = activate("4c54a474  -\n")
    assert "was made in another place" not in done.stderr
    assert "needs Python 3.11, 3.12 or 3.13" in done.stderr  # it is about to install


def test_nothing_is_installed_unasked(activate):
    place, done = activate(install_environment="false")
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.count("\n") == 1
    assert "is not installed" in done.stderr and f"{place}/install.sh installs it" in done.stderr
    assert not (place / "venv").exists() and not (place / "venv.log").exists()


@pytest.fixture
def active(activate, tmp_path):
    """An active environment: the Python of the tests, whose packages are asked for."""
    place, _ = activate()
    (tmp_path / "env/bin").mkdir(parents=True)
    python = tmp_path / "env/bin/python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)

    def call(requirements, stamp=None, variable="VIRTUAL_ENV", **env):
        (place / "requirements.txt").write_text(requirements)
        stamp = stamp and f"{stamp_of(place)} {place}\n"
        return place, activate(stamp, **{variable: str(tmp_path / "env")}, **env)[1]

    return call


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_active_environment_that_has_all_is_used(active, tmp_path, variable):
    _, done = active("pytest==1.0\n# To develop\nnone==1\n", stamp=True, variable=variable)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() in (f"{tmp_path}/env", "")  # conda sets no VIRTUAL_ENV


@pytest.mark.parametrize(
    "requirements, lacking",
    [("pytest==1.0\nno-such==2.0\n", "no-such"), ("pytest==99.0\n", "pytest 99.0 (it has ")],
)
def test_an_active_environment_that_lacks_something(active, tmp_path, requirements, lacking):
    place, done = active(requirements, install_environment="false")
    assert done.returncode == 1 and f"{place}/install.sh installs it" in done.stderr
    assert f"{tmp_path}/env will not do: it lacks 1 packages (first: {lacking}" in done.stderr
    place, done = active(requirements, stamp=True)
    assert (done.returncode, done.stdout) == (0, f"{place}/venv\n")
    assert done.stderr.count("\n") == 1 and f"(first: {lacking}" in done.stderr


def test_the_versions_of_python_are_the_same_everywhere(root):
    asked = {
        "pyproject.toml": 'requires-python = ">=3.11,<3.14"',
        "tools/install.sh": "(3, 11) <= sys.version_info < (3, 14)",
        "tools/check_env": "OLDEST, BEYOND = (3, 11), (3, 14)",
    }
    for name, words in asked.items():
        assert words in (root / name).read_text(), name


GOOD_PLACE = ("5.2.15(1)-release", "Linux", "x86_64", "glibc 2.36")


@pytest.mark.parametrize(
    "place, word",
    [
        (GOOD_PLACE, ""),
        (("4.4.20(1)-release", "Linux", "aarch64", "glibc 2.28"), ""),
        (("3.2.57(1)-release", "Darwin", "arm64", ""), "this is Darwin"),
        (("4.3.48(1)-release", *GOOD_PLACE[1:]), "this is bash 4.3.48"),
        (("3.2.57(1)-release", *GOOD_PLACE[1:]), "this is bash 3.2.57"),
        ((*GOOD_PLACE[:2], "riscv64", "glibc 2.36"), "kind riscv64"),
        ((*GOOD_PLACE[:3], "glibc 2.17"), "this is glibc 2.17"),
        ((*GOOD_PLACE[:3], "glibc 2.4"), "this is glibc 2.4"),
        ((*GOOD_PLACE[:3], ""), "musl"),
    ],
)
def test_where_it_runs(root, place, word):
    command = ["bash", "-c", '. utils/platform.sh && unsupported "$@"', "x", *place]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert word in done.stdout and done.stdout.count("\n") == bool(word)


@pytest.mark.parametrize(
    "script",
    [f"egs2/{name}/audiollm1/run.sh" for name in ("mini", "an4")]
    + ["test/run.sh", "tools/install.sh"],
)
def test_another_system_is_told_at_once(root, tmp_path, script):
    (tmp_path / "uname").write_text("#!/bin/sh\necho Darwin\n")
    (tmp_path / "uname").chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([root / script], cwd="/", env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "needs Linux" in done.stderr and "this is Darwin" in done.stderr


@pytest.mark.parametrize(
    "given, backend, visible, says",
    [
        ("", "local", "0,1", "2 GPU(s), and none is used: --ngpu 1"),
        ("--ngpu 0", "local", "0,1", ""),
        ("--ngpu=1", "local", "0,1", ""),
        ("", "slurm", "0,1", ""),
        ("", "local", "", ""),
    ],
)
def test_gpus_that_nobody_asked_for(root, tmp_path, given, backend, visible, says):
    for number in "01":
        (tmp_path / f"nvidia{number}").touch()
    script = f"""set -euo pipefail; . egs2/TEMPLATE/common/stages.sh; _given=({given})
        cmd_backend={backend}; hint_at_gpus {tmp_path}/nvidia[0-9]*; hint_at_gpus /none[0-9]*"""
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": visible}
    done = subprocess.run(["bash", "-c", script], cwd=root, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert says in done.stdout and done.stdout.count("\n") == bool(says)


@pytest.mark.parametrize("where", [".", "tools", "egs2/mini"])
def test_install_sh_is_found_from_any_directory(root, where):
    script = Path(os.path.relpath(root / "tools/install.sh", root / where))
    words = [f"./{script}" if script.parts[0] != ".." else script, "--help"]
    done = subprocess.run(words, cwd=root / where, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "--force" in done.stdout


def test_system_packages_are_not_installed_unasked(root, tmp_path):
    for name in ("bash", "id", "env", "mktemp", "rm", "dirname", "cat"):
        (tmp_path / name).symlink_to(shutil.which(name))
    (tmp_path / "apt-get").write_text(f"#!/bin/sh\necho called > {tmp_path}/trace\n")
    (tmp_path / "apt-get").chmod(0o755)
    command = [root / "tools/install_for_tests.sh", "--check"]
    # /usr/sbin, where Slurm's daemons are, is looked at in any case
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0 and not (tmp_path / "trace").exists()
    assert "not installed: sox and flac" in done.stderr and "--install_system" in done.stderr
