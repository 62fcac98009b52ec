"""A speech LM's training: what is learned, what is kept, and that it goes on bit for bit.

The mixture draws other examples in each epoch, in another number of batches; LoRA's dropout draws
random numbers all along."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from interruptions import Killed, ask, assert_same, kill
from tiny_speechlm import make_tasks, make_world, options

from espnet_audiollm.data.batches import Rules
from espnet_audiollm.data.drawn_batches import Draw, DrawnPlan
from espnet_audiollm.data.weighting import epoch_rows
from espnet_audiollm.tasks.speechlm import SpeechLMTask
from espnet_audiollm.train import checkpoints, supervision

pytestmark = pytest.mark.usefixtures("requests")
LORA = dict(
    trained="lora",
    tuning_conf={"lora_dropout": 0.2, "lora_rank": 2},
    epoch_examples=17,
    max_epoch=3,
    accum_grad=2,
    batch_bins=130,
)
SIZES = (30, 10)  # of the training's tasks


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


def train(world, directory, **more):
    SpeechLMTask.main(cmd=[*options(world, directory, **more), "--resume", "true"])


def plan_of(world, total=17, **rules):
    made = dict(batch_type="numel", batch_bins=130, batch_size=1)
    draw = Draw(SIZES, 0.5, 3, total)
    return DrawnPlan([world / "train/tasks/lengths"], Rules(**{**made, **rules}), draw)


def batches_of(world, epochs=3):
    plan = plan_of(world)
    return [len(plan.of_epoch(epoch)) for epoch in range(1, epochs + 1)]


def figures(directory):
    return checkpoints.load(checkpoints.resumable(directory)[0])["reporter"]["stats"]


def test_muon_moves_the_matrices_of_the_layers(world, tmp_path):
    """5 in each layer: keys and values have 8 rows only, and are AdamW's, as all else is."""
    train(world, tmp_path, optim="muon", optim_conf={"lr": 0.01}, max_epoch=1)
    layers = json.loads((world / "joint/config.json").read_text())["num_hidden_layers"]
    state = checkpoints.load(checkpoints.resumable(tmp_path)[0])["optimizers"][0]
    inside, others = state["param_groups"]
    assert inside["orthogonal"] and len(inside["params"]) == 5 * layers
    assert not others["orthogonal"] and others["params"]


# --- batches ------------------------------------------------------------------------------------


def test_every_epoch_has_its_own_batches(world):
    plan = plan_of(world)
    for epoch in (1, 2, 3):
        drawn = plan.of_epoch(epoch)
        rows = np.concatenate([drawn.batch(i) for i in range(len(drawn))])
        assert sorted(rows) == epoch_rows(SIZES, 0.5, epoch - 1, 3, 17).tolist()
    assert len(set(batches_of(world))) > 1  # or resumption is tested for less than it says
    assert plan.digest == plan_of(world).digest != plan_of(world, total=18).digest
    assert plan.digest != plan_of(world, batch_bins=131).digest


def test_batches_of_validation_have_one_task(world):
    rules = Rules("numel", 200, 1)
    plan = DrawnPlan([world / "train/tasks/lengths"], rules, Draw(SIZES, apart=True))
    drawn = plan.of_epoch(5)
    rows = [drawn.batch(i) for i in range(len(drawn))]
    assert sorted(np.concatenate(rows)) == list(range(40))
    assert all(len({row < 30 for row in batch.tolist()}) == 1 for batch in rows)


def test_other_sizes_than_the_lengths_are_refused(world):
    with pytest.raises(ValueError, match="has 40 examples, and the tasks have 41.*prepare_tasks"):
        DrawnPlan([world / "train/tasks/lengths"], Rules("numel", 200, 1), Draw((30, 11)))


# --- learning -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optim", "rate", "init"), [("adam", 0.03, "scratch"), ("adafactor", 0.5, "llm")]
)
def test_tasks_are_learned(world, tmp_path, optim, rate, init):
    """Adafactor's rate is relative to the weights."""
    train(world, tmp_path, optim=optim, init=init, max_epoch=8, optim_conf={"lr": rate})
    stats = figures(tmp_path)
    first, last = stats[1]["valid"], stats[8]["valid"]
    for task in ("a.asr_english", "t.tts_english"):
        assert last[f"loss_{task}"] < 0.8 * first[f"loss_{task}"]
        assert 0 <= last[f"token_acc_{task}"] <= 1
    assert not [name for name in stats[1]["train"] if name.startswith("loss_a")]


def test_figures_of_tasks_add_up(world, tmp_path):
    """The loss of all is that of the tasks, weighted by their tokens."""
    train(world, tmp_path, max_epoch=1)
    valid = figures(tmp_path)[1]["valid"]
    blocks = json.loads((world / "valid/tasks/tasks.json").read_text())["blocks"]
    tokens = {block["name"]: block["tokens"] for block in blocks}
    mean = sum(valid[f"loss_{name}"] * n for name, n in tokens.items()) / sum(tokens.values())
    assert valid["loss"] == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize(
    ("trained", "names"),
    [
        ("rows", {"model.embed_tokens.rows"}),
        ("lora", {"model.embed_tokens.rows", "lora_A", "lora_B"}),
    ],
)
def test_checkpoints_hold_what_is_trained(world, tmp_path, trained, names):
    train(world, tmp_path, trained=trained, max_epoch=1)
    state = checkpoints.load(tmp_path / "1epoch.pth")
    kept = {name for name in state if name != "_extra_state"}
    assert all(any(name in each for name in names) for each in kept)
    assert all(any(name in each for each in kept) for name in names)


