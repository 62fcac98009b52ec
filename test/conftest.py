"""What all tests share."""

import os
from pathlib import Path

import pytest
from recipe_copies import MINI_TRAINING, MiniRun, copy_recipe, run_mini

os.environ["HF_HUB_OFFLINE"] = "1"  # Tests need no network.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # Small tensors: threads only get in the way.

# Fixtures of several rooms.
pytest_plugins = ["small_experiment", "small_study", "trained_tasks", "vllm_processes"]
ROOT = Path(__file__).parents[1]
MINI_RUN = (  # files that share a run of the mini recipe
    "test/egs2/test_mini_ablation_run.py",
    "test/egs2/test_mini_noise.py",
    "test/faults/test_killed_recipe.py",
    "test/slurm/test_recipe.py",
)
LONG = (  # groups that take minutes: their tests are marked so
    "mini_run",
    "slurm",
    "test/train/test_resume.py",
    "test/shell/test_launch.py",
    "test/bin/test_killed_runs.py",
    "test/egs2/test_guide.py",
    "test/egs2/test_real_recipes.py",
    "test/train/test_distributed.py",
    "test/tasks/test_llm_sharding.py",
    "test/model/test_sharding.py",
    "test/report/test_report_browser.py",
    "test/report/test_listen_browser.py",
    "test/report/human/test_browser.py",
    "test/serve/test_page.py",
    "test/bench/test_bench_align.py",
    "test/bench/test_bench_casing.py",
    "test/bench/test_bench_peers.py",
    "test/bench/test_bench_serve.py",
    "test/bench/test_bench_tools.py",
    "test/bench/test_scale.py",
)


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="also run the tests that take long")
    parser.addoption("--slow", action="store_true", help="and those that take many minutes")
    parser.addoption("--kills", type=int, default=30, help="of the recipe, one after the other")
    parser.addoption("--load_minutes", type=float, default=3.0, help="of 32 clients of the server")
    parser.addoption("--seed", type=int, default=20231, help="of the moments of these kills")


def pytest_configure(config):
    """A processor for each of --numprocesses: threads that wait for one another beside somebody
    else's busy process take many times as long."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")  # gw0, gw1 ...
    if worker:
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {processors[int(worker[2:]) % len(processors)]})
    elif config.args_source is config.ArgsSource.ARGS:
        config.option.all = True  # who names files means them, however long they take


def pytest_collection_modifyitems(config, items):
    # What takes longest begins first, so that no process ends long after the others.
    items.sort(key=lambda item: group_of(item.nodeid) not in LONG)
    wanted = {"slow": config.getoption("--slow")}
    wanted["long"] = wanted["slow"] or config.getoption("--all")
    for item in items:
        if group_of(item.nodeid) in LONG:
            item.add_marker("long")
        for mark, runs in wanted.items():
            if mark in item.keywords and not runs:
                item.add_marker(pytest.mark.skip(reason=f"{mark}: see CONTRIBUTING.md"))


@pytest.hookimpl(optionalhook=True)  # -p no:xdist
def pytest_xdist_make_scheduler(config, log):
    """For --numprocesses: tests of one group run one after the other in the same process."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log)


def group_of(nodeid: str) -> str:
    """Tests that share something expensive: a run of the mini recipe, a cluster, or their file."""
    path = nodeid.split("::")[0]
    if path in MINI_RUN:
        return "mini_run"
    return "slurm" if path.startswith("test/slurm/") else path


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


@pytest.fixture
def run(root, capfd):
    """run(NAME, WORD...): the main of a tool or of a stage, in this process."""
    from tool_mains import main_of, run_main

    return lambda name, *words: run_main(main_of(root, name), words, capfd)


@pytest.fixture(scope="module")
def one_thread():
    """Small tensors are slower on several, whatever OMP_NUM_THREADS says."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def mini_run(root, tmp_path_factory) -> MiniRun:
    """The mini recipe, cut down and undisturbed, on this machine."""
    place = tmp_path_factory.mktemp("mini")
    return run_mini(copy_recipe(root, place, "mini", MINI_TRAINING))
