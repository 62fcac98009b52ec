"""Runs every case of cases.py: in this process, within seconds, to one sentence."""

import os
import signal
import subprocess
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
from hostile.cases import (
    CASES,
    CORPORA,
    DIRECTORY,
    FIFO,
    GONE,
    GOOD,
    LLM_CONFIGS,
    SLURM,
    Case,
)
from jobs.contract import UserError
from jobs.slurm_config import load_config
from tool_mains import main_of, run_main

PATIENCE = 20  # seconds: what takes longer hangs


def put(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if content is FIFO:
        os.mkfifo(path)
    elif content is DIRECTORY:
        path.mkdir()
    elif content is not GONE:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture
def in_time():
    def hangs(*_):
        raise TimeoutError(f"no end within {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_sentence(case: Case, root, tmp_path, monkeypatch, capfd, make_experiment, in_time):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(root / "utils/data")
    if case.base == "experiment":
        make_experiment(tmp_path).all_systems()
    for name, content in {**(GOOD if case.base == "data" else {}), **case.files}.items():
        put(tmp_path / name, content)
    tool, *words = case.command
    done = run_main(main_of(root, tool), words, capfd)
    done.fails(*case.says)
    assert len(done.err) < 5000
    assert not any((tmp_path / made).exists() for made in ("out/wav.scp", "x/wav.scp", "out.html"))


def test_names_are_unique():
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("corpus", CORPORA)
def test_names_of_recipes(corpus, root, tmp_path):
    """A recipe's corpus becomes an option and a variable: not one that there is."""
    place = root / "egs2" / corpus
    setup = root / "egs2/TEMPLATE/common/setup.sh"
    done = subprocess.run([setup, place / "audiollm1"], capture_output=True, text=True)
    assert done.returncode == 1 and f"choose another name than '{corpus}'" in done.stderr
    assert not place.exists()


@pytest.mark.parametrize("yaml", SLURM, ids=lambda text: text[:40])
def test_slurm_yaml(yaml, tmp_path):
    (tmp_path / "slurm.yaml").write_text(yaml)
    with pytest.raises(UserError) as error:
        load_config(str(tmp_path / "slurm.yaml"), "train")
    assert SLURM[yaml] in str(error.value) and len(str(error.value)) < 500


@pytest.fixture
def check_env(root):
    loader = SourceFileLoader("check_env", str(root / "tools/check_env"))
    module = module_from_spec(spec_from_loader("check_env", loader))
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setitem(__import__("sys").modules, "check_env", module)
    loader.exec_module(module)
    yield module
    monkeypatch.undo()


@pytest.mark.parametrize("config", LLM_CONFIGS, ids=lambda text: text[:40])
def test_check_env_and_a_broken_llm(check_env, config, tmp_path):
    (tmp_path / "config.json").write_text(config)
    found = check_env.check_llm(str(tmp_path))
    assert not found.good and len(found.found) < 500


def test_check_env_and_a_slurm_that_hangs(check_env, tmp_path, monkeypatch):
    for name, text in (("sbatch", ""), ("sinfo", "exec sleep 60")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(check_env, "PATIENCE", 0.2)
    assert check_env.check_slurm().found == "sinfo gave no answer in 0.2 s"


def test_labels_stay_labels_in_results(experiment):
    """No cell, tag, link or picture of RESULTS.md comes out of a label or a category."""
    from espnet_audiollm.bin.score import main

    label = "a | b\\ <img src=x onerror=alert(1)> ![c](http://d) `e` *f*"
    put(experiment.data / "category", "utt1 <b>x\nutt2 y|z\nutt3 [u](v)\nutt4 w\n")
    experiment.system("reference", label, 0.1)
    assert main([*experiment.arguments(), "--command", "run.sh\n```\n<script>"]) == 0
    text = (experiment.output / "RESULTS.md").read_text()
    shown = r"| a \| b\\ &lt;img src=x onerror=alert(1)> ![c]\(http://d) \`e\` \*f\* |"
    assert text.count(shown) >= 2  # perplexity, success by category
    for markup in ("<img", "<b>", "](v)", "](http"):
        assert markup not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    bars = [line.replace("\\\\", "").replace("\\|", "").count("|") for line in rows]
    for row, after in zip(bars, bars[1:], strict=False):
        assert row >= 3 and after >= 3
    assert "\n```\n<script>" not in text