# --- going on -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    """The training that nothing disturbs."""
    directory = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervision, "requests", supervision.StopRequest())
        train(world, directory, **LORA)
    return directory


def steps(world):
    return sum(number // 2 for number in batches_of(world))


@pytest.mark.parametrize(
    ("phase", "number", "workers"), [("train", 2, 0), ("train", 7, 1), ("valid", 2, 0)]
)
def test_a_stop_inside_a_mixture_s_epoch(world, whole, tmp_path, at_beat, phase, number, workers):
    at_beat(number, ask, phase)
    train(world, tmp_path, **LORA, num_workers=workers)
    assert not (tmp_path / "3epoch.pth").exists()
    supervision.install().signalled = False
    train(world, tmp_path, **LORA, num_workers=workers)
    assert_same(whole, tmp_path, steps(world))


@pytest.mark.parametrize("number", [3, 8])
def test_a_kill(world, whole, tmp_path, at_beat, number):
    often = dict(save_every_minutes=1e-9)
    at_beat(number, kill)
    with pytest.raises(Killed):
        train(world, tmp_path, **LORA, **often)
    train(world, tmp_path, **LORA, **often)
    assert_same(whole, tmp_path, steps(world))


@pytest.mark.long
def test_two_processes_learn_what_one_learns(world, tmp_path, root):
    how = dict(optim="sgd", optim_conf={"lr": 0.1}, scheduler=None, batch_type="sorted")
    how |= dict(batch_size=4, max_epoch=2)
    command = [sys.executable, "-m", "espnet_audiollm.bin.speechlm_train"]
    both = subprocess.run(
        [sys.executable, root / "utils/launch.py", "--num_procs", "2", "--", *command]
        + options(world, tmp_path / "two", **how),
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert both.returncode == 0, both.stderr[-3000:]
    train(world, tmp_path / "one", **how)
    one, two = (checkpoints.load(tmp_path / name / "2epoch.pth") for name in ("one", "two"))
    for name, weight in one.items():
        if isinstance(weight, torch.Tensor):
            torch.testing.assert_close(two[name], weight, rtol=1e-4, atol=1e-5)


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (dict(init="scratch", trained="lora"), "--init scratch --trained lora: .*train all"),
        (dict(num_iters_per_epoch=3), "--num_iters_per_epoch 3: .*--epoch_examples"),
        (dict(epoch_examples=0), "--epoch_examples 0: at least 1"),
        (dict(trained="lora", tuning_conf={"rank": 2}), "--tuning_conf .*rank"),
        (dict(collect_stats=True), "--collect_stats true: .*leave it out"),
    ],
)
def test_options_that_cannot_be(world, tmp_path, more, says):
    with pytest.raises(ValueError, match=says):
        train(world, tmp_path, **more)


def test_changed_data_and_settings_are_refused(world, tmp_path, at_beat):
    own = tmp_path / "own"
    for name in ("joint", "train", "valid"):
        shutil.copytree(world / name, own / name)
    train(own, tmp_path / "exp", max_epoch=1)
    with pytest.raises(ValueError, match="epoch_examples None -> 20.*Nothing was trained"):
        train(own, tmp_path / "exp", max_epoch=2, epoch_examples=20)
    shutil.rmtree(own / "train/tasks")
    make_tasks(own / "train", own / "joint", 30, alpha=1.0)
    with pytest.raises(ValueError, match="1 changed: the contents of .*train_tasks"):
        train(own, tmp_path / "exp", max_epoch=2)


def test_examples_for_another_llm_are_refused(world, tmp_path):
    shutil.copytree(world, tmp_path / "own")
    facts = tmp_path / "own/joint/unit_vocabulary.json"
    facts.write_text(facts.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(ValueError, match="another seed .0. than .*joint has .1.*prepare the tasks"):
        train(tmp_path / "own", tmp_path / "exp")


def test_a_checkpoint_of_another_llm_is_refused(world, tmp_path):
    train(world, tmp_path / "exp", max_epoch=1, trained="rows")
    other = make_world(tmp_path / "other", seed=4)
    for name in ("train", "valid"):
        shutil.rmtree(other / name)
        shutil.copytree(world / name, other / name)
        facts = other / name / "tasks/tasks.json"
        vocabulary = json.loads((other / "joint/unit_vocabulary.json").read_text())
        facts.write_text(json.dumps(json.loads(facts.read_text()) | {"vocabulary": vocabulary}))
    (tmp_path / "exp/training.json").write_text("{}")
    with pytest.raises(ValueError, match="trained with another llm .*give the LLM"):
        train(other, tmp_path / "exp", max_epoch=2, trained="rows")
