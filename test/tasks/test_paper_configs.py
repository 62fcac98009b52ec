"""The paper's sizes and schedules, from the configurations that a recipe would use."""

import argparse
from pathlib import Path

import pytest
import torch
import yaml
from espnet2.tasks.abs_task import scheduler_classes

from espnet_audiollm.tasks.audiollm import AudioLLMTask
from espnet_audiollm.tasks.choices import build_speech_encoder
from espnet_audiollm.tasks.ctc import CTCTask

NAMES = {"ctc": ("", "_16gpu"), "align": ("", "_64gpu")}  # one GPU; the paper's number
CONF = Path(__file__).parents[2] / "egs2/TEMPLATE/audiollm1/conf"
D, HIDDEN, KERNEL, BANDS = 512, 2048, 11, 80  # section 3.2


def load(name: str, task) -> argparse.Namespace:
    parser = task.get_parser()
    return parser.parse_args(["--config", str(CONF / name), "--output_dir", "none"])


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


NORM = 2 * D
FEED_FORWARD = NORM + linear(D, HIDDEN) + linear(HIDDEN, D)
ATTENTION = NORM + linear(D, 3 * D) + linear(D, D)
CONVOLUTION = NORM + linear(D, 2 * D) + (D * KERNEL + D) + NORM + linear(D, D)
LAYER = 2 * FEED_FORWARD + ATTENTION + CONVOLUTION + NORM
SUBSAMPLING = linear(9, D) + 2 * linear(9 * D, D) + linear(D * BANDS // 8, D)


@pytest.mark.parametrize("layers", [18, 36])
@pytest.mark.parametrize(("kind", "task"), [("ctc", CTCTask), ("align", AudioLLMTask)])
def test_parameters_of_the_encoder(layers, kind, task):
    args = load(f"train_{kind}_conformer{layers}.yaml", task)
    with torch.device("meta"):
        encoder = build_speech_encoder(args).encoder
    assert sum(p.numel() for p in encoder.parameters()) == SUBSAMPLING + layers * LAYER
    assert all(p.is_meta for p in encoder.parameters())


@pytest.mark.parametrize("layers", [18, 36])
@pytest.mark.parametrize("size", [0, 1], ids=["one_gpu", "paper"])
@pytest.mark.parametrize(
    ("kind", "task", "warmup", "peak", "last", "total"),
    [
        ("ctc", CTCTask, 20_000, 1e-3, 1e-5, 200_000),
        ("align", AudioLLMTask, 5_000, 5e-4, 5e-6, 250_000),
    ],
)
def test_schedule(layers, size, kind, task, warmup, peak, last, total):
    args = load(f"train_{kind}_conformer{layers}{NAMES[kind][size]}.yaml", task)
    assert (args.optim, args.optim_conf["betas"]) == ("adam", [0.9, 0.98])
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], **args.optim_conf)
    scheduler = scheduler_classes[args.scheduler](optimizer, **args.scheduler_conf)

    def rate(step: int) -> float:
        scheduler.step(step)
        return optimizer.param_groups[0]["lr"]

    assert rate(0) == pytest.approx(peak / warmup)
    assert rate(warmup // 2) == pytest.approx(peak / 2, rel=1e-3)
    assert rate(warmup) == pytest.approx(peak)
    middle = (peak * last) ** 0.5  # exponential: the geometric mean half way
    assert rate((warmup + total) // 2) == pytest.approx(middle, rel=1e-6)
    assert rate(total) == pytest.approx(last)
    updates = args.max_epoch * args.num_iters_per_epoch // args.accum_grad
    assert updates == total


def read(name: str) -> dict:
    return yaml.safe_load((CONF / f"train_{name}.yaml").read_text())


@pytest.mark.parametrize("layers", [18, 36])
def test_batches_are_the_papers(layers):
    ctc = read(f"ctc_conformer{layers}_16gpu")
    assert ctc["batch_bins"] == 16 * 500 * 16_000  # GPUs, seconds of audio, samples in one
    assert ctc["accum_grad"] == 4
    align = read(f"align_conformer{layers}_64gpu")
    assert align["batch_size"] == 64 * 2  # GPUs, utterances
    assert align["accum_grad"] == 8
    assert "batch_bins" not in align


@pytest.mark.parametrize("layers", [18, 36])
@pytest.mark.parametrize("kind", ["ctc", "align"])
def test_only_batches_differ_between_one_gpu_and_the_papers(layers, kind):
    one, many = (read(f"{kind}_conformer{layers}{size}") for size in NAMES[kind])
    differ = {key for key in one.keys() | many.keys() if one.get(key) != many.get(key)}
    assert differ <= {"batch_type", "batch_bins", "batch_size"}
    assert one["batch_bins"] / 16_000 == {"ctc": 500, "align": 2 * 20}[kind]  # seconds
    other = read(f"{kind}_conformer{54 - layers}{NAMES[kind][1]}")
    differ = {key for key in many.keys() | other.keys() if many.get(key) != other.get(key)}
    assert differ == {"encoder_conf"}
