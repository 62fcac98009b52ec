"""Every encoder and front end of the tables: it runs, and no utterance sees its batch."""

import argparse

import pytest
import torch
from pretrained_encoders import save_encoder

from espnet_audiollm.tasks.audiollm import AudioLLMTask
from espnet_audiollm.tasks.choices import ENCODERS, FRONTENDS, build_speech_encoder

BLOCKS = dict(output_size=16, attention_heads=2, num_blocks=1, dropout_rate=0.0)
DRY = dict(positional_dropout_rate=0.0, attention_dropout_rate=0.0)
BRANCHES = dict(cgmlp_linear_units=32, cgmlp_conv_kernel=7)
CONF = {
    "conformer": dict(**BLOCKS, linear_units=24, subsampling_channels=4),
    "espnet_conformer": dict(**BLOCKS, **DRY, linear_units=24, cnn_module_kernel=7),
    "branchformer": dict(**BLOCKS, **DRY, **BRANCHES),
    "e_branchformer": dict(**BLOCKS, **DRY, **BRANCHES, linear_units=24),
    "transformer": dict(**BLOCKS, **DRY, linear_units=24),
    "linear": dict(output_size=16, dropout_rate=0.0),
}
LENGTHS = (16_000, 9_000, 12_345)


def options(*words: str) -> argparse.Namespace:
    return AudioLLMTask.get_parser().parse_args(["--output_dir", "none", *words])


def encoder_of(frontend: str, encoder: str, conf: dict):
    args = options("--frontend", frontend, "--encoder", encoder)
    args.encoder_conf = conf
    torch.manual_seed(0)
    return build_speech_encoder(args)


def check_independent(encoder, train: bool) -> None:
    encoder.train(train)
    speech_BN = 0.1 * torch.randn(len(LENGTHS), max(LENGTHS))
    lengths_B = torch.tensor(LENGTHS)
    batched_BTD, frames_B = encoder(speech_BN, lengths_B)
    for i, n in enumerate(LENGTHS):
        single_1TD, frames_1 = encoder(speech_BN[i : i + 1, :n], lengths_B[i : i + 1])
        assert frames_1.item() == frames_B[i].item() == single_1TD.shape[1]
        torch.testing.assert_close(
            batched_BTD[i, : frames_B[i]], single_1TD[0], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "pretrained"])
def test_encoders_do_not_see_the_batch(name, train):
    check_independent(encoder_of("fbank", name, CONF[name]), train)


@pytest.mark.parametrize("name", FRONTENDS)
def test_front_ends_do_not_see_the_batch(name):
    check_independent(encoder_of(name, "conformer", CONF["conformer"]), train=True)


def test_frames_per_second():
    conformer = {**CONF["conformer"], "subsampling": 4}
    assert encoder_of("fbank", "conformer", conformer).frames_per_second == 25
    assert encoder_of("default", "conformer", conformer).frames_per_second is None


def test_a_pretrained_encoder_reads_samples(tmp_path):
    save_encoder("hubert", tmp_path)
    words = ["--encoder", "pretrained", "--encoder_conf", f"directory={tmp_path}"]
    with pytest.raises(ValueError, match="give it --frontend none, --normalize none"):
        build_speech_encoder(options(*words))
    without = ["--frontend", "none", "--normalize", "none"]
    assert build_speech_encoder(options(*words, *without)).frames_per_second == 50
