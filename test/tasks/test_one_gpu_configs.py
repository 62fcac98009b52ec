"""The configurations for one GPU: both trainings have one encoder, the schedules end in time."""

import argparse
from pathlib import Path

import pytest
import torch

from espnet_audiollm.tasks.audiollm import AudioLLMTask
from espnet_audiollm.tasks.choices import build_speech_encoder
from espnet_audiollm.tasks.ctc import CTCTask

EGS2 = Path(__file__).parents[2] / "egs2"
TASKS = {"ctc": CTCTask, "align": AudioLLMTask}


def load(kind: str, recipe: str, name: str) -> argparse.Namespace:
    path = EGS2 / recipe / "audiollm1/conf" / f"train_{kind}{name}.yaml"
    return TASKS[kind].get_parser().parse_args(["--config", str(path), "--output_dir", "none"])


@pytest.mark.parametrize("recipe, name", [("TEMPLATE", "_conformer12"), ("an4", "")])
def test_both_trainings_have_the_same_encoder(recipe, name):
    shapes = []
    for kind in TASKS:
        with torch.device("meta"):
            encoder = build_speech_encoder(load(kind, recipe, name)).encoder
        shapes.append({key: value.shape for key, value in encoder.state_dict().items()})
    assert shapes[0] == shapes[1] and len(shapes[0]) > 100


@pytest.mark.parametrize("kind", TASKS)
def test_the_rate_is_lowest_at_the_end(kind):
    args = load(kind, "TEMPLATE", "_conformer12")
    updates = args.max_epoch * args.num_iters_per_epoch // args.accum_grad
    assert updates == args.scheduler_conf["total_steps"]
