"""The memory of a configuration's step: of few layers, as all of them take."""

import pytest
from transformers import LlamaConfig

from espnet_audiollm.model import step_memory as parts
from espnet_audiollm.tasks import memory
from espnet_audiollm.tasks.memory import BatchShape, align_memory, ctc_memory

CONFIG = {
    "encoder_conf": {"output_size": 16, "attention_heads": 2, "linear_units": 64, "num_blocks": 5},
    "optim": "adam",
    "use_amp": True,
    "accum_grad": 2,
}
SHAPE = BatchShape(utterances=3, duration=1.5, text=6, response=90, prompt=4)


def llm(layers=4) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
    )


@pytest.mark.parametrize(
    "change",
    [
        {"llm_activation_checkpointing": True, "optim": "adamw"},
        {"audio_adapter": "token_bridge", "ctc_weight": 0.5, "distribution_weight": 1.0},
    ],
)
def test_other_layers_are_like_the_first(monkeypatch, change):
    found = align_memory({**CONFIG, **change}, llm(layers=5), SHAPE, pieces=9)
    monkeypatch.setattr(memory, "FEW", 5)  # all of them
    monkeypatch.setattr(memory, "_with_more", lambda all_layers, *more: all_layers)
    full = align_memory({**CONFIG, **change}, llm(layers=5), SHAPE, pieces=9)
    assert found.trained == full.trained
    for part in (parts.LAYERS, parts.BACKWARD, parts.UPDATE, parts.BACK_IN_ENCODER):
        size, expected = (sum(each.peaks[part].values()) for each in (found, full))
        assert size == pytest.approx(expected, rel=0.01), part


def test_ctc_with_muon():
    """Each layer takes as much: its weights, and of the matrices one momentum in place of two."""
    conf = CONFIG["encoder_conf"]
    few, more = (
        ctc_memory({**CONFIG, "encoder_conf": {**conf, "num_blocks": n}, "optim": "muon"}, SHAPE, 9)
        for n in (3, 6)
    )
    few_, more_ = (each.peaks[parts.UPDATE] for each in (few, more))
    weights = 4 * (more.trained - few.trained)
    assert more_[parts.TRAINED] - few_[parts.TRAINED] == weights
    assert weights < more_[parts.OPTIMIZER] - few_[parts.OPTIMIZER] < 1.2 * weights


def test_what_options_change():
    plain, shared = (
        align_memory({**CONFIG, **change}, llm(), SHAPE, pieces=9, processes=4)
        for change in ({}, {"llm_sharding": "all"})
    )
    of_weights = [each.peaks[parts.BACKWARD][parts.FROZEN] for each in (plain, shared)]
    layer = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64 + 2 * 32)  # bytes
    assert of_weights[0] - of_weights[1] == 4 * layer - (layer + 2 * layer)
    assert plain.peaks[parts.BACKWARD][parts.HELD] == 2 * 4 * plain.trained


def test_an_adapter_that_drops_frames_has_all_of_them():
    """1.5 s are 148 frames of 10 ms, 19 of 80; four tokens of prompt and 89 of 90 are read."""
    for adapter in ("ctc_compress", "token_bridge"):
        found = align_memory({**CONFIG, "audio_adapter": adapter}, llm(), SHAPE, pieces=9)
        assert found.positions == 3 * (19 + 4 + 89)
