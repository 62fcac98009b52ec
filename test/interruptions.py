"""Trainings that are interrupted: how, and that they end as undisturbed ones."""

import math

import torch

from espnet_audiollm.train import checkpoints, supervision


class Killed(Exception):
    """What takes the place of SIGKILL in a test's own process."""


def ask():
    supervision.install().ask()


def kill():
    raise Killed


def same(a, b):
    """Equal to the last bit, nan included; nothing is said of times."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        timeless = [key for key in a if not (isinstance(key, str) and key.endswith("time"))]
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in timeless)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


def assert_same(undisturbed, directory, steps):
    """Two experiments have the same weights and figures; steps: of all of the training."""
    names = sorted(p.name for p in undisturbed.glob("*.pth"))
    assert f"checkpoint_{steps:09d}.pth" in names and "valid.loss.ave.pth" in names
    weights = {name for name in names if not name.startswith("checkpoint_")}
    assert weights == {p.name for p in directory.glob("[!c]*.pth")}
    for name in [*weights, f"checkpoint_{steps:09d}.pth"]:
        one, two = (checkpoints.load(d / name) for d in (undisturbed, directory))
        assert one.keys() == two.keys()
        for key in one:
            assert same(one[key], two[key]), (name, key)
    assert not [p.name for p in directory.iterdir() if p.name.startswith(".") and "pth" in p.name]
