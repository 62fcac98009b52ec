"""A recipe with pretrained encoders: no recogniser is trained, no cascade is in the table."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from chat_llms import save_tiny_llm
from pretrained_encoders import save_encoder
from recipe_copies import ADAPTER, environment

from espnet_audiollm.data.kaldi_dir import write_data_dir
from espnet_audiollm.train import checkpoints
from espnet_audiollm.types import Utterance

TRAINING = """
frontend: null
normalize: null
encoder: pretrained
encoder_conf: {{directory: {directory}, train: {train}}}
batch_type: sorted
batch_size: 4
max_epoch: 1
num_workers: 0
best_model_criterion: [[valid, loss, min]]
keep_nbest_models: 1
use_matplotlib: false
"""
WORDS = "the cat sat on mat and dog ran to park what is capital of france paris".split()


def make_data(directory: Path, number: int) -> None:
    rng, split = np.random.default_rng(number), directory.name
    utterances = []
    for i in range(number):
        path = directory / "wav" / f"{split}{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.normal(0, 0.1, 9_000 + 1_700 * i), 16_000)
        text = " ".join(rng.choice(WORDS, 4))
        utterances.append(Utterance(path.stem, str(path), f"{split}-speaker", None, text))
    write_data_dir(directory, utterances)


@pytest.fixture
def recipe(root, tmp_path):
    """A recipe of eight noises in a checkout of its own, with two encoders and an LLM."""
    for name in ("egs2/TEMPLATE", "utils"):
        shutil.copytree(root / name, tmp_path / name, symlinks=True)
    for name in ("tools", "espnet_audiollm"):
        (tmp_path / name).symlink_to(root / name)
    recipe = tmp_path / "egs2/noises/audiollm1"
    setup = tmp_path / "egs2/TEMPLATE/audiollm1/setup.sh"
    subprocess.run([setup, recipe], check=True, capture_output=True)
    (recipe / "local/data.sh").write_text("#!/bin/sh\n")
    for split, number in (("train", 8), ("valid", 3), ("test", 4)):
        make_data(recipe / "data" / split, number)
    save_tiny_llm(recipe / "llm")
    for name, train in (("whisper", False), ("hubert", True)):
        directory = save_encoder(name, recipe / name)
        text = TRAINING.format(directory=directory, train=str(train).lower()) + ADAPTER
        (recipe / f"conf/train_align_{name}.yaml").write_text(text)
    return recipe


@pytest.mark.slow
def test_from_noises_to_a_table_without_cascades(recipe):
    words = ["--llm", "llm", "--ctc_checkpoints", "", "--init_checkpoint", "", "--nj", "1"]
    configs = "conf/train_align_whisper.yaml conf/train_align_hubert.yaml"
    done = subprocess.run(
        ["./audiollm.sh", *words, "--align_configs", configs],
        cwd=recipe,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    stages = [n for n in range(1, 13) if f"Stage {n}:" in done.stdout]
    assert stages == [1, 2, 7, 8, 9, 10, 11]
    systems = json.loads((recipe / "exp/results.json").read_text())["systems"]
    assert sorted(s["name"] for s in systems) == ["audiollm", "audiollm", "no_prompt", "reference"]
    assert all(system["num_utts"] == 4 for system in systems)
    assert not list(recipe.glob("exp/ctc*")) and not (recipe / "data/token_list").exists()
    assert "cascade" not in (recipe / "exp/RESULTS.md").read_text().split("## ")[0]
    for name, parts in (("whisper", {"adapter"}), ("hubert", {"adapter", "speech_encoder"})):
        exp = recipe / f"exp/audiollm_{name}"
        state = checkpoints.load(exp / "1epoch.pth")
        assert {key.split(".")[0] for key, v in state.items() if torch.is_tensor(v)} == parts
        assert "50 frames a second, 12.5 positions" in (exp / "train.log").read_text()
