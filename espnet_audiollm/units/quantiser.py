"""A quantiser: frames of a named source to units, by the nearest centroid.

With several levels (residual k-means) the first quantises the frame, and each other one what those
before it leave of it: as many units a frame as there are levels, the coarsest first.

    quantiser.json           source, sizes, how it was learned, fingerprints
    quantiser.safetensors    centroids (K, C); mean and scale (C,) of the frames; with several
                             levels residuals (L - 1, K, C)

A quantiser is the weights of the encoder too: it holds their fingerprint, and its own is over all
that decides which unit a frame becomes. Units carry it (data/unit_tables.py), and a vocabulary made
for units does (data/unit_tokens.py), so that those of different quantisers are never mixed.
"""

# K centroids, C width of a frame, N frames, L levels, R = L - 1 levels after the first

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ..store.atomic import new_directories
from ..store.json_files import read_record, write_json
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
    levels: int = 1

    def __post_init__(self) -> None:
        Source.parse(self.source)
        if min(self.size, self.levels) < 1 or self.frames_per_second <= 0:
            raise ValueError(
                f"{self.levels} x {self.size} units at {self.frames_per_second} a second"
            )


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
    residuals_RKC: torch.Tensor | None = None  # centroids of what is left. None: one level

    @property
    def levels(self) -> int:
        """How many units a frame has, L."""
        return 1 if self.residuals_RKC is None else 1 + len(self.residuals_RKC)

    @property
    def size(self) -> int:
        """How many units a level has, K."""
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
        """The units of frames, of the first level. Errors (ValueError): see `codes`."""
        return self.codes(frames_NC)[0].tolist()

    def codes(self, frames_NC: torch.Tensor) -> torch.Tensor:
        """(L, N) units of frames: at each level the nearest centroid, the first of equals.

        Errors (ValueError): frames of another width."""
        width = self.centroids_KC.shape[1]
        if frames_NC.shape[-1] != width:
            raise ValueError(
                f"frames of width {frames_NC.shape[-1]} for a quantiser of width {width}: take the "
                "encoder that its units were learned from"
            )
        left_NC, found = self._scaled(frames_NC), []
        for centroids_KC in self._centroids(frames_NC.device):
            found.append(nearest(left_NC, centroids_KC))
            left_NC = left_NC - centroids_KC[found[-1]]
        return torch.stack(found)

    def decode(self, codes_LN: torch.Tensor) -> torch.Tensor:
        """(N, C) frames, rebuilt from units of the first levels, as many as are given."""
        pairs = zip(codes_LN, self._centroids(codes_LN.device), strict=False)
        frames_NC = torch.stack([centroids_KC[codes_N] for codes_N, centroids_KC in pairs]).sum(0)
        return frames_NC * self.scale_C.to(frames_NC.device) + self.mean_C.to(frames_NC.device)

    def error_by_level(self, frames_NC: torch.Tensor) -> list[float]:
        """The share of the frames' variance, as the quantiser scales them, that remains after
        each level. 0: nothing is lost."""
        scaled_NC, codes_LN = self._scaled(frames_NC), self.codes(frames_NC)
        total = (scaled_NC - scaled_NC.mean(0)).square().sum()
        rebuilt = [self._scaled(self.decode(codes_LN[: n + 1])) for n in range(self.levels)]
        return [float((scaled_NC - each_NC).square().sum() / total) for each_NC in rebuilt]

    def _scaled(self, frames_NC: torch.Tensor) -> torch.Tensor:
        device = frames_NC.device
        return (frames_NC.float() - self.mean_C.to(device)) / self.scale_C.to(device)

    def _centroids(self, device: torch.device) -> list[torch.Tensor]:
        more = () if self.residuals_RKC is None else tuple(self.residuals_RKC)
        return [each_KC.to(device) for each_KC in (self.centroids_KC, *more)]

    def save(self, directory: str | Path) -> None:
        """Write the directory, all of it or nothing.

        Errors (ValueError): another quantiser is there already."""
        save(directory, facts_of(self, self.checkpoint), self._tensors())

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
                tensors["residuals"] if facts.levels > 1 else None,
            )
        except KeyError as error:
            raise ValueError(f"{directory} is damaged (no {error} in it): {NEXT}") from error
        if found.fingerprint != facts.fingerprint:
            raise ValueError(f"{directory} is damaged (its centroids are others): {NEXT}")
        return found

    def _tensors(self) -> dict[str, torch.Tensor]:
        found = {"centroids": self.centroids_KC, "mean": self.mean_C, "scale": self.scale_C}
        return found if self.residuals_RKC is None else {**found, "residuals": self.residuals_RKC}


