"""The memory of a step of stages 5 and 9, from their configurations: no data, no weights."""

# B batch, N samples, L tokens of a transcript, R response tokens, T encoder frames, V CTC's tokens

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

from ..data.prompt import AUDIO_SLOT
from ..model.adapters import ADAPTERS, Adapter, StackAdapter, TokenBridgeAdapter
from ..model.audiollm import AudioLLMESPnetModel
from ..model.conformer import ConformerEncoder
from ..model.ctc import CTCESPnetModel
from ..model.frontend import Filterbank
from ..model.llm import LLM, empty_llm
from ..model.masking import valid_mask
from ..model.normalize import UtteranceMVN
from ..model.recompute import recompute_layers
from ..model.speech_encoder import SpeechEncoder
from ..model.step_memory import StepMemory, step_memory
from ..model.targets import PAPER, Targets
from ..train import muon
from ..types import SAMPLE_RATE, Seconds

Config = Mapping[str, Any]  # of a training
FEW = 2  # layers that are counted, of the encoder and of the LLM; the others are like them
NODE = 8  # GPUs of a node, assumed
TOGETHER: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adadelta": torch.optim.Adadelta,
    "sgd": torch.optim.SGD,
}
TOP_K = 16  # tokens of a teacher's distribution, where there is one; assumed


@dataclass(frozen=True)
class BatchShape:
    """Utterances of a process, all alike: seconds and tokens of each."""

    utterances: int
    duration: Seconds
    text: int
    response: int = 0
    prompt: int = 1  # tokens around the audio


def ctc_memory(config: Config, shape: BatchShape, pieces: int, processes: int = 1) -> StepMemory:
    """Of a step of stage 5, in each process. pieces: V."""

    def step(blocks: int) -> StepMemory:
        with torch.device("meta"):
            model = CTCESPnetModel(_speech_encoder(config, blocks), [""] * pieces)
        return _step(model, _batch(shape, ("text",)), config, processes)

    few = step(FEW)
    blocks = _blocks(config) - FEW
    return _with_more(few, (step(FEW + 1), blocks))


def align_memory(
    config: Config, llm: PretrainedConfig, shape: BatchShape, pieces: int, processes: int = 1
) -> StepMemory:
    """Of a step of stage 9, in each process; an adapter whose positions depend on what is said has
    as many as it can have.

    llm: the shape of the LLM, which is in bfloat16. pieces: V, where there is a CTC layer."""

    def step(blocks: int, layers: int) -> StepMemory:
        model, names = _align_model(config, llm, blocks, layers, shape.prompt, pieces)
        return _step(model, _batch(shape, names), config, processes)

    few = step(FEW, FEW)
    blocks, layers = _blocks(config) - FEW, llm.num_hidden_layers - FEW
    return _with_more(few, (step(FEW + 1, FEW), blocks), (step(FEW, FEW + 1), layers))


def _blocks(config: Config) -> int:
    return config["encoder_conf"].get("num_blocks", 18)


def _with_more(few: StepMemory, *more: tuple[StepMemory, int]) -> StepMemory:
    """Layers are alike: what one more takes, the others take as well.

    more: a step with one more layer, and how many more there are (negative: fewer)."""
    peaks = {}
    for part, sizes in few.peaks.items():
        grown = dict(sizes)
        for one_more, times in more:
            larger = one_more.peaks[part]
            for name in sizes | larger:
                each = larger.get(name, 0) - sizes.get(name, 0)
                grown[name] = grown.get(name, 0) + times * each
        peaks[part] = grown
    trained = few.trained + sum(n * (step.trained - few.trained) for step, n in more)
    return replace(few, peaks=peaks, trained=trained)


