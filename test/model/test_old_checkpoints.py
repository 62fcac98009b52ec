"""Conformers of earlier versions: their checkpoints load, and give the same output.

Names, shapes and figures are those of commit a2f2ba8, before anything was changed for speed."""

import pytest
import torch

from espnet_audiollm.model.conformer import ConformerEncoder, DepthwiseConv1d

SIZES = dict(output_size=8, attention_heads=2, linear_units=12, num_blocks=1)
SIZES |= dict(cnn_module_kernel=5, subsampling_channels=3)
WEIGHTS = {
    "subsample.convs.0": (3, 1, 3, 3),
    "subsample.convs.1": (3, 3, 3, 3),
    "subsample.convs.2": (3, 3, 3, 3),
    "subsample.out": (8, 30),
    "layers.0.feed_forward1.0": (8,),
    "layers.0.feed_forward1.1": (12, 8),
    "layers.0.feed_forward1.4": (8, 12),
    "layers.0.attention.norm": (8,),
    "layers.0.attention.qkv": (24, 8),
    "layers.0.attention.out": (8, 8),
    "layers.0.convolution.norm": (8,),
    "layers.0.convolution.gate": (16, 8),
    "layers.0.convolution.depthwise": (8, 1, 5),
    "layers.0.convolution.inner_norm": (8,),
    "layers.0.convolution.out": (8, 8),
    "layers.0.feed_forward2.0": (8,),
    "layers.0.feed_forward2.1": (12, 8),
    "layers.0.feed_forward2.4": (8, 12),
    "layers.0.norm": (8,),
}
FRAME_3 = [  # of both utterances
    [0.0, 0.4446361, 0.2189793, 0.6744249, 0.0912179, 0.1005043, -0.3013341, -0.0366046],
    [0.0, 0.5288530, 0.6094307, 0.5493084, 0.0973639, 0.0574772, 0.0360753, -0.0148139],
]
SUM = 22.0006542  # of absolute values


def wave(*shape):
    """Figures that no generator of random numbers can change."""
    return torch.arange(torch.Size(shape).numel()).mul(0.7).sin().reshape(shape)


def test_an_old_checkpoint_gives_its_output():
    checkpoint = {}
    for name, shape in WEIGHTS.items():
        checkpoint[f"{name}.weight"] = wave(*shape) / shape[-1] ** 0.5
        checkpoint[f"{name}.bias"] = wave(shape[0]) / shape[0] ** 0.5
    encoder = ConformerEncoder(80, **SIZES).eval()
    encoder.load_state_dict(checkpoint)
    with torch.no_grad():
        output_BTD, lengths_B, _ = encoder(wave(2, 50, 80), torch.tensor([50, 29]))
    assert lengths_B.tolist() == [7, 4]
    torch.testing.assert_close(output_BTD[:, 3], torch.tensor(FRAME_3), atol=1e-5, rtol=0)
    assert output_BTD.abs().sum().item() == pytest.approx(SUM, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_depthwise_convolution_is_torchs(dtype):
    ours = DepthwiseConv1d(6, 5).to(dtype)
    torchs = torch.nn.Conv1d(6, 6, 5, padding=2, groups=6).to(dtype)
    torchs.load_state_dict(ours.state_dict())
    x_BTD = torch.randn(3, 9, 6, dtype=dtype, requires_grad=True)
    found, expected = ours(x_BTD), torchs(x_BTD.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(found, expected)
    weights = [(ours.weight, torchs.weight), (ours.bias, torchs.bias), (x_BTD, x_BTD)]
    for mine, other in weights:
        (a,) = torch.autograd.grad(found.square().sum(), mine, retain_graph=True)
        (b,) = torch.autograd.grad(expected.square().sum(), other, retain_graph=True)
        torch.testing.assert_close(a, b)


def test_a_depthwise_convolution_under_autocast_keeps_float32():
    """Its products are those of float32, not of bfloat16."""
    convolution, x_BTD = DepthwiseConv1d(6, 5), torch.randn(3, 9, 6)
    with torch.autocast("cpu", torch.bfloat16):
        cast = convolution(x_BTD)
    assert cast.dtype == torch.float32 and torch.equal(cast, convolution(x_BTD))
