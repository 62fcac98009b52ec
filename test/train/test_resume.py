"""A training that was interrupted ends with the bits of one that was not (on the CPU).

SpecAugment and dropout draw random numbers all along, two batches make an update, and the learning
rate changes with every update: whatever is not restored shows."""

import contextlib
import logging
import math
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from damage import file_size_limit, flip
from interruptions import Killed, ask, assert_same, kill
from tiny_tasks import ENCODER, ctc_options
from written_runs import NO_PROCESS

from espnet_audiollm.bin.cli import explain
from espnet_audiollm.tasks.ctc import CTCTask
from espnet_audiollm.train import checkpoints, supervision
from espnet_audiollm.train.ranks import Ranks
from espnet_audiollm.train.session import Session

RANDOM = {
    "encoder_conf": {**ENCODER["encoder_conf"], "dropout_rate": 0.1},
    "specaug": "specaug",
    "specaug_conf": {
        "apply_time_warp": False,
        "apply_freq_mask": True,
        "freq_mask_width_range": [0, 20],
        "num_freq_mask": 2,
        "apply_time_mask": True,
        "time_mask_width_range": [0, 8],
        "num_time_mask": 2,
    },
    "batch_size": 1,
    "accum_grad": 2,
    "scheduler": "warmuplr",
    "scheduler_conf": {"warmup_steps": 3},
    "max_epoch": 2,
}
BATCHES, STEPS = 8, 4  # of an epoch

pytestmark = pytest.mark.usefixtures("requests")


def train(data, directory, **more):
    cmd = ctc_options(data, directory, **{**RANDOM, **more})
    CTCTask.main(cmd=[*cmd, "--resume", "true"])


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    """The training that nothing disturbs."""
    directory = tmp_path_factory.mktemp("undisturbed")
    train(data, directory)
    return directory


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("phase", "number", "steps"),
    [
        ("iterator", 1, None),  # before the first batch: nothing to save
        ("train", 1, 1),  # inside an update: it is finished first
        ("train", 6, 3),
        ("train", 8, 4),  # after the last batch
        ("iterator", 2, 4),  # before validation
        ("valid", 3, 4),
        ("save", 1, 4),  # between epochs
        ("train", 11, 6),
        ("valid", 16, None),  # the very last batch: it comes too late
    ],
)
def test_a_stop_that_was_asked_for(
    data, undisturbed, tmp_path, at_beat, phase, number, steps, workers
):
    at_beat(number, ask, phase)
    train(data, tmp_path, num_workers=workers)
    left = checkpoints.resumable(tmp_path)
    if steps:
        assert left[0].name == f"checkpoint_{steps:09d}.pth"
        assert not (tmp_path / "2epoch.pth").exists()
    supervision.install().signalled = False
    train(data, tmp_path, num_workers=workers)
    assert_same(undisturbed, tmp_path, 2 * STEPS)


def test_a_stop_after_every_update(data, undisturbed, tmp_path, at_beat):
    for _ in range(2 * STEPS):
        supervision.install().signalled = False
        at_beat(1, ask)
        train(data, tmp_path)
    supervision.install().signalled = False
    train(data, tmp_path)
    assert_same(undisturbed, tmp_path, 2 * STEPS)


def test_batches_that_are_too_few_for_an_update(data, tmp_path, at_beat):
    """Of eight, three make an update: two are left over when an epoch ends, and forgotten."""
    train(data, tmp_path / "undisturbed", accum_grad=3)
    for number in (4, 5):  # inside the first epoch, then inside the second
        at_beat(number, ask)
        train(data, tmp_path / "interrupted", accum_grad=3)
        supervision.install().signalled = False
    train(data, tmp_path / "interrupted", accum_grad=3)
    assert_same(tmp_path / "undisturbed", tmp_path / "interrupted", steps=4)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("phase", "number"), [("train", 3), ("train", 8), ("save", 2), ("valid", 5), ("train", 15)]
)
def test_a_kill(data, undisturbed, tmp_path, at_beat, phase, number, workers):
    """Saved after every update; what came after the last save is lost and done again."""
    often = dict(save_every_minutes=1e-9, num_workers=workers)
    at_beat(number, kill, phase)
    with pytest.raises(Killed):
        train(data, tmp_path, **often)
    train(data, tmp_path, **often)
    assert_same(undisturbed, tmp_path, 2 * STEPS)


