"""What all tests share."""

import os
from pathlib import Path

import pytest
from recipe_copies import MINI_TRAINING, MiniRun, copy_recipe, run_mini

os.environ["HF_HUB_OFFLINE"] = "1"  # Tests need no network.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # Small tensors: threads only get in the way.

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests that take minutes")


def pytest_collection_modifyitems(config, items):
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item)))
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="takes minutes; run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


def group_of(item) -> str:
    """Tests that share something expensive run one after the other in the same process."""
    if "mini_run" in getattr(item, "fixturenames", ()):
        return "mini_run"
    return "slurm" if item.path.parent.name == "slurm" else str(item.path)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real speech and a real Llama: $AUDIOLLM_SHARED, or `shared` beside the checkout."""
    path = Path(os.environ.get("AUDIOLLM_SHARED", ROOT.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip(f"{path}/data is absent (AUDIOLLM_SHARED says where it is)")
    return path


@pytest.fixture(scope="session")
def mini_run(root, tmp_path_factory) -> MiniRun:
    """The mini recipe, cut down and undisturbed, on this machine."""
    place = tmp_path_factory.mktemp("mini")
    return run_mini(copy_recipe(root, place, "mini", MINI_TRAINING))
