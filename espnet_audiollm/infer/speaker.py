"""Speaker embeddings of recordings, by an encoder of bin/speaker_train."""

# N samples, D width of an embedding

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ..data.audio import read_mono_16k
from ..model.llm import fingerprint
from ..model.speaker_encoder import SpeakerEncoder
from ..progress import progress
from ..store.model_directory import files_of
from ..types import SAMPLE_RATE, Seconds, Utterance
from .speak import CHECKPOINT

SHORTEST: Seconds = 0.5  # of speech that has an embedding


@dataclass(frozen=True)
class Halves:
    """Embeddings (D,) of a recording and of its halves. None: too short."""

    complete: np.ndarray | None
    first: np.ndarray | None
    rest: np.ndarray | None


@dataclass(frozen=True)
class SpeakerModel:
    """A speaker encoder, and whom it learned from. Made by `load_speaker_encoder`."""

    network: SpeakerEncoder
    speakers: tuple[str, ...]
    device: str = "cpu"

    @cached_property
    def fingerprint(self) -> str:
        """Of its weights and its batch normalisation."""
        return fingerprint(self.network, buffers=True)

    @torch.inference_mode()
    def embed(self, samples_N: np.ndarray) -> np.ndarray | None:
        """(D,) of length 1; None: shorter than SHORTEST."""
        if len(samples_N) < SHORTEST * SAMPLE_RATE:
            return None
        speech_BN = torch.from_numpy(samples_N.astype(np.float32))[None]
        return self.network(speech_BN.to(self.device))[0].cpu().numpy()

    def halves(self, samples_N: np.ndarray) -> Halves:
        """Of a recording, its first half and the rest."""
        middle = len(samples_N) // 2
        parts = (samples_N, samples_N[:middle], samples_N[middle:])
        return Halves(*map(self.embed, parts))


def load_speaker_encoder(
    exp: str | Path, checkpoint: str = CHECKPOINT, device: str = "cpu"
) -> SpeakerModel:
    """An encoder of bin/speaker_train.

    Errors (ValueError): there is none, or its weights do not fit its configuration."""
    from ..tasks.speaker import SpeakerTask
    from ..train.loading import load_weights, read_config

    config = read_config(exp)
    if "speaker_encoder_conf" not in config:
        raise ValueError(f"{exp} is no speaker encoder: train one with bin/speaker_train")
    model = SpeakerTask.build_model(config)
    load_weights(model, files_of(exp, checkpoint)[1])
    return SpeakerModel(model.encoder.eval().to(device), tuple(config.speakers), device)


def embed_recordings(
    encoder: SpeakerModel, utterances: Sequence[Utterance]
) -> dict[str, np.ndarray]:
    """{id: embedding (D,)}. ValueError: recordings that are too short."""
    found, short = {}, []
    for utt in progress(utterances, len(utterances), "embedding"):
        embedding = encoder.embed(read_mono_16k(utt.audio))
        if embedding is None:
            short.append(utt.id)
        else:
            found[utt.id] = embedding
    if short:
        raise ValueError(
            f"{len(short)} of {len(utterances)} recordings (first: {short[0]}) have less than "
            f"{SHORTEST:g} s: leave them out (utils/data/subset.py)"
        )
    return found


def embed_halves(encoder: SpeakerModel, utterances: Sequence[Utterance]) -> dict[str, Halves]:
    """{id: embeddings of the recording and of its halves}."""
    each = progress(utterances, len(utterances), "embedding")
    return {utt.id: encoder.halves(read_mono_16k(utt.audio)) for utt in each}


def cosine(one_D: np.ndarray | None, other_D: np.ndarray | None) -> float | None:
    """Of two embeddings, which have length 1; None: one of them is missing."""
    if one_D is None or other_D is None:
        return None
    return float(one_D.astype(np.float64) @ other_D)