def test_workers_outlive_a_signal_to_the_group(data, undisturbed, tmp_path, at_beat):
    """They read what is missing of an update, while their trainer gets ready to stop."""

    def terminate():
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGTERM)

    at_beat(1, terminate)
    train(data, tmp_path, num_workers=1)
    assert_same(undisturbed, tmp_path, 2 * STEPS)


def test_a_kill_between_a_checkpoint_and_its_links(data, undisturbed, tmp_path):
    train(data, tmp_path)
    for name in ("latest.pth", "valid.loss.best.pth"):
        checkpoints.link("1epoch.pth", tmp_path / name)
    (tmp_path / f".2epoch.pth.{socket.gethostname()}.{NO_PROCESS}.tmp").write_bytes(b"half")
    train(data, tmp_path)
    assert_same(undisturbed, tmp_path, 2 * STEPS)
    for name in ("latest.pth", "valid.loss.best.pth"):
        assert (tmp_path / name).readlink() == (undisturbed / name).readlink()


def test_checkpoints_inside_an_epoch_are_as_often_as_asked(data, undisturbed, tmp_path):
    train(data, tmp_path, save_every_minutes=1e-9, keep_checkpoints=3)
    names = [p.name for p in checkpoints.resumable(tmp_path)]
    assert names == [f"checkpoint_{steps:09d}.pth" for steps in (8, 7, 6)]
    assert_same(undisturbed, tmp_path, 2 * STEPS)
    train(data, tmp_path / "never", save_every_minutes=0, keep_checkpoints=9)
    names = [p.name for p in checkpoints.resumable(tmp_path / "never")]
    assert names == [f"checkpoint_{steps:09d}.pth" for steps in (8, 4)]


def test_a_damaged_newest_checkpoint(data, undisturbed, tmp_path, at_beat, caplog):
    """The one before is used, with a warning, and the result is the same."""
    at_beat(7, kill)
    with pytest.raises(Killed):
        train(data, tmp_path, save_every_minutes=1e-9)
    newest, before = checkpoints.resumable(tmp_path)
    flip(newest, newest.stat().st_size // 2)
    with caplog.at_level(logging.INFO):
        train(data, tmp_path)
    assert f"{newest} is damaged" in caplog.text
    assert f"Resumed from {before}: epoch 0, 4 batches into the next" in caplog.text
    assert_same(undisturbed, tmp_path, 2 * STEPS)


def test_no_undamaged_checkpoint_is_no_new_beginning(data, undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True, symlinks=True)
    for path in checkpoints.resumable(tmp_path):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="all 2 checkpoints in .* are damaged .first: checkpoint_"):
        train(data, tmp_path)


def test_a_full_disk_loses_nothing(data, undisturbed, tmp_path, at_beat):
    """Full at the third save: what was saved before stays, and training goes on from there."""
    often = dict(save_every_minutes=1e-9, use_tensorboard=False)
    with contextlib.ExitStack() as disk:
        at_beat(3, lambda: disk.enter_context(file_size_limit(20_000)), "save")
        with pytest.raises(OSError) as caught:
            train(data, tmp_path, **often)
    assert "checkpoint_000000003.pth: the disk is full or a size" in explain(caught.value)
    names = sorted(path.name for path in tmp_path.glob("*.pth"))
    assert names == ["checkpoint_000000001.pth", "checkpoint_000000002.pth"]
    train(data, tmp_path, **often)
    assert_same(undisturbed, tmp_path, 2 * STEPS)


