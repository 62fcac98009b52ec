"""Worker of bench_peers.py: Ultravox's model, built from a random configuration.

Run by a Python whose environment has what Ultravox needs, with its checkout on PYTHONPATH."""

from __future__ import annotations

import torch
import transformers
from peer_lines import fill, serve
from ultravox.model.ultravox_config import LossConfig, LossFunction, UltravoxConfig
from ultravox.model.ultravox_model import UltravoxModel

HOP = 160  # samples of a mel frame
PER_TOKEN = 16  # mel frames of an LLM position: 2 in the encoder's convolution, 8 stacked
IGNORED = -100


def build(setting: dict) -> tuple:
    model = make_model(setting)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6)

    def prepare(batch: dict):
        tensors = make_tensors(batch, setting)

        def learn() -> dict:
            loss = model(**tensors).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            return counts(tensors, batch, float(loss.detach()))

        return learn

    facts = {
        "encoder": sum(p.numel() for p in model.audio_tower.parameters()),
        "trained": sum(p.numel() for p in trained),
        "attention": model.language_model.config._attn_implementation,
    }
    return prepare, facts


def make_model(setting: dict) -> UltravoxModel:
    audio = transformers.WhisperConfig(
        d_model=setting["width"],
        encoder_layers=setting["layers"],
        encoder_attention_heads=setting["heads"],
        encoder_ffn_dim=4 * setting["width"],
        num_mel_bins=80,
    )
    audio._name_or_path = "whisper"  # by which the model chooses its encoder
    text = transformers.LlamaConfig(**setting["llm"], attn_implementation="sdpa")
    config = UltravoxConfig(audio, text, torch_dtype=torch.float32, projector_ln_mid=True)
    model = UltravoxModel(config)
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.is_meta:
                setattr(module, name, materialised(name, weight))
    model.tie_weights()
    if setting["trained_encoder"]:
        model.audio_tower.requires_grad_(True)
        model.audio_tower.embed_positions.requires_grad_(False)
    function = {"cross-entropy": LossFunction.CrossEntropy, "KL": LossFunction.KL_Divergence}
    model.set_loss_config(LossConfig(loss_function=function[setting["objective"]]))
    model.language_model.config.use_cache = False
    return model.train()


def materialised(name: str, weight: torch.nn.Parameter) -> torch.nn.Parameter:
    """Random numbers where the model has only a shape; norms begin at 1, biases at 0."""
    values = torch.randn(weight.shape) * 0.02
    if weight.dim() == 1:
        values = torch.full(weight.shape, 0.0 if name == "bias" else 1.0)
    return torch.nn.Parameter(values, requires_grad=weight.requires_grad)


def make_tensors(batch: dict, setting: dict) -> dict:
    """As the project's collator makes them: padded on the right, mel frames to the longest."""
    frames = [-(-round(16_000 * s) // HOP) for s in batch["seconds"]]
    tokens = [-(-n // PER_TOKEN) for n in frames]
    prefix, suffix = setting["prefix"], setting["suffix"]
    prompts = [prefix + n + suffix for n in tokens]
    rows = len(frames)
    tensors = text_tensors(prompts, batch["responses"], setting)
    tensors |= {
        "audio_values": torch.randn(rows, 80, max(frames)) * 0.1,
        "audio_lens": torch.tensor(frames),
        "audio_token_len": torch.tensor(tokens),
        "audio_token_start_idx": torch.full((rows,), prefix),
        "audio_batch_size": torch.ones(rows, 1, dtype=torch.long),
    }
    if setting["objective"] == "KL":
        read = [prefix + n + suffix for n in batch["transcripts"]]
        teacher = text_tensors(read, batch["responses"], setting)
        tensors |= {f"alt_{name}": value for name, value in teacher.items()}
    return tensors


def text_tensors(prompts: list[int], responses: list[int], setting: dict) -> dict:
    lengths = [p + r for p, r in zip(prompts, responses, strict=True)]
    ids = fill(len(lengths), lengths, setting["llm"]["vocab_size"])
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for row, (begin, end) in enumerate(zip(prompts, lengths, strict=True)):
        mask[row, :end] = 1
        labels[row, begin:end] = ids[row, begin:end]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def counts(tensors: dict, batch: dict, loss: float) -> dict:
    """Positions that the LLM computes, the teacher's included; each has logits."""
    read = [value.numel() for name, value in tensors.items() if name.endswith("input_ids")]
    answers = sum(batch["responses"])
    return {"positions": sum(read), "logits": sum(read), "responses": answers, "loss": loss}


if __name__ == "__main__":
    serve(build)
