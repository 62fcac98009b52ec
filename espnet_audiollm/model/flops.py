"""Floating-point operations of training, counted in the models that do them.

What a step needs, not what it spends: recomputed activations and padding are no part of it, so its
share of the hardware's peak is the "model FLOP utilisation" (MFU).

    encoder      3 x its forward pass (forward, and backward to activations and to weights)
    LLM          forward, and backward to activations only: its weights get no gradient
      matrices   2 x (2 x their weights for every position)
      attention  3 x (2 x layers x width x length^2 for every sequence; half the square is masked)
      output     2 x (2 x width x vocabulary for every response token)

The filterbank, the projection to the LLM's width (1 % of the encoder), norms, softmax and the
optimiser are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import PretrainedConfig, PreTrainedModel

from ..types import Seconds
from .conformer import ConformerEncoder
from .layers import decoder_layers

PEAK_FLOPS = {  # dense bfloat16 of the SXM modules, a second; NVIDIA's data sheets
    "A100": 312e12,
    "H100": 989e12,
    "H200": 989e12,
}
FRAMES_PER_SECOND = 100  # of the filterbank


def llama2_7b() -> PretrainedConfig:
    """The shape of Llama-2-7B (Touvron et al., 2023)."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=32_000,
        hidden_size=4096,
        intermediate_size=11_008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        max_position_embeddings=4096,
        attn_implementation="sdpa",
    )


def peak_flops(gpu: str) -> float:
    """Of a GPU called so, or of so many TFLOP/s. ValueError: neither."""
    if gpu in PEAK_FLOPS:
        return PEAK_FLOPS[gpu]
    try:
        return float(gpu) * 1e12
    except ValueError:
        known = ", ".join(PEAK_FLOPS)
        raise ValueError(f"GPU {gpu}: unknown; give one of {known}, or its TFLOP/s") from None


def encoder_flops(encoder: ConformerEncoder, duration: Seconds) -> int:
    """Forward pass over one utterance; `encoder` is on the meta device, so nothing is computed."""
    frames = round(duration * FRAMES_PER_SECOND)
    bands = torch.empty(1, frames, encoder.input_size, device="meta")
    lengths_B = torch.empty(1, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder(bands, lengths_B)
    return counter.get_total_flops()


def matrix_weights(llm: PreTrainedModel) -> int:
    """Weights of the decoder layers that every position is multiplied with."""
    return sum(p.numel() for layer in decoder_layers(llm) for p in layer.parameters() if p.ndim > 1)


def llm_forward_flops(llm: PreTrainedModel, lengths: Sequence[int], predicted: int) -> int:
    """Forward pass over sequences of `lengths` positions that predict `predicted` tokens."""
    matrices, attention, output = _parts(llm, lengths, predicted)
    return matrices + attention + output


def llm_step_flops(llm: PreTrainedModel, lengths: Sequence[int], predicted: int) -> int:
    """Forward, and backward to what stands before the first layer."""
    matrices, attention, output = _parts(llm, lengths, predicted)
    return 2 * matrices + 3 * attention + 2 * output


def _parts(llm: PreTrainedModel, lengths: Sequence[int], predicted: int) -> tuple[int, int, int]:
    config = llm.config
    head_width = getattr(config, "head_dim", None)
    head_width = head_width or config.hidden_size // config.num_attention_heads
    width = config.num_attention_heads * head_width
    squares = sum(n * n for n in lengths)
    return (
        2 * matrix_weights(llm) * sum(lengths),
        2 * config.num_hidden_layers * width * squares,
        2 * config.hidden_size * config.vocab_size * predicted,
    )
