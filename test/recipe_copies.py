"""Copies of recipes that a test may run: own data and exp, the rest of the checkout linked."""

import os
import shutil
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
