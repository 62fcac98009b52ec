"""Tiny codecs of random weights, saved as Hugging Face directories."""

from pathlib import Path

import torch
from transformers import (
    DacConfig,
    DacModel,
    EncodecConfig,
    EncodecModel,
    MimiConfig,
    MimiModel,
)


def dac():
    """16 kHz, 80 samples a frame, four codebooks of 16."""
    config = DacConfig(
        encoder_hidden_size=4,
        downsampling_ratios=[2, 5, 8],
        decoder_hidden_size=16,
        n_codebooks=4,
        codebook_size=16,
        codebook_dim=4,
        sampling_rate=16_000,
    )
    return DacModel(config)


def mimi():
    """24 kHz, 160 samples a frame, one semantic and three acoustic codebooks of 16."""
    config = MimiConfig(
        sampling_rate=24_000,
        hidden_size=16,
        num_filters=4,
        upsampling_ratios=[8, 5, 2],
        codebook_size=16,
        codebook_dim=8,
        vector_quantization_hidden_dimension=8,
        num_quantizers=4,
        num_hidden_layers=1,
        intermediate_size=16,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        upsample_groups=16,
        sliding_window=50,
    )
    return MimiModel(config)


def encodec(**more):
    """24 kHz, 80 samples a frame, four codebooks of 16."""
    config = EncodecConfig(
        target_bandwidths=[1.2, 4.8],
        sampling_rate=24_000,
        hidden_size=16,
        num_filters=4,
        num_residual_layers=1,
        upsampling_ratios=[8, 5, 2],
        codebook_size=16,
        codebook_dim=16,
        num_lstm_layers=1,
        **more,
    )
    return EncodecModel(config)


CODECS = {"dac": dac, "mimi": mimi, "encodec": encodec}


def save_codec(name: str, directory: Path, seed: int = 0, **more) -> Path:
    """A codec in a directory. Codebooks that are no parameters are zero in a new model: here they
    lie about what its encoder makes of noise, so that many units are in use."""
    torch.manual_seed(seed)
    model = CODECS[name](**more).eval()
    with torch.no_grad():
        x_CT = getattr(found := model.encoder(torch.randn(1, 1, 9_600) / 10), "latents", found)[0]
    centre_C, spread = x_CT.mean(1), x_CT.std(1).mean()
    for key, buffer in model.named_buffers():
        if key.endswith((".embed", ".embed_sum")):
            buffer.copy_(spread * torch.randn_like(buffer))
            if key == "quantizer.layers.0.codebook.embed":
                buffer += centre_C
    model.save_pretrained(directory)
    return directory
