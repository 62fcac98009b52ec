"""The frames that units are made of: recordings in, vectors out, by the name of a source."""

# B batch, N samples, T frames, C width of a frame

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..model.conformer import ConformerEncoder
from ..model.llm import fingerprint
from ..model.patches import LogMelPatches
from ..model.pretrained_encoder import PretrainedEncoder
from ..model.speech_encoder import SpeechEncoder
from ..store.model_directory import files_of
from ..types import Utterance
from ..units.quantiser import Quantiser
from ..units.sources import TRAINED, Source
from .batches import AHEAD, pad_waves

CHECKPOINT = "valid.loss.ave.pth"


@dataclass(frozen=True)
class Frames:
    """Computes the frames of recordings. Made by `load_frames`."""

    source: Source  # its layer is known
    checkpoint: str  # "": the source has none
    encoder: str  # fingerprint of the weights; "": it has none
    frames_per_second: float
    compute: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    device: str = "cpu"

    def __call__(self, utterances: Sequence[Utterance]) -> list[torch.Tensor]:
        """(T, C) frames of each recording of a batch, at least one."""
        return self.of_waves([AHEAD.read(utt.audio) for utt in utterances])

    @torch.inference_mode()
    def of_waves(self, waves: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """(T, C) frames of each of a batch of (N,) samples at 16 kHz."""
        x_BTC, frames_B = self.compute(*pad_waves(waves, self.device))
        return [x_TC[:n] for x_TC, n in zip(x_BTC, frames_B.tolist(), strict=True)]


def load_frames(source: Source, checkpoint: str = CHECKPOINT, device: str = "cpu") -> Frames:
    """What computes the frames of a source.

    checkpoint: file in the experiment (ctc, bestrq).

    Errors (ValueError): no such experiment or model, no such layer, another kind of encoder."""
    if source.kind in TRAINED:
        return _from_experiment(source, checkpoint, device)
    if source.kind == "hf":
        try:
            encoder = PretrainedEncoder(source.directory, source.number, train=False)
        except ValueError as error:  # it names another command's options
            raise ValueError(f"{source} cannot be read: {error}") from error
        found, weights = SpeechEncoder(None, None, None, encoder), encoder.fingerprint or ""
    else:
        assert source.number is not None
        found, weights = LogMelPatches(source.number), ""
    return _frames(source, "", weights, found, device)


def load_frames_of(quantiser: Quantiser, directory: str | None, device: str = "cpu") -> Frames:
    """What computes the frames that a quantiser was learned from.

    directory: where its encoder lies now. None: where it lay then.

    Errors (ValueError): as for `load_frames`; the encoder has other weights now."""
    source = replace(quantiser.source, directory=directory or quantiser.source.directory)
    frames = load_frames(source, quantiser.checkpoint, device)
    if frames.encoder != quantiser.encoder:
        raise ValueError(
            f"the encoder {source} has other weights ({frames.encoder[:12]}) than the quantiser "
            f"was learned with ({quantiser.encoder[:12]}): give --encoder with the one of then, "
            "or learn the units again (bin/learn_units)"
        )
    return frames


def choose(utterances: Iterable[Utterance], share: float, seed: int) -> list[Utterance]:
    """About this share of the utterances, the same for the same ids and seed."""
    chosen = [utt for utt in utterances if random.Random(f"{seed} {utt.id}").random() < share]
    if not chosen:
        raise ValueError("no utterance was chosen to learn units from: give more (--max_hours)")
    return chosen


def stacked(frames: Iterable[torch.Tensor]) -> np.ndarray:
    """(N, C) float32 of all recordings' frames."""
    return torch.cat([x_TC.float().cpu() for x_TC in frames]).numpy()


def _from_experiment(source: Source, checkpoint: str, device: str) -> Frames:
    from ..tasks.bestrq import BestRQTask
    from ..tasks.ctc import CTCTask
    from ..train.loading import load_weights, read_config

    config = read_config(source.directory)
    task, option = (CTCTask, "token_list") if source.kind == "ctc" else (BestRQTask, "mask_conf")
    if option not in config:
        raise ValueError(
            f"{source.directory} is no experiment of {source.kind}_train (its config.yaml has no "
            f"{option}): name its units by how it was trained, ctc:EXP or bestrq:EXP"
        )
    model = task.build_model(config)
    load_weights(model, files_of(source.directory, checkpoint)[1])
    speech_encoder = model.speech_encoder
    encoder = speech_encoder.encoder
    if not isinstance(encoder, ConformerEncoder) or speech_encoder.frames_per_second is None:
        raise ValueError(
            f"the encoder of {source.directory} is a {type(encoder).__name__}, and {source.kind}: "
            "reads the layers of our conformer: train one (stage 5), or give hf:DIR:LAYER"
        )
    layer = source.number or (len(encoder.layers) + 1) // 2
    if layer > len(encoder.layers):
        raise ValueError(f"{source}: {source.directory} has layers 1 to {len(encoder.layers)}")
    encoder.layers = encoder.layers[:layer]
    weights = fingerprint(speech_encoder)
    return _frames(replace(source, number=layer), checkpoint, weights, speech_encoder, device)


def _frames(
    source: Source,
    checkpoint: str,
    weights: str,
    module: SpeechEncoder | LogMelPatches,
    device: str,
) -> Frames:
    rate = module.frames_per_second
    assert rate is not None
    return Frames(source, checkpoint, weights, rate, module.eval().to(device), device)
