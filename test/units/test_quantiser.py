"""Quantisers: learned, stored, and what they refuse."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from sklearn.cluster import MiniBatchKMeans

from espnet_audiollm.units.kmeans import learn_centroids
from espnet_audiollm.units.quantiser import Quantiser, learn
from espnet_audiollm.units.sources import Source

FBANK = Source("fbank", "", 4)
CORNERS = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])


def quantiser(centroids_KC=CORNERS, source=FBANK, **more):
    zero_C, one_C = torch.zeros(centroids_KC.shape[1]), torch.ones(centroids_KC.shape[1])
    facts = dict(checkpoint="", encoder="e", frames_per_second=25.0, mean_C=zero_C, scale_C=one_C)
    return Quantiser(source, centroids_KC=centroids_KC, **{**facts, **more})


def test_the_nearest_centroid_the_first_of_equals():
    frames_NC = torch.tensor([[9.0, 1.0], [1.0, 1.0], [5.0, 5.0], [1.0, 9.0], [5.0, 0.0]])
    assert quantiser().units(frames_NC) == [1, 0, 0, 2, 0]


def test_mean_and_scale_come_before():
    moved = quantiser(mean_C=torch.tensor([100.0, 0.0]), scale_C=torch.tensor([10.0, 1.0]))
    assert moved.units(torch.tensor([[200.0, 0.0], [140.0, 0.0]])) == [1, 0]


def test_units_are_those_of_scikit_learn():
    frames_NC = np.random.default_rng(0).normal(size=(600, 7)).astype(np.float32)
    options = dict(batch_size=10_000, max_iter=20, init_size=200, n_init=3, random_state=5)
    theirs = MiniBatchKMeans(20, **options)
    theirs.fit(frames_NC)
    made = quantiser(**learn(frames_NC, 20, seed=5))
    np.testing.assert_allclose(made.centroids_KC, theirs.cluster_centers_, rtol=1e-6)
    assert made.units(torch.from_numpy(frames_NC)) == theirs.predict(frames_NC).tolist()


def test_groups_far_apart_are_found():
    noise_NC = np.random.default_rng(0).normal(0, 0.1, size=(300, 2))
    frames_NC = (np.repeat(CORNERS.numpy(), 100, axis=0) + noise_NC).astype(np.float32)
    found = learn_centroids(frames_NC, 3)
    assert sorted(np.round(found).tolist()) == sorted(CORNERS.tolist())


def test_normalised_dimensions_count_alike():
    rng = np.random.default_rng(0)
    groups_N = np.arange(400) % 2
    small = groups_N + rng.normal(0, 0.01, 400)  # the two groups differ here
    large = rng.normal(0, 1000.0, 400)
    frames_NC = np.stack([small, large], 1).astype(np.float32)
    units = quantiser(**learn(frames_NC, 2, normalize=True)).units(torch.from_numpy(frames_NC))
    assert abs(np.corrcoef(units, groups_N)[0, 1]) > 0.95
    units = quantiser(**learn(frames_NC, 2)).units(torch.from_numpy(frames_NC))
    assert abs(np.corrcoef(units, groups_N)[0, 1]) < 0.2


def test_saved_and_loaded(tmp_path):
    made = quantiser(learned="seed 1")
    made.save(tmp_path / "q")
    made.save(tmp_path / "q")  # the same again
    found = Quantiser.load(tmp_path / "q")
    assert found.fingerprint == made.fingerprint and found.source == made.source
    assert torch.equal(found.centroids_KC, CORNERS) and found.learned == "seed 1"
    with pytest.raises(ValueError, match="is there already"):
        quantiser(CORNERS + 1).save(tmp_path / "q")
    assert Quantiser.load(tmp_path / "q").fingerprint == made.fingerprint


def test_the_fingerprint_is_of_what_decides_the_units():
    first = quantiser().fingerprint
    others = [
        quantiser(CORNERS + 1),
        quantiser(encoder="f"),
        quantiser(source=Source("ctc", "exp", 4)),
        quantiser(source=Source("fbank", "", 2)),
        quantiser(scale_C=torch.full((2,), 2.0)),
    ]
    assert len({first, *(other.fingerprint for other in others)}) == 6
    elsewhere = [quantiser(source=Source("ctc", place, 4)).fingerprint for place in ("a", "b")]
    assert elsewhere[0] == elsewhere[1]
    assert dataclasses.replace(quantiser(), learned="x").fingerprint == first


@pytest.mark.parametrize(
    "damage, says",
    [
        (lambda q: (q / "quantiser.json").unlink(), "is no quantiser"),
        (lambda q: (q / "quantiser.safetensors").unlink(), "no weights"),
        (lambda q: (q / "quantiser.safetensors").write_bytes(b"x"), "is damaged"),
        (lambda q: (q / "quantiser.json").write_text("[]"), "no JSON object"),
        (lambda q: edit(q, encoder="g"), "centroids are others"),
        (lambda q: edit(q, source=None), "1 fields are wrong, first: source is None"),
        (lambda q: edit(q, source="hf:x"), "which layer"),
        (lambda q: edit(q, frames_per_second=0.0), "at 0.0 a second"),
        (lambda q: edit(q, more=1), "first: more is 1"),
    ],
)
def test_damage_is_told(tmp_path, damage, says):
    quantiser().save(tmp_path / "q")
    damage(tmp_path / "q")
    with pytest.raises(ValueError, match=says) as error:
        Quantiser.load(tmp_path / "q")
    assert "bin/learn_units" in str(error.value)


def test_levels_quantise_what_is_left():
    made = quantiser(residuals_RKC=torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]]))
    frames_NC = torch.tensor([[10.9, 0.1], [0.1, 0.0], [0.2, 11.3]])
    assert made.levels == 2 and made.codes(frames_NC).tolist() == [[1, 0, 2], [1, 0, 2]]
    assert made.units(frames_NC) == [1, 0, 2]
    rebuilt = made.decode(made.codes(frames_NC))
    assert rebuilt.tolist() == [[11.0, 0.0], [0.0, 0.0], [0.0, 11.0]]
    assert made.decode(made.codes(frames_NC)[:1]).tolist() == CORNERS[[1, 0, 2]].tolist()
    left = [((frames_NC - each).square().sum()) for each in (CORNERS[[1, 0, 2]], rebuilt)]
    total = (frames_NC - frames_NC.mean(0)).square().sum()
    assert made.error_by_level(frames_NC) == pytest.approx([float(x / total) for x in left])


def test_levels_are_learned_one_after_the_other():
    frames_NC = np.random.default_rng(0).normal(size=(900, 3)).astype(np.float32)
    one = quantiser(**learn(frames_NC, 8, seed=3))
    three = quantiser(**learn(frames_NC, 8, seed=3, levels=3))
    assert torch.equal(one.centroids_KC, three.centroids_KC) and three.levels == 3
    left_NC = frames_NC - one.decode(one.codes(torch.from_numpy(frames_NC))).numpy()
    second = learn(left_NC, 8, seed=3)["centroids_KC"]
    torch.testing.assert_close(three.residuals_RKC[0], second)
    first, *later = three.error_by_level(torch.from_numpy(frames_NC))
    assert first == pytest.approx(one.error_by_level(torch.from_numpy(frames_NC))[0])
    assert first > later[0] > later[1] > 0
    assert one.fingerprint != three.fingerprint
    with pytest.raises(ValueError, match="0 levels"):
        learn(frames_NC, 8, levels=0)


def test_levels_are_saved_and_older_directories_have_one(tmp_path):
    made = quantiser(residuals_RKC=torch.ones(2, 3, 2))
    made.save(tmp_path / "q")
    found = Quantiser.load(tmp_path / "q")
    assert found.fingerprint == made.fingerprint and torch.equal(
        found.residuals_RKC, made.residuals_RKC
    )
    edit(tmp_path / "q", levels=1)
    with pytest.raises(ValueError, match="centroids are others"):
        Quantiser.load(tmp_path / "q")
    quantiser().save(tmp_path / "old")
    facts = json.loads((tmp_path / "old/quantiser.json").read_text())
    del facts["levels"]
    (tmp_path / "old/quantiser.json").write_text(json.dumps(facts))
    assert Quantiser.load(tmp_path / "old").levels == 1


def edit(directory, **facts):
    path = directory / "quantiser.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


def test_frames_of_another_width_are_refused():
    with pytest.raises(ValueError, match="width 3.*width 2"):
        quantiser().units(torch.zeros(4, 3))


@pytest.mark.parametrize(
    "frames_NC, size, says",
    [
        (np.ones((50, 2)), 2, "1 different frames of 50"),
        (np.arange(6.0).reshape(3, 2), 4, "3 different frames of 3"),
        (np.full((9, 2), np.nan), 2, "not numbers"),
        (np.arange(6.0).reshape(3, 2), 1, "at least 2"),
    ],
)
def test_frames_that_make_no_units(frames_NC, size, says):
    with pytest.raises(ValueError, match=says):
        learn(frames_NC, size)