def _align_model(
    config: Config, llm: PretrainedConfig, blocks: int, layers: int, prompt: int, pieces: int
) -> tuple[AudioLLMESPnetModel, list[str]]:
    """With so many layers, and the names of its data."""
    shorter = type(llm)(**{**llm.to_dict(), "num_hidden_layers": layers})
    shorter._attn_implementation = "sdpa"
    empty = empty_llm(shorter, torch.bfloat16)
    if config.get("llm_activation_checkpointing"):
        recompute_layers(empty)
    terms = ("response", "distribution", "hidden")
    targets = Targets(*(config.get(f"{term}_weight", getattr(PAPER, term)) for term in terms))
    ctc_weight = config.get("ctc_weight", 0.0)
    with torch.device("meta"):
        encoder = _speech_encoder(config, blocks)
        model = AudioLLMESPnetModel(
            encoder,
            _adapter(config, encoder.output_size(), empty.config.hidden_size, pieces),
            LLM(empty, None, "", "", "", (0,)),
            [AUDIO_SLOT] + [0] * prompt,  # none of it read once: the more of the two
            config.get("packed", True),
            targets,
            pieces if ctc_weight else 0,
            ctc_weight,
        )
    return model, ["response", *targets.tables] + ["text"] * bool(ctc_weight)


def _speech_encoder(config: Config, blocks: int) -> SpeechEncoder:
    encoder = ConformerEncoder(80, **{**config["encoder_conf"], "num_blocks": blocks})
    return SpeechEncoder(Filterbank(), None, UtteranceMVN(), encoder)


def _adapter(config: Config, width: int, llm_width: int, pieces: int) -> Adapter:
    """That of a configuration, or one that has at least as many positions."""
    name, conf = config.get("audio_adapter", "stack"), config.get("audio_adapter_conf", {})
    if name == "ctc_compress":
        return StackAdapter(width, llm_width, stack=1)
    if name != "token_bridge":
        return ADAPTERS[name](width, llm_width, **conf)
    adapter = TokenBridgeAdapter(width, llm_width, pieces, **conf)
    adapter.__dict__["_best"] = _never_the_same
    return adapter


def _never_the_same(
    logits_BTV: torch.Tensor, tokens_BTV: torch.Tensor, lengths_B: torch.Tensor
) -> torch.Tensor:
    """A best path (B, T) in which each frame is a run: as many positions as there can be."""
    frames = logits_BTV.shape[1]
    return (1 + torch.arange(frames) % 2) * valid_mask(lengths_B, frames)


def _batch(shape: BatchShape, names: Sequence[str]) -> dict[str, Any]:
    """What the model is given, tensors on the meta device."""
    count, samples = shape.utterances, round(shape.duration * SAMPLE_RATE)
    lengths = {"response": shape.response, "text": shape.text, "text_prompt": shape.text}
    batch = {"speech": _floats(count, samples), "speech_lengths": [samples] * count}
    for name in names:
        if name == "teacher":
            batch |= {
                "teacher_ids": _ids(count, shape.response, TOP_K),
                "teacher_ids_lengths": [shape.response] * count,
                "teacher_logp": _floats(count, shape.response, TOP_K + 1),
                "teacher_logp_lengths": [shape.response] * count,
            }
            continue
        rows = [[0] * shape.text] * count if name == "text_prompt" else None  # stays on the host
        batch[name] = rows or _ids(count, lengths[name])
        batch[f"{name}_lengths"] = [lengths[name]] * count
    return batch


def _ids(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.int64, device="meta")


def _floats(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


def _step(
    model: AudioLLMESPnetModel | CTCESPnetModel,
    batch: Mapping[str, Any],
    config: Config,
    processes: int,
) -> StepMemory:
    return step_memory(
        model,
        batch,
        lambda copy: _optimizer(config, copy),
        amp=config.get("use_amp", False),
        accumulated=config.get("accum_grad", 1) > 1,
        distributed=processes > 1,
        shards=shards_of(config, processes),
    )


def shards_of(config: Config, processes: int) -> int:
    """Processes that share out the LLM's layers."""
    sharding = config.get("llm_sharding", "none")
    return {"none": 1, "node": min(NODE, processes), "all": processes}[sharding]


def _optimizer(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    """As on a GPU, where all weights are moved together. Errors (ValueError): one that is not
    known."""
    name, conf = config.get("optim", "adadelta"), config.get("optim_conf", {})
    if name == "muon":
        return muon.Muon(muon.groups(model.named_parameters(), muon.MATRICES), **conf)
    if name not in TOGETHER:
        known = ", ".join([*TOGETHER, "muon"])
        raise ValueError(f"optim: {name}: its memory is not counted; that of {known} is")
    trained = [p for p in model.parameters() if p.requires_grad]
    return TOGETHER[name](trained, **{"foreach": True, **conf})