def session_of(directory, losses, ranks=None, keep_nbest_models=1, **more):
    """A session after an epoch for each validation loss; epoch N's only weight is N."""
    options = SimpleNamespace(
        output_dir=directory,
        best_model_criterion=[("valid", "loss", "min")],
        keep_nbest_models=keep_nbest_models,
        keep_checkpoints=1,
        **more,
    )
    session = Session(None, [], [], None, options, ranks or Ranks(), {})
    for epoch, loss in enumerate(losses, 1):
        checkpoints.save({"weight": torch.tensor([float(epoch)])}, directory / f"{epoch}epoch.pth")
        session.reporter.set_epoch(epoch)
        session.reporter.stats[epoch] = {"valid": {"loss": loss}}
    return session


def test_a_loss_that_is_not_a_number_is_never_the_best(tmp_path):
    session = session_of(
        tmp_path, (5.0, math.nan, 4.0, 4.5, math.inf), keep_nbest_models=4, keep_epochs=[]
    )
    assert session.reporter.sort_epochs("valid", "loss", "min") == [3, 4, 1]
    assert session.reporter.sort_epochs("valid", "loss", "max") == [1, 4, 3]
    session.publish()
    assert os.readlink(tmp_path / "valid.loss.best.pth") == "3epoch.pth"
    session.average()
    mean = checkpoints.load(tmp_path / "valid.loss.ave.pth")["weight"]
    assert mean.item() == pytest.approx((3 + 4 + 1) / 3)


def test_a_training_without_any_loss_that_is_a_number_fails(tmp_path):
    session = session_of(tmp_path, (math.nan, math.nan), keep_epochs=[])
    session.publish()
    assert not (tmp_path / "valid.loss.best.pth").exists()
    assert not session.reporter.check_early_stopping(2, "valid", "loss", "min")
    assert session.reporter.check_early_stopping(1, "valid", "loss", "min")
    with pytest.raises(ValueError, match="valid.loss was .*not a number in all 2 epochs.*learning"):
        session.average()


def test_a_mean_of_more_epochs_than_were_kept(tmp_path, caplog):
    """Losses of epochs 1 to 3: 2 3 1; one was kept until now."""
    session = session_of(tmp_path, (2.0, 3.0, 1.0), keep_nbest_models=2, keep_epochs=[])
    (tmp_path / "1epoch.pth").unlink()
    session.average()
    assert os.readlink(tmp_path / "valid.loss.ave.pth") == "valid.loss.ave_1best.pth"
    assert checkpoints.load(tmp_path / "valid.loss.ave.pth")["weight"].item() == 3.0
    assert "1 of the 2 best epochs are no longer kept (first: 1)" in caplog.text


def test_epochs_that_an_older_checkpoint_needs_are_kept(tmp_path):
    """Losses of epochs 1 to 5: 3 2 1 4 0.5, the best one kept."""
    session = session_of(tmp_path, (3.0, 2.0, 1.0, 4.0, 0.5), keep_epochs=[1])

    def left():
        return sorted(int(path.name[0]) for path in tmp_path.glob("?epoch.pth"))

    session.prune(5, back=1)
    assert left() == [1, 3, 4, 5]  # should the checkpoint of epoch 5 be damaged
    session.prune(5)
    assert left() == [1, 5]


def test_each_rank_has_its_own_random_numbers(tmp_path):
    def draw(rank, epoch):
        session_of(tmp_path, (), Ranks(rank, 2), seed=7).seed_random(epoch)
        return random.random(), np.random.rand(), torch.rand(1).item()

    first, *others = (draw(rank, epoch) for rank, epoch in ((0, 1), (1, 1), (0, 2), (1, 2)))
    assert all(set(first).isdisjoint(other) for other in others)
    assert len(set(others)) == 3
    assert draw(0, 1) == first
    torch.manual_seed(7 + 1)  # the first rank's are a single process's
    assert torch.rand(1).item() == first[2]


def test_other_batches_are_refused(data, tmp_path, at_beat):
    """Also where the record says nothing of it: another number of processes makes other batches,
    and the checkpoint says what a place in the data depends on."""
    at_beat(3, ask)
    train(data, tmp_path)
    supervision.install().signalled = False
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(ValueError, match="other batches .*batches 8, now 4"):
        train(data, tmp_path, batch_size=2)


