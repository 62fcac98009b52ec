"""Copies of recipes that a test may run: own data and exp, the rest of the checkout linked."""

import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

MADE_BY_RUNS = shutil.ignore_patterns("data", "dump", "exp", "downloads")

TINY = """
encoder: conformer
encoder_conf: {output_size: 16, attention_heads: 2, linear_units: 16, num_blocks: 1,
               subsampling: 8, subsampling_channels: 4}
batch_type: numel
batch_bins: 800000
max_epoch: 1
num_workers: 0
best_model_criterion: [[valid, loss, min]]
keep_nbest_models: 1
use_matplotlib: false
"""
ADAPTER = "audio_adapter: stack\naudio_adapter_conf: {stack: 4}\n"
TINY_OPTIONS = (
    "--ctc_config conf/train_ctc_test.yaml --align_configs conf/train_align_test.yaml "
    "--ctc_checkpoints valid.loss.ave.pth --nj 2"
).split()


def copy_recipe(root: Path, place: Path, name: str, training: str = TINY) -> Path:
    """egs2/<name>/audiollm1 in a checkout at `place`, with the configurations of TINY_OPTIONS."""
    for link in ("utils", "tools", "espnet_audiollm", "egs2/TEMPLATE", "egs2/mini"):
        (place / link).parent.mkdir(parents=True, exist_ok=True)
        if not (place / link).exists() and link != f"egs2/{name}":
            (place / link).symlink_to(root / link)
    recipe = place / "egs2" / name / "audiollm1"
    source = root / "egs2" / name / "audiollm1"
    shutil.copytree(source, recipe, symlinks=True, ignore=MADE_BY_RUNS)
    (recipe / "conf/train_ctc_test.yaml").write_text(training)
    (recipe / "conf/train_align_test.yaml").write_text(training + ADAPTER)
    return recipe


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


# The mini recipe, cut down: all stages, and all that makes a training depend on chance.
NUM_STAGES = 12
MINI_TRAINING = """
encoder: conformer
encoder_conf: {output_size: 16, attention_heads: 2, linear_units: 16, num_blocks: 1,
               dropout_rate: 0.1, subsampling: 8, subsampling_channels: 4}
specaug: specaug
specaug_conf: {apply_time_warp: false, apply_freq_mask: true, freq_mask_width_range: [0, 10],
               num_freq_mask: 1, apply_time_mask: true, time_mask_width_range: [0, 5],
               num_time_mask: 1}
batch_type: numel
batch_bins: 160000
max_epoch: 3
optim: adamw
optim_conf: {lr: 0.001}
num_workers: 1
save_every_minutes: 0.02
best_model_criterion: [[valid, loss, min]]
keep_nbest_models: 2
use_matplotlib: false
"""
MINI_OPTIONS = [
    "--local_data_opts",
    "--num_train 120 --num_valid 10 --num_test 12 --num_conversations 2 --nj 1 "
    "--llm_conversations 400 --llm_eval 10",
    *("--vocab_size", "120", "--stop_stage", str(NUM_STAGES), "--noises", "babble:0"),
    *("--behaviours", ""),
    *TINY_OPTIONS,
]


@dataclass(frozen=True)
class MiniRun:
    recipe: Path
    seconds: dict[int, float]  # that each stage took


def run_mini(recipe: Path) -> MiniRun:
    """Run the cut-down mini recipe to the end."""
    log, begun = recipe / "run.log", {}
    with open(log, "w") as out:
        words = [str(recipe / "run.sh"), *MINI_OPTIONS]
        shell = subprocess.Popen(
            words, cwd="/", stdout=out, stderr=subprocess.STDOUT, env=environment()
        )
    while shell.poll() is None:
        for stage in re.findall(r"Stage (\d+):", log.read_text(errors="replace")):
            begun.setdefault(int(stage), time.monotonic())
        time.sleep(0.05)
    assert shell.returncode == 0, log.read_text(errors="replace")[-3000:]
    assert sorted(begun) == list(range(1, NUM_STAGES + 1))
    ends = [*list(begun.values())[1:], time.monotonic()]
    took = {stage: end - start for (stage, start), end in zip(begun.items(), ends, strict=True)}
    return MiniRun(recipe, took)


def check_same(recipe: Path, expected: Path) -> None:
    """Two runs left the same: figures, weights to the last bit, answers, and files, no more."""
    ours, theirs = (json.loads((r / "exp/results.json").read_text()) for r in (recipe, expected))
    assert ours == theirs
    averages = sorted(expected.glob("exp/*/valid.loss.ave.pth"))
    assert len(averages) == 2
    for path in averages:
        check_same_weights(recipe / path.relative_to(expected), path)
    for name in ("hyp", "response_ids", "answers.jsonl"):
        for path in expected.glob(f"*/**/{name}"):
            ours = recipe / path.relative_to(expected)
            assert ours.read_bytes() == path.read_bytes(), ours
    assert files(recipe) == files(expected)


def check_same_weights(path: Path, expected: Path) -> None:
    import torch

    a, b = (torch.load(each, weights_only=True) for each in (path, expected))
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]) if isinstance(a[key], torch.Tensor) else a[key] == b[key]


def files(recipe: Path) -> set[str]:
    """Everything a run left except logs (tensorboard's are one a run), by relative path.

    Names that say when something was saved, or from which state of a table, count as equal."""
    tops = ("data", "dump", "exp")
    found = (path for top in tops for path in (recipe / top).rglob("*") if not path.is_dir())
    names = (str(path.relative_to(recipe)) for path in found if path.suffix != ".log")
    names = (re.sub(r"(?<=\.)[0-9a-f]{16}|(?<=checkpoint_)\d{9}", "STATE", name) for name in names)
    return {name for name in names if "/tensorboard/" not in name}
