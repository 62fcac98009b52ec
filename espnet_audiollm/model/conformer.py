"""A conformer whose output for an utterance does not depend on its batch.

The blocks are those of Gulati et al. (2020) at the sizes of AudioChatLlama (section 3.2): half-step
feed-forward, self-attention, convolution, half-step feed-forward. What differs from ESPnet's class
is what batching demands: padding is zeroed before every convolution, lengths come from the true
lengths, and the convolution module normalises each frame by itself (layer norm, where batch norm
would mix utterances). Positions are rotary, so attention is torch's fused kernel.
"""

# B batch, F input frames, T subsampled frames, M input width, D model width, H heads, C channels

from __future__ import annotations

import torch
import torch.nn.functional as F
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from torch import nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from .attention import attend
from .dropout import Dropout, dropout
from .masking import mask_padding, valid_mask

SUBSAMPLING_TYPES = ("conv", "separable")


class DepthwiseConv2d(nn.Conv2d):
    """A 3 x 3 convolution of stride 2 for each channel by itself; on a processor in float32, also
    under autocast: in bfloat16 its backward pass takes several times as long there.

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int):
        super().__init__(channels, channels, kernel_size=3, stride=2, padding=1, groups=channels)

    def forward(self, x_BCFM: torch.Tensor) -> torch.Tensor:
        """(B, C, F, M) to (B, C, F / 2, M / 2), rounded up; float32 from a processor's autocast."""
        if x_BCFM.device.type != "cpu":
            return super().forward(x_BCFM)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x_BCFM.to(self.weight.dtype))