def test_checkpoints_of_an_earlier_training_are_not_mixed_in(data, undisturbed):
    with pytest.raises(ValueError, match="checkpoint_000000008.pth is of an earlier training"):
        CTCTask.main(cmd=ctc_options(data, undisturbed, **RANDOM))


def test_a_checkpoint_of_an_earlier_version_is_refused(data, tmp_path):
    checkpoints.save({"model": {}}, tmp_path / "checkpoint.pth")
    with pytest.raises(ValueError, match="checkpoint.pth is an earlier version's"):
        train(data, tmp_path)


def test_too_few_batches_for_an_update(data, tmp_path):
    with pytest.raises(ValueError, match="--accum_grad 9: an epoch has 8 batches"):
        train(data, tmp_path, accum_grad=9)


class Process:
    """A training in a process group of its own, whose log is read as it is written."""

    def __init__(self, root, options, before=(), **environment):
        command = [sys.executable, "-m", "espnet_audiollm.bin.ctc_train", *options]
        self.process = subprocess.Popen(
            [*before, *command, "--resume", "true"],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root), **environment},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        self.log = ""

    def end(self, number=None, after="", group=True):
        """Send a signal once the log holds `after`; the exit status."""
        for line in self.process.stderr:
            self.log += line
            if number and after in line:
                (os.killpg if group else os.kill)(self.process.pid, number)
                number = None
        return self.process.wait()


EPOCHS = 20
LONG = dict(max_epoch=EPOCHS, log_interval=1, num_workers=1, use_tensorboard=False)


def test_signals_to_a_real_process(data, tmp_path, root):
    """As local.py sends them: to the training and all that it started."""

    def start(name, **more):
        return Process(root, ctc_options(data, tmp_path / name, **{**RANDOM, **LONG, **more}))

    undisturbed = start("undisturbed")
    for number, after, status, more in [
        (signal.SIGUSR1, "2epoch:train:3-3batch", 75, {}),
        (signal.SIGTERM, "6epoch:train:6-6batch", 75, {}),
        (signal.SIGKILL, "10epoch:train:4-4batch", -9, dict(save_every_minutes=1e-9)),
        (None, "", 0, {}),
    ]:
        process = start("interrupted", **more)
        assert process.end(number, after) == status, process.log[-3000:]
        assert ("Saved and stopped in epoch" in process.log) == (status == 75)
        assert (tmp_path / f"interrupted/{EPOCHS}epoch.pth").exists() == (status == 0)
    assert undisturbed.end() == 0, undisturbed.log[-3000:]
    assert_same(tmp_path / "undisturbed", tmp_path / "interrupted", EPOCHS * STEPS)


def test_two_processes_that_were_interrupted(data, tmp_path, root, caplog):
    """Each has its own random numbers; a batch is shared by both."""
    launch = [sys.executable, root / "utils/launch.py", "--num_procs", "2", "--"]
    options = {**RANDOM, **LONG, "batch_size": 2, "accum_grad": 1}

    def start(name):
        return Process(root, ctc_options(data, tmp_path / name, **options), launch)

    undisturbed, process = start("undisturbed"), start("interrupted")
    assert process.end(signal.SIGUSR1, "3epoch:train:2-2batch", group=False) == 75, process.log
    shutil.copytree(tmp_path / "interrupted", tmp_path / "by one", symlinks=True)
    process = start("interrupted")
    with caplog.at_level(logging.INFO):
        train(data, tmp_path / "by one", **options)
    assert process.end() == 0, process.log[-3000:]
    assert undisturbed.end() == 0, undisturbed.log[-3000:]
    assert_same(tmp_path / "undisturbed", tmp_path / "interrupted", EPOCHS * STEPS)
    assert "saved by 2 processes, and 1 go on" in caplog.text
    names = {path.name for path in (tmp_path / "by one").glob("*.pth")}
    assert {f"{EPOCHS}epoch.pth", "valid.loss.ave.pth"} <= names
