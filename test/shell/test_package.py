"""What pip makes of the checkout: a wheel that lacks nothing, with the versions of one file."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser

import pytest

BUILT_FROM = ("espnet_audiollm", "pyproject.toml", "setup.py", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """A wheel of a copy: building leaves a directory where it builds."""
    place = tmp_path_factory.mktemp("wheel")
    (place / "tools").mkdir()
    for name in (*BUILT_FROM, "tools/requirements.txt"):
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        copy(root / name, place / name)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*pip, "-w", "out", "."], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = (place / "out").glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_a_wheel_has_every_file_of_the_package(wheel, root):
    files = (path for path in (root / "espnet_audiollm").rglob("*") if path.is_file())
    expected = {str(path.relative_to(root)) for path in files if path.suffix != ".pyc"}
    assert {".py", ".html", ".css", ".js"} <= {f".{name.rpartition('.')[2]}" for name in expected}
    assert expected <= set(wheel.namelist())
    assert not [name for name in wheel.namelist() if name.startswith(("test", "utils", "egs2"))]


def test_its_requirements_are_the_pins(wheel, root):
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    about = Parser().parsestr(wheel.read(name).decode())
    from espnet_audiollm import __version__

    assert about["Version"] == __version__ and about["License"] == "Apache-2.0"
    pins = re.findall(r"^([\w.-]+)==", (root / "tools/requirements.txt").read_text(), re.MULTILINE)
    named = [re.match(r"[\w.-]+", line)[0] for line in about.get_all("Requires-Dist")]
    assert sorted(name.replace("_", "-") for name in named) == sorted(
        pin.replace("_", "-") for pin in pins
    )
    assert set(about.get_all("Provides-Extra")) == {"test", "docs"}


NAMELESS = """
import getpass, os, pwd
def none(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = none
for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
    os.environ.pop(name, None)
import espnet_audiollm
print(getpass.getuser())
"""


def test_a_user_id_without_a_name_goes_by_its_number(root):
    done = subprocess.run(
        [sys.executable, "-c", NAMELESS], cwd=root, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == (f"{os.getuid()}\n", "")
