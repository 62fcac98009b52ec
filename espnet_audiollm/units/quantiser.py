"""A quantiser: frames of a named source to units, by the nearest centroid.

    quantiser.json           source, sizes, how it was learned, fingerprints
    quantiser.safetensors    centroids (K, C); mean and scale (C,) of the frames

A quantiser is the weights of the encoder too: it holds their fingerprint, and its own is over all
that decides which unit a frame becomes. Units carry it (data/unit_tables.py), and a vocabulary made
for units does (data/unit_tokens.py), so that those of different quantisers are never mixed.
"""

# K centroids, C width of a frame, N frames

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ..store.atomic import atomic_write, new_directories
from ..store.json_files import read_record
from .kmeans import learn_centroids
from .sources import Source

FACTS, WEIGHTS = "quantiser.json", "quantiser.safetensors"
NEXT = "learn the units again (bin/learn_units)"
AT_ONCE = 1 << 14  # frames whose distances are held at the same time


@dataclass(frozen=True)
class QuantiserFacts:
    """What quantiser.json says."""

    source: str
    checkpoint: str
    encoder: str
    frames_per_second: float
    size: int
    fingerprint: str
    learned: str

    def __post_init__(self) -> None:
        Source.parse(self.source)
        if self.size < 1 or self.frames_per_second <= 0:
            raise ValueError(f"{self.size} units at {self.frames_per_second} a second")


@dataclass(frozen=True)
class Quantiser:
    """Centroids, and what their frames are."""

    source: Source
    checkpoint: str  # file in the experiment. "": the source has none
    encoder: str  # fingerprint of the weights that make the frames. "": no weights
    frames_per_second: float
    centroids_KC: torch.Tensor
    mean_C: torch.Tensor  # subtracted from frames
    scale_C: torch.Tensor  # frames are divided by it then
    learned: str = ""  # from what, for people

    @property
    def size(self) -> int:
        """How many units there are, K."""
        return len(self.centroids_KC)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over all that decides which unit a frame becomes; not over where files lie."""
        found = hashlib.sha256(
            json.dumps([self.source.kind, self.source.number, self.encoder]).encode()
        )
        for _, tensor in sorted(self._tensors().items()):
            found.update(f"{tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
        return found.hexdigest()

    def units(self, frames_NC: torch.Tensor) -> list[int]:
        """The units of frames: the nearest centroid of each, the first of equals.

        Errors (ValueError): frames of another width."""
        width = self.centroids_KC.shape[1]
        if frames_NC.shape[-1] != width:
            raise ValueError(
                f"frames of width {frames_NC.shape[-1]} for a quantiser of width {width}: take the "
                "encoder that its units were learned from"
            )
        device = frames_NC.device
        centroids_KC = self.centroids_KC.to(device)
        mean_C, scale_C = self.mean_C.to(device), self.scale_C.to(device)
        squares_K = centroids_KC.square().sum(1)
        found: list[int] = []
        for part_NC in frames_NC.float().split(AT_ONCE):
            scaled_NC = (part_NC - mean_C) / scale_C
            found += (squares_K - 2 * scaled_NC @ centroids_KC.T).argmin(1).tolist()
        return found

    def save(self, directory: str | Path) -> None:
        """Write the directory, all of it or nothing.

        Errors (ValueError): another quantiser is there already."""
        from safetensors.torch import save_file

        facts = QuantiserFacts(
            str(self.source),
            self.checkpoint,
            self.encoder,
            self.frames_per_second,
            self.size,
            self.fingerprint,
            self.learned,
        )
        with new_directories(directory) as (aside,):
            save_file(self._tensors(), aside / WEIGHTS)
            with atomic_write(aside / FACTS) as out:
                json.dump(asdict(facts), out, indent=2, ensure_ascii=False)
                out.write("\n")

    @classmethod
    def load(cls, directory: str | Path) -> Quantiser:
        """Read it back.

        Errors (ValueError): no quantiser there, one without weights, a damaged one."""
        facts = read_quantiser(directory)
        tensors = _read_weights(Path(directory) / WEIGHTS)
        try:
            found = cls(
                Source.parse(facts.source),
                facts.checkpoint,
                facts.encoder,
                facts.frames_per_second,
                tensors["centroids"],
                tensors["mean"],
                tensors["scale"],
                facts.learned,
            )
        except KeyError as error:
            raise ValueError(f"{directory} is damaged (no {error} in it): {NEXT}") from error
        if found.fingerprint != facts.fingerprint:
            raise ValueError(f"{directory} is damaged (its centroids are others): {NEXT}")
        return found

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {"centroids": self.centroids_KC, "mean": self.mean_C, "scale": self.scale_C}


def learn(
    frames_NC: np.ndarray, size: int, seed: int = 0, normalize: bool = False
) -> dict[str, torch.Tensor]:
    """`centroids_KC`, `mean_C` and `scale_C` of a quantiser.

    normalize: every dimension has mean 0 and variance 1 before; else the wide ones decide.

    Errors (ValueError): see `learn_centroids`."""
    frames_NC = np.asarray(frames_NC, dtype=np.float32)
    mean_C, scale_C = np.zeros_like(frames_NC[0]), np.ones_like(frames_NC[0])
    if normalize:
        mean_C, scale_C = frames_NC.mean(0), np.maximum(frames_NC.std(0), 1e-5)
        frames_NC = (frames_NC - mean_C) / scale_C
    centroids_KC = learn_centroids(frames_NC, size, seed)
    made = {"centroids_KC": centroids_KC, "mean_C": mean_C, "scale_C": scale_C}
    return {name: torch.from_numpy(np.ascontiguousarray(each)) for name, each in made.items()}


def read_quantiser(directory: str | Path) -> QuantiserFacts:
    """What quantiser.json says. Errors (ValueError): there is none, or it is damaged."""
    path = Path(directory) / FACTS
    if not path.is_file():
        raise ValueError(f"{path} does not exist: {directory} is no quantiser; {NEXT}")
    return read_record(path, QuantiserFacts, NEXT)


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ValueError(f"{path} does not exist: the quantiser has no weights; {NEXT}")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}): {NEXT}") from error
