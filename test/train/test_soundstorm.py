"""SoundStorm's training by the shared trainer: it learns, and goes on bit for bit.

Masks and dropout draw random numbers all along."""

import shutil

import pytest
import torch
from interruptions import Killed, ask, assert_same, kill
from tiny_levels import LEVELS, make, options, write_levels

from espnet_audiollm.tasks.soundstorm import SoundStormTask
from espnet_audiollm.train import checkpoints, supervision

pytestmark = pytest.mark.usefixtures("requests")
STEPS = 6  # of two epochs, as the first test sees


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make(tmp_path_factory.mktemp("levels"))


def train(place, directory, *words, **more):
    SoundStormTask.main(cmd=[*options(place, directory, **more), "--resume", "true", *words])


@pytest.fixture(scope="module")
def whole(place, tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    train(place, directory)
    return directory


def test_it_learns(whole):
    stats = checkpoints.load(checkpoints.resumable(whole)[0])["reporter"]["stats"]
    assert {"loss", "units", "duration", "accuracy"} <= stats[1]["train"].keys()
    assert stats[2]["valid"]["loss"] < stats[1]["valid"]["loss"]
    assert stats[1]["valid"]["loss"] == pytest.approx(
        stats[1]["valid"]["units"] + stats[1]["valid"]["duration"], rel=1e-4
    )


@pytest.mark.parametrize("how", ["asked", "killed"])
def test_it_goes_on(place, whole, tmp_path, at_beat, how):
    at_beat(4, ask if how == "asked" else kill)
    if how == "asked":
        train(place, tmp_path)
    else:
        with pytest.raises(Killed):
            train(place, tmp_path)
    assert not (tmp_path / "2epoch.pth").exists()
    supervision.install().signalled = False
    train(place, tmp_path)
    assert_same(whole, tmp_path, STEPS)


def test_the_loss_of_an_utterance_does_not_depend_on_its_batch(place, whole):
    from espnet_audiollm.data.unit_tables import UnitSet
    from espnet_audiollm.tasks.acoustic_levels import AlignedLevels
    from espnet_audiollm.train.loading import load_weights, read_config

    config = read_config(whole)
    model = SoundStormTask.build_model(config)
    load_weights(model, whole / "valid.loss.ave.pth")
    prepare = AlignedLevels(UnitSet(**config.unit_set), UnitSet(**config.level_set))
    collate = SoundStormTask.build_collate_fn(config, train=False)
    samples = []
    for id_, number in (("a", 9), ("b", 16)):
        torch.manual_seed(number)
        data = {"units": torch.randint(6, (number,)).numpy()}
        for level in (1, 2, 3):
            data[f"level_{level}"] = torch.randint(5, (2 * number,)).numpy()
        samples.append((id_, prepare(id_, data)))
    with torch.no_grad():
        both, alone = (
            [model.eval()(**collate(part)[1]) for part in parts]
            for parts in ([samples], [[s] for s in samples])
        )
    [(_, stats, weight)] = both
    assert weight == sum(w for _, _, w in alone)
    mean = sum(s["units"] * w for _, s, w in alone) / weight
    assert float(stats["units"]) == pytest.approx(float(mean), rel=1e-4)


def test_what_is_refused(place, tmp_path):
    other = shutil.copytree(place / "levels", tmp_path / "levels")
    write_levels(tmp_path / "long", LEVELS, {f"u{n}": 80 for n in range(8)})
    words = options(place, tmp_path / "o")
    with pytest.raises(ValueError, match="1 of 6 directories.*--valid_levels"):
        SoundStormTask.main(cmd=words[:-2])
    with pytest.raises(ValueError, match="does not exist.*extract_units"):
        SoundStormTask.main(cmd=[*words[:-1], str(tmp_path)])
    with pytest.raises(ValueError, match="another quantiser"):
        SoundStormTask.main(cmd=[*words[:-1], str(place / "units")])
    with pytest.raises(ValueError, match="utterance u.: .*and 3.20 s of levels"):
        train(place, tmp_path / "o", "--train_levels", f"{tmp_path}/long")
    with pytest.raises(ValueError, match="--soundstorm_conf.*height"):
        train(place, tmp_path / "p", "--soundstorm_conf", "height=3")
    (other / "units_3").unlink()
    with pytest.raises(ValueError, match="units_3"):
        train(place, tmp_path / "q", "--train_levels", str(other))


def test_the_recipe_s_configuration(root, place):
    from dataclasses import asdict, replace

    from tiny_levels import UNITS

    conf = root / "egs2/mini/speechlm1/conf/train_soundstorm.yaml"
    args = SoundStormTask.get_parser().parse_args(["--config", str(conf), "--output_dir", "none"])
    args.unit_set = asdict(replace(UNITS, size=200))
    args.level_set = asdict(replace(LEVELS, size=200, levels=4))
    with torch.device("meta"):
        model = SoundStormTask.build_model(args)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(3e6, rel=0.15)
