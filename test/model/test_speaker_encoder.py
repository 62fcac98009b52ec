"""The speaker encoder: crops, the margin, and that nobody's embedding depends on others."""

import math

import pytest
import torch

from espnet_audiollm.model.speaker_encoder import (
    AngularMargin,
    SpeakerEncoder,
    SpeakerESPnetModel,
    crops,
)

SMALL = dict(channels=8, groups=2, blocks=2, pooled=12, width=6)


def small(**more):
    torch.manual_seed(0)
    return SpeakerEncoder(**{**SMALL, **more}).eval()


def test_crops_begin_again_at_the_end():
    speech_BN = torch.arange(20.0).reshape(2, 10)
    found = crops(speech_BN, torch.tensor([10, 3]), torch.tensor([4, 1]), 5)
    assert found.tolist() == [[4, 5, 6, 7, 8], [11, 12, 10, 11, 12]]


@pytest.mark.parametrize("stride", [1, 2])
@torch.no_grad()
def test_one_is_as_in_a_batch_and_of_length_one(stride):
    encoder, speech_BN = small(stride=stride), 0.1 * torch.randn(3, 9_000)
    x_BD = encoder(speech_BN)
    torch.testing.assert_close(x_BD.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(encoder(speech_BN[1:2]), x_BD[1:2], atol=1e-5, rtol=1e-5)
    quieter = encoder(0.3 * speech_BN)  # loudness is each band's mean, but for the floor
    assert (quieter * x_BD).sum(1).min() > 0.999


def test_the_margin_adds_to_the_angle():
    head = AngularMargin(2, 2, margin=0.3, scale=10.0)
    head.directions_SD.data = torch.tensor([[2.0, 0.0], [0.0, 5.0]])  # lengths do not count
    angle = 0.4
    x_BD = torch.tensor([[math.cos(angle), math.sin(angle)]])
    right, other = math.cos(angle + 0.3), math.sin(angle)
    loss, accuracy = head(x_BD, torch.tensor([0]))
    assert accuracy == 1
    assert loss.item() == pytest.approx(math.log1p(math.exp(10 * (other - right))), rel=1e-4)
    plain, _ = head.eval()(x_BD, torch.tensor([0]))
    gain = 10 * (other - math.cos(angle))
    assert plain.item() == pytest.approx(math.log1p(math.exp(gain)), rel=1e-4)


def test_the_loss_grows_when_the_angle_grows():
    head = AngularMargin(2, 2, margin=0.5, scale=1.0)
    head.directions_SD.data = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    angles = torch.linspace(0.01, math.pi - 0.01, 60)
    x_BD = torch.stack([angles.cos(), angles.sin()], 1)
    found = torch.stack([head(x_D[None], torch.tensor([0]))[0] for x_D in x_BD])
    assert (found.diff() > 0).all()


def test_training_draws_crops_and_validation_takes_the_beginning():
    model = SpeakerESPnetModel(small(), AngularMargin(6, 3, scale=1.0), 0.5)
    speech, speaker = 0.1 * torch.randn(2, 16_000), torch.tensor([[0], [2]])
    lengths = torch.tensor([16_000, 5_000])
    model.eval()
    with torch.no_grad():
        loss, stats, weight = model(speech, lengths, speaker)
        again, _, _ = model(speech[:, :8_000], lengths.clamp(max=8_000), speaker)
        assert loss == again and weight == 2 and set(stats) == {"loss", "accuracy"}
        model.training = True  # only crops
        torch.manual_seed(1)
        losses = {model(speech, lengths, speaker)[0].item() for _ in range(4)}
    assert len(losses) == 4


def test_all_weights_learn():
    model = SpeakerESPnetModel(small(channels=32), AngularMargin(6, 3, scale=1.0), 0.5).train()
    speaker = torch.tensor([[0], [1], [2]])
    model(0.1 * torch.randn(3, 9_000), torch.full((3,), 9_000), speaker)[0].backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize(
    "build, says",
    [
        (lambda: small(groups=3), "8 channels are not 3 equal groups"),
        (lambda: small(groups=1), "below 2"),
        (lambda: AngularMargin(4, 2, margin=2.0), "margin 2 .*0 to"),
        (lambda: SpeakerESPnetModel(small(), AngularMargin(6, 2), 0.2), "crop_seconds 0.2.*0.5"),
    ],
)
def test_what_is_refused(build, says):
    with pytest.raises(ValueError, match=says):
        build()


def test_the_configuration_of_mini(root):
    from espnet_audiollm.tasks.speaker import SpeakerTask

    conf = root / "egs2/mini/speechlm1/conf/train_speaker.yaml"
    args = SpeakerTask.get_parser().parse_args(["--config", str(conf), "--output_dir", "none"])
    args.speakers = [f"s{n}" for n in range(123)]
    with torch.device("meta"):
        model = SpeakerTask.build_model(args)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(0.52e6, rel=0.05)
    batches = math.ceil(12_000 / args.batch_size)
    assert args.scheduler_conf["total_steps"] == pytest.approx(args.max_epoch * batches, rel=0.02)
