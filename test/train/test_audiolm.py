"""AudioLM's stages by the shared trainer: they learn, and go on bit for bit.

Dropout and the part of an utterance that is looked at draw random numbers all along."""

import shutil

import pytest
import torch
from interruptions import Killed, ask, assert_same, kill
from tiny_levels import LEVELS, UNITS, make, stage_options, write_levels

from espnet_audiollm.tasks.audiolm import AudioLMTask
from espnet_audiollm.train import checkpoints, supervision

pytestmark = pytest.mark.usefixtures("requests")
STEPS = 6  # of two epochs, as the first test sees


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make(tmp_path_factory.mktemp("levels"))


def train(place, directory, stage, *words, **more):
    given = stage_options(place, directory, stage, **more)
    AudioLMTask.main(cmd=[*given, "--resume", "true", *words])


@pytest.fixture(scope="module")
def undisturbed(place, tmp_path_factory):
    """Both stages."""
    directory = tmp_path_factory.mktemp("undisturbed")
    for stage in ("coarse", "fine"):
        train(place, directory / stage, stage)
    return directory


def test_they_learn(undisturbed):
    for stage in ("coarse", "fine"):
        state = checkpoints.load(checkpoints.resumable(undisturbed / stage)[0])
        stats = state["reporter"]["stats"]
        assert stats[2]["valid"]["loss"] < stats[1]["valid"]["loss"]
        parts = {"units", "duration"} & stats[1]["valid"].keys()
        assert parts == ({"units", "duration"} if stage == "coarse" else {"units"})
        total = sum(stats[1]["valid"][part] for part in parts)
        assert stats[1]["valid"]["loss"] == pytest.approx(total, rel=1e-4)
        assert (undisturbed / stage / "cost.json").is_file()


@pytest.mark.parametrize(("stage", "how"), [("coarse", ask), ("fine", kill)])
def test_they_go_on(place, undisturbed, tmp_path, at_beat, stage, how):
    at_beat(4, how)
    if how is ask:
        train(place, tmp_path, stage)
    else:
        with pytest.raises(Killed):
            train(place, tmp_path, stage)
    assert not (tmp_path / "2epoch.pth").exists()
    supervision.install().signalled = False
    train(place, tmp_path, stage)
    assert_same(undisturbed / stage, tmp_path, STEPS)


def test_the_units_that_each_stage_reads():
    """Semantic units at 25 frames a second in place of 12.5; levels frame by frame, each with
    numbers of its own."""
    from espnet_audiollm.tasks.audiolm import CoarseSequences, FineSequences

    levels = {"level_1": [0, 1, 2, 3], "level_2": [4, 3, 2, 1], "level_3": [1, 1, 0, 4]}
    data = {name: torch.tensor(row).numpy() for name, row in levels.items()}
    coarse = CoarseSequences(UNITS, LEVELS, 2)("u", {"units": torch.tensor([5, 2]).numpy(), **data})
    assert coarse["prefix"].tolist() == [5, 5, 2, 2]
    assert coarse["sequence"].tolist() == [0, 9, 1, 8, 2, 7, 3, 6]
    assert coarse["units"].tolist() == [5, 2] and coarse["durations"].tolist() == [1, 1]
    fine = FineSequences(LEVELS, 2)("u", data)
    assert fine["prefix"].tolist() == coarse["sequence"].tolist()
    assert fine["sequence"].tolist() == levels["level_3"]


def test_what_is_refused(place, tmp_path):
    def refused(match, *words, stage="coarse", drop=0, **more):
        given = stage_options(place, tmp_path / "o", stage, **more)
        with pytest.raises(ValueError, match=match):
            AudioLMTask.main(cmd=[*given[: len(given) - drop], *words])

    refused("1 of 6 directories.*--valid_levels", drop=2)
    refused("--train_data, --train_levels, .* and --valid_levels", stage="fine", drop=8)
    refused("--stage finest: give coarse or fine", stage="finest")
    refused("--stage None: give coarse or fine", stage=None)
    refused("no semantic units", "--train_units", f"{place}/units", stage="fine")
    for number in (0, 3, 9):
        refused(f"--coarse_levels {number}: .* 3 levels", coarse_levels=number)
        refused(f"--coarse_levels {number}: .* 3 levels", coarse_levels=number, stage="fine")
    refused("does not exist.*extract_units", "--valid_levels", str(tmp_path))
    refused("another quantiser", "--valid_levels", f"{place}/units")
    refused("--lm_conf.*height", lm_conf={"height": 3})
    refused("not one frame", longest=0.01)
    write_levels(tmp_path / "long", LEVELS, {f"u{n}": 80 for n in range(8)})
    refused("utterance u.: .*and 3.20 s of levels", "--train_levels", f"{tmp_path}/long")
    other = shutil.copytree(place / "levels", tmp_path / "levels")
    (other / "units_2").write_text("".join(f"u{n}" + " 7" * (20 + 4 * n) + "\n" for n in range(8)))
    refused("utterance u.: .* of level 2.*0 to 4", "--train_levels", str(other), coarse_levels=2)
    (other / "units_3").unlink()
    refused("units_3", "--train_levels", str(other), stage="fine")


def test_the_recipe_s_configurations(root):
    from dataclasses import asdict, replace

    for stage, number in (("coarse", 2.1e6), ("fine", 1.9e6)):
        conf = root / f"egs2/mini/speechlm1/conf/train_audiolm_{stage}.yaml"
        args = AudioLMTask.get_parser().parse_args(["--config", str(conf), "--output_dir", "none"])
        assert args.stage == stage
        args.unit_set = asdict(replace(UNITS, size=200))
        args.level_set = asdict(replace(LEVELS, size=200, levels=4))
        with torch.device("meta"):
            model = AudioLMTask.build_model(args)
        assert sum(p.numel() for p in model.parameters()) == pytest.approx(number, rel=0.03)
