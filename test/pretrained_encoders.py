"""Tiny pretrained encoders of random weights, saved as Hugging Face directories."""

from pathlib import Path

import torch
from transformers import (
    HubertConfig,
    HubertModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

SIZES = dict(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24)
NO_DROPOUT = dict(hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0)
CONVOLUTIONS = dict(
    **SIZES,
    **NO_DROPOUT,
    feat_proj_dropout=0.0,
    conv_dim=(8,) * 7,
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=2,
)
LAYER = dict(feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True)


def whisper(seconds: int = 2):
    config = WhisperConfig(
        d_model=16,
        encoder_layers=3,
        encoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=24,
        vocab_size=20,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        max_source_positions=50 * seconds,
        max_target_positions=4,
        dropout=0.0,
    )
    return WhisperForConditionalGeneration(config), WhisperFeatureExtractor(chunk_length=seconds)


def hubert(**options):
    return HubertModel(HubertConfig(**CONVOLUTIONS, **options)), Wav2Vec2FeatureExtractor()


def wav2vec2(**options):
    return Wav2Vec2Model(Wav2Vec2Config(**CONVOLUTIONS, **options)), Wav2Vec2FeatureExtractor()


def w2vbert():
    config = Wav2Vec2BertConfig(**SIZES, **NO_DROPOUT, conformer_conv_dropout=0.0)
    return Wav2Vec2BertModel(config), SeamlessM4TFeatureExtractor(padding_value=1)


# "base" models normalise over time (group), "large" ones each frame (layer).
ENCODERS = {
    "whisper": whisper,
    "hubert": hubert,
    "hubert_large": lambda: hubert(**LAYER),
    "wav2vec2": wav2vec2,
    "wav2vec2_large": lambda: wav2vec2(**LAYER),
    "w2vbert": w2vbert,
}


def save_encoder(name: str, directory: Path) -> Path:
    """A random encoder of ENCODERS as a directory."""
    torch.manual_seed(0)
    model, extractor = ENCODERS[name]()
    for weight in model.parameters():  # transformers' are so small that positions say nothing
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(directory)
    extractor.save_pretrained(directory)
    return directory
