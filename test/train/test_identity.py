"""A training goes on only with what it was made with."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from tiny_tasks import ENCODER, ctc_options, task_options

from espnet_audiollm.tasks.audiollm import AudioLLMTask
from espnet_audiollm.tasks.ctc import CTCTask
from espnet_audiollm.train import checkpoints, identity


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A directory with data and a training of one epoch on them."""
    root = tmp_path_factory.mktemp("trained")
    shutil.copytree(data, root / "data")
    edit(root / "data/wav.scp", str(data), f"{root}/data")
    train(root)
    return root


@pytest.fixture
def root(trained, tmp_path):
    """It, moved with its recordings."""
    shutil.copytree(trained, tmp_path / "root", symlinks=True)
    edit(tmp_path / "root/data/wav.scp", str(trained), f"{tmp_path}/root")
    return tmp_path / "root"


def options(root, **more):
    return ctc_options(root / "data", root / "exp", **{"max_epoch": 1, "num_workers": 0, **more})


def train(root, **more):
    CTCTask.main(cmd=[*options(root, **more), "--resume", "true"])


def last_epoch(root):
    return max(int(path.name[: -len("epoch.pth")]) for path in (root / "exp").glob("*epoch.pth"))


def edit(path, *swap):
    text = path.read_text().replace(*swap)
    assert text != path.read_text()
    path.write_text(text)


def other_transcripts(root):
    edit(root / "data/text", "one two three", "two one three")


def other_tokens(root):
    path = root / "data/bpe/tokens.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-2], lines[-1], lines[-2]]) + "\n")


def other_recordings(root):
    edit(root / "data/wav.scp", "u0.wav", "u1.wav")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_transcripts, ["data/text (train_data", "data/text (valid_data", "2 changed"]),
        (other_tokens, ["tokens.txt (token_list)", "1 changed"]),
        (other_recordings, ["data/wav.scp (train_data", "2 changed"]),
        ({"optim_conf": {"lr": 0.1}}, ["optim_conf.lr 0.01 -> 0.1", "1 changed"]),
        ({"seed": 7}, ["seed 0 -> 7"]),
        ({"batch_size": 3}, ["batch_size 4 -> 3"]),
        ({"optim": "sgd"}, ["optim adam -> sgd"]),
        ({"accum_grad": 2, "grad_clip": 1.0}, ["accum_grad 1 -> 2; grad_clip 5.0 -> 1.0"]),
        (
            {"encoder_conf": {**ENCODER["encoder_conf"], "linear_units": 8}},
            ["encoder_conf.linear_units 16 -> 8"],
        ),
    ],
)
def test_other_data_and_options_are_refused(root, change, words):
    """... before anything in the directory changes, and more epochs are refused with them."""
    more = change if isinstance(change, dict) else {}
    if not more:
        change(root)
    files = [path for path in (root / "exp").iterdir() if path.is_file()]
    before = {path: path.read_bytes() for path in files if path.name != "given.yaml"}
    with pytest.raises(ValueError, match="(?s)Nothing was trained.*remove .*--ctc_tag") as error:
        train(root, max_epoch=2, **more)
    assert all(each in str(error.value) for each in words), error.value
    assert {p: p.read_bytes() for p in before} == before


def test_recordings_that_changed_under_their_names_are_refused(root):
    """As stage 2 says of them; a training that began without knowing goes on."""
    (root / "data/.done").write_text("one\n")
    train(root, max_epoch=2)
    assert last_epoch(root) == 2
    record = json.loads((root / "exp/training.json").read_text())
    for name in ("train", "valid"):
        record[f"recordings.{name}.speech"] = {"path": "x", "sha256": "0"}
    (root / "exp/training.json").write_text(json.dumps(record))
    with pytest.raises(
        ValueError, match=r"2 changed: sizes or times of recordings in .*data \(recordings"
    ):
        train(root, max_epoch=3)


@pytest.mark.parametrize("more", [[], ["--resume", "true", "--dry_run", "true"]])
def test_what_is_refused_leaves_the_configuration(root, more):
    before = (root / "exp/config.yaml").read_bytes()
    with pytest.raises(ValueError, match="go on from it with --resume true|1 changed: seed 0 -> 7"):
        CTCTask.main(cmd=[*options(root, seed=7), *more])
    assert (root / "exp/config.yaml").read_bytes() == before


def test_more_epochs_of_the_same_training_go_on(root):
    train(root, max_epoch=2, patience=5, keep_nbest_models=3, num_workers=1, log_interval=1)
    assert last_epoch(root) == 2


def test_without_checkpoints_it_begins_anew(root):
    """A kill before the first checkpoint leaves a record and nothing to go on from."""
    for path in (root / "exp").glob("checkpoint_*.pth"):
        path.unlink()
    train(root, seed=7)
    assert json.loads((root / "exp/training.json").read_text())["seed"] == 7


def test_a_training_of_an_earlier_version_is_compared_by_its_configuration(root, capfd):
    (root / "exp/training.json").unlink()
    with pytest.raises(ValueError, match="1 changed: seed 0 -> 7"):
        train(root, seed=7)
    assert not (root / "exp/training.json").exists()
    train(root)
    assert "left no training.json" in capfd.readouterr().err
    assert json.loads((root / "exp/training.json").read_text())["seed"] == 0


def test_two_processes_are_refused_alike(root):
    other_transcripts(root)
    launch = [sys.executable, "utils/launch.py", "--num_procs", "2", "--", sys.executable, "-m"]
    done = subprocess.run(
        [*launch, "espnet_audiollm.bin.ctc_train", *options(root), "--resume", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2  # what needs a user
    assert "2 changed: the contents of" in done.stderr and "Traceback" not in done.stderr


def test_an_alignment_counts_its_responses_and_its_start(data, ctc_exp, llm_dir, tmp_path):
    shutil.copy(ctc_exp / "valid.loss.ave.pth", tmp_path / "init.pth")
    shutil.copytree(data, tmp_path / "data")

    def align(**more):
        cmd = task_options(
            tmp_path / "data", tmp_path / "exp", "response_ids,response,text_int", **more
        )
        cmd += ["--llm", str(llm_dir), "--init_ctc", str(tmp_path / "init.pth")]
        AudioLLMTask.main(cmd=[*cmd, "--resume", "true"])

    align(max_epoch=1)
    align(max_epoch=1, packed=False)
    edit(tmp_path / "data/response_ids", "u0 5 6 2", "u0 6 5 2")
    state = checkpoints.load(tmp_path / "init.pth")
    checkpoints.save(
        {k: v + 1 if torch.is_tensor(v) else v for k, v in state.items()}, tmp_path / "init.pth"
    )
    with pytest.raises(ValueError, match="3 changed.*init.pth .init_ctc.*--align_tag"):
        align(max_epoch=1)


def test_an_option_that_only_one_version_has_is_no_change():
    old, new = {"lr": 1, "conf": {"a": 1}}, {"lr": 2, "conf": {"a": 1, "b": 2}, "later": 3}
    assert list(identity.changes(old, new)) == ["conf.b not given -> 2", "lr 1 -> 2"]