def nearest(frames_NC: torch.Tensor, centroids_KC: torch.Tensor) -> torch.Tensor:
    """(N,) the nearest centroid of each frame, the first of equals."""
    squares_K = centroids_KC.square().sum(1)
    parts = [squares_K - 2 * part_NC @ centroids_KC.T for part_NC in frames_NC.split(AT_ONCE)]
    return torch.cat([part_NK.argmin(1) for part_NK in parts])


def learn(
    frames_NC: np.ndarray, size: int, seed: int = 0, normalize: bool = False, levels: int = 1
) -> dict[str, torch.Tensor]:
    """`centroids_KC`, `mean_C`, `scale_C` of a quantiser, and `residuals_RKC` of several levels.

    normalize: every dimension has mean 0 and variance 1 before; else the wide ones decide.

    Errors (ValueError): see `learn_centroids`; less than one level."""
    if levels < 1:
        raise ValueError(f"{levels} levels: at least 1")
    frames_NC = np.asarray(frames_NC, dtype=np.float32)
    mean_C, scale_C = np.zeros_like(frames_NC[0]), np.ones_like(frames_NC[0])
    if normalize:
        mean_C, scale_C = frames_NC.mean(0), np.maximum(frames_NC.std(0), 1e-5)
        frames_NC = (frames_NC - mean_C) / scale_C
    found_LKC = []
    for level in range(levels):
        found_LKC.append(learn_centroids(frames_NC, size, seed))
        if level + 1 < levels:
            place_N = nearest(torch.from_numpy(frames_NC), torch.from_numpy(found_LKC[-1]))
            frames_NC = frames_NC - found_LKC[-1][place_N.numpy()]
    made = {"centroids_KC": found_LKC[0], "mean_C": mean_C, "scale_C": scale_C}
    if levels > 1:
        made["residuals_RKC"] = np.stack(found_LKC[1:])
    return {name: torch.from_numpy(np.ascontiguousarray(each)) for name, each in made.items()}


class MakesUnits(Protocol):
    """What a quantiser of any kind says of itself."""

    @property
    def source(self) -> Source:
        """Of its frames."""

    @property
    def encoder(self) -> str:
        """Fingerprint of the weights before it."""

    @property
    def frames_per_second(self) -> float:
        """Units of a level."""

    @property
    def learned(self) -> str:
        """From what, for people."""

    @property
    def size(self) -> int:
        """Units that a level chooses from."""

    @property
    def levels(self) -> int:
        """Units of a frame."""

    @property
    def fingerprint(self) -> str:
        """Of all that decides which units a recording becomes."""


def facts_of(quantiser: MakesUnits, checkpoint: str = "") -> QuantiserFacts:
    """What quantiser.json is to say."""
    return QuantiserFacts(
        str(quantiser.source),
        checkpoint,
        quantiser.encoder,
        quantiser.frames_per_second,
        quantiser.size,
        quantiser.fingerprint,
        quantiser.learned,
        quantiser.levels,
    )


def save(
    directory: str | Path, facts: QuantiserFacts, tensors: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Write a quantiser's directory, all of it or nothing.

    tensors: None: the source itself makes units.

    Errors (ValueError): another quantiser is there already."""
    from safetensors.torch import save_file

    with new_directories(directory) as (aside,):
        if tensors is not None:
            save_file(dict(tensors), aside / WEIGHTS)
        write_json(aside / FACTS, asdict(facts))


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