class DepthwiseConv1d(nn.Conv1d):
    """A convolution over time for each channel by itself; on a processor in float32, also under
    autocast, and in two dimensions with channels last, which takes half the time there.

    Args:
        width: channels D of input and output.
        kernel: frames, odd.
    """

    def __init__(self, width: int, kernel: int):
        super().__init__(width, width, kernel, padding=kernel // 2, groups=width)

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        """(B, T, D) to (B, T, D); float32 from a processor's autocast."""
        x_BDT = x_BTD.transpose(1, 2)
        if x_BTD.device.type != "cpu":
            return super().forward(x_BDT).transpose(1, 2)
        kernel_D11K, sides = self.weight.unsqueeze(2), (0, self.kernel_size[0] // 2)
        with torch.autocast("cpu", enabled=False):
            x_BD1T = x_BDT.to(self.weight.dtype).unsqueeze(2)
            x_BD1T = F.conv2d(x_BD1T, kernel_D11K, self.bias, padding=sides, groups=self.groups)
        return x_BD1T.squeeze(2).transpose(1, 2)


def _convolution(before: int, channels: int, subsampling_type: str) -> nn.Module:
    """3 x 3, stride 2; the first of a stack (1 channel before it) is never separable."""
    if subsampling_type == "conv" or before == 1:
        return nn.Conv2d(before, channels, kernel_size=3, stride=2, padding=1)
    return nn.Sequential(DepthwiseConv2d(channels), nn.Conv2d(channels, channels, kernel_size=1))


class _MaskedReLU(torch.autograd.Function):
    """ReLU in place, zero at padding. What is zero here has no gradient, so the backward pass needs
    no second mask."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        """`x` changed; `padding` is True where it becomes 0, and broadcast."""
        x.masked_fill_(padding, 0.0).relu_()
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        """The gradient where the result is above 0."""
        (result,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(grad, result, 0.0), None


class ConvSubsampling(nn.Module):
    """3 x 3 convolutions of stride 2 over time and frequency, then a linear layer.

    Args:
        input_width: bands of the filterbank.
        width: output width D.
        channels: channels of every convolution; the cost of `conv` grows with their square.
        factor: 2, 4 or 8 input frames to one output frame.
        subsampling_type: `conv`, or `separable`: after the first convolution, one within each
            channel (depthwise) and a matrix across them (pointwise), as in FastConformer (Rekesh et
            al., 2023).
    """

    def __init__(
        self,
        input_width: int,
        width: int,
        channels: int,
        factor: int,
        subsampling_type: str = "conv",
    ):
        super().__init__()
        if factor not in (2, 4, 8):
            raise ValueError(f"subsampling is {factor}; it can be 2, 4 or 8")
        if subsampling_type not in SUBSAMPLING_TYPES:
            known = " or ".join(SUBSAMPLING_TYPES)
            raise ValueError(f"subsampling_type is {subsampling_type}; it can be {known}")
        self.factor = factor
        convs, bands, before = [], input_width, 1
        while factor > 1:
            convs.append(_convolution(before, channels, subsampling_type))
            before, bands, factor = channels, (bands + 1) // 2, factor // 2
        self.convs = nn.ModuleList(convs)
        self.out = nn.Linear(channels * bands, width)

    def forward(
        self, x_BFM: torch.Tensor, lengths_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns (B, T, D) and (B,), T = F / factor rounded up at each convolution."""
        x_BCFM = x_BFM.unsqueeze(-1).permute(0, 3, 1, 2)  # channels last in memory, all the way
        for conv in self.convs:
            x_BCFM = conv(x_BCFM)
            lengths_B = (lengths_B + 1) // 2
            padding_BF = ~valid_mask(lengths_B, x_BCFM.shape[2], x_BCFM.device)
            # in place: these are the largest tensors of a small encoder
            x_BCFM = _MaskedReLU.apply(x_BCFM, padding_BF[:, None, :, None])
        return self.out(x_BCFM.transpose(1, 2).flatten(2)), lengths_B


class FeedForward(nn.Sequential):
    """Layer norm, two linear layers with SiLU between, dropout: (B, T, D) to (B, T, D)."""

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__(
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.SiLU(),
            Dropout(dropout),
            nn.Linear(hidden, width),
            Dropout(dropout),
        )


class RotaryPositions(nn.Module):
    """Rotation angles of every position (Su et al., 2021), computed once a forward pass."""

    def __init__(self, head_width: int):
        super().__init__()
        frequencies = 10_000.0 ** (-torch.arange(0, head_width, 2) / head_width)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines, (longest, head_width) each."""
        steps = torch.arange(longest, device=self.frequencies.device)
        angles = torch.outer(steps.to(self.frequencies.dtype), self.frequencies).repeat(1, 2)
        return angles.cos(), angles.sin()


def rotate(x_xTK: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Queries and keys (..., T, K), K the width of a head, turned by their positions' angles."""
    cos, sin = (a.to(x_xTK.dtype) for a in angles)
    first, second = x_xTK.chunk(2, dim=-1)
    return x_xTK * cos + torch.cat((-second, first), dim=-1) * sin


class SelfAttention(nn.Module):
    """Layer norm, attention of H heads over the utterance, dropout."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        x_BTD: torch.Tensor,
        mask_B11T: torch.Tensor,
        angles: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:
        """(B, T, D) to (B, T, D); mask_B11T is True where a frame may be attended to."""
        qkv_3BHTK = (
            self.qkv(self.norm(x_BTD)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        q_BHTK, k_BHTK = rotate(qkv_3BHTK[:2], angles)
        attended_BHTK = attend(
            q_BHTK,
            k_BHTK,
            qkv_3BHTK[2],
            attn_mask=mask_B11T,
            dropout_p=self.dropout if self.training else 0.0,
        )
        attended_BTD = attended_BHTK.transpose(1, 2).flatten(2)
        return dropout(self.out(attended_BTD), self.dropout, self.training)


class Convolution(nn.Module):
    """Layer norm, gate, depthwise convolution of `kernel` frames, layer norm, SiLU, dropout."""

    def __init__(self, width: int, kernel: int, dropout: float):
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"cnn_module_kernel is {kernel}; it must be odd")
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, 2 * width)
        self.depthwise = DepthwiseConv1d(width, kernel)
        self.inner_norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x_BTD: torch.Tensor, padding_BT1: torch.Tensor) -> torch.Tensor:
        """(B, T, D) to (B, T, D); padding, where the mask is True, is zero before the
        convolution."""
        x_BTD = F.glu(self.gate(self.norm(x_BTD))).masked_fill(padding_BT1, 0.0)
        return self.dropout(self.out(F.silu(self.inner_norm(self.depthwise(x_BTD)))))


class ConformerLayer(nn.Module):
    """Half a feed-forward step, attention, convolution, the other half, layer norm."""

    def __init__(self, width: int, heads: int, hidden: int, kernel: int, dropout: float):
        super().__init__()
        self.feed_forward1 = FeedForward(width, hidden, dropout)
        self.attention = SelfAttention(width, heads, dropout)
        self.convolution = Convolution(width, kernel, dropout)
        self.feed_forward2 = FeedForward(width, hidden, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        x_BTD: torch.Tensor,
        mask_B11T: torch.Tensor,
        angles: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:
        """(B, T, D) to (B, T, D); mask_B11T is True where a frame is no padding."""
        x_BTD = x_BTD.add(self.feed_forward1(x_BTD), alpha=0.5)
        x_BTD = x_BTD + self.attention(x_BTD, mask_B11T, angles)
        x_BTD = x_BTD + self.convolution(x_BTD, ~mask_B11T[:, 0, 0, :, None])
        x_BTD = x_BTD.add(self.feed_forward2(x_BTD), alpha=0.5)
        return self.norm(x_BTD)


class ConformerEncoder(AbsEncoder):
    """Filterbanks to (B, T, D), one frame every `subsampling` x 10 ms.

    The option names are ESPnet's where the meaning is the same.

    Args:
        input_size: filterbank bands M.
        output_size: width D, a multiple of 2 x attention_heads.
        attention_heads: heads H.
        linear_units: inner width of the feed-forward parts.
        num_blocks: conformer layers.
        dropout_rate: dropout everywhere.
        cnn_module_kernel: frames the depthwise convolution spans, odd.
        subsampling: input frames to one output frame (8: 80 ms).
        subsampling_channels: channels of the subsampling convolutions (None: output_size).
        activation_checkpointing: recompute each layer in the backward pass: less memory, more time.
        subsampling_type: `conv` or `separable` convolutions, see ConvSubsampling.
    """

    batch_independent = True
    uses_all_parameters = True  # each has a gradient in every step

    def __init__(
        self,
        input_size: int,
        output_size: int = 512,
        attention_heads: int = 8,
        linear_units: int = 2048,
        num_blocks: int = 18,
        dropout_rate: float = 0.1,
        cnn_module_kernel: int = 11,
        subsampling: int = 8,
        subsampling_channels: int | None = None,
        activation_checkpointing: bool = False,
        subsampling_type: str = "conv",
    ):
        super().__init__()
        if output_size % (2 * attention_heads):
            raise ValueError(
                f"output_size {output_size} is not a multiple of 2 x attention_heads "
                f"({attention_heads})"
            )
        self.input_size, self._output_size = input_size, output_size
        self.subsampling = subsampling
        self.activation_checkpointing = activation_checkpointing
        self.subsample = ConvSubsampling(
            input_size,
            output_size,
            subsampling_channels or output_size,
            subsampling,
            subsampling_type,
        )
        self.positions = RotaryPositions(output_size // attention_heads)
        self.dropout = Dropout(dropout_rate)
        self.layers = nn.ModuleList(
            ConformerLayer(
                output_size, attention_heads, linear_units, cnn_module_kernel, dropout_rate
            )
            for _ in range(num_blocks)
        )

    def output_size(self) -> int:
        """The width D."""
        return self._output_size

    def forward(
        self,
        xs_pad: torch.Tensor,
        ilens: torch.Tensor,
        prev_states: None = None,
        ctc: None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """(B, F, M) and (B,) to (B, T, D), (B,) and None (ESPnet's encoder interface)."""
        x_BTD, lengths_B = self.subsample(mask_padding(xs_pad, ilens), ilens)
        x_BTD = self.dropout(x_BTD)
        on_device_B = lengths_B.to(x_BTD.device, non_blocking=True)  # once, for all layers
        mask_B11T = valid_mask(on_device_B, x_BTD.shape[1])[:, None, None]
        angles = self.positions(x_BTD.shape[1])
        for layer in self.layers:
            if self.activation_checkpointing and self.training:
                x_BTD = checkpoint(layer, x_BTD, mask_B11T, angles, use_reentrant=False)
            else:
                x_BTD = layer(x_BTD, mask_B11T, angles)
        return mask_padding(x_BTD, on_device_B), lengths_B, None
