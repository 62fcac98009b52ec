"""tools/activate: the environment of this place, installed on the first run, never over another."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def activate(root, tmp_path):
    """Source tools/activate of a copy of tools where no Python will do."""
    place = tmp_path / "check out/tools"
    place.mkdir(parents=True)
    (place.parent / "utils").symlink_to(root / "utils")
    for name in ("activate", "install.sh", "requirements.txt", "constraints.txt"):
        shutil.copy(root / "tools" / name, place)
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        (place / name).write_text("#!/bin/sh\nexit 1\n")
        (place / name).chmod(0o755)

    def call(stamp=None):
        if stamp is not None:
            (place / "venv").mkdir(exist_ok=True)
            (place / "venv/.installed").write_text(stamp)
        command = '. ./activate && echo "${VIRTUAL_ENV}"'
        path = {"PATH": f"{place}:/usr/bin:/bin"}
        words = ["bash", "-c", command]
        return place, subprocess.run(words, cwd=place, capture_output=True, text=True, env=path)

    return call


def stamp_of(place):
    command = "cat requirements.txt constraints.txt | sha256sum | cut -d ' ' -f 1"
    return subprocess.check_output(["bash", "-c", command], cwd=place, text=True).strip()


def test_the_first_run_installs(activate):
    _, done = activate()
    assert done.returncode == 1 and "needs Python 3.11 or newer" in done.stderr


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
    assert done.returncode == 1 and "needs Python 3.11 or newer" in done.stderr


def test_a_stamp_of_an_earlier_version_names_no_place(activate):
    _, done = activate("4c54a474  -\n")
    assert "was made in another place" not in done.stderr
    assert "needs Python 3.11 or newer" in done.stderr  # it is about to install


@pytest.mark.parametrize("where", [".", "tools", "egs2/mini"])
def test_install_sh_is_found_from_any_directory(root, where):
    script = Path(os.path.relpath(root / "tools/install.sh", root / where))
    words = [f"./{script}" if script.parts[0] != ".." else script, "--help"]
    done = subprocess.run(words, cwd=root / where, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "--force" in done.stdout
