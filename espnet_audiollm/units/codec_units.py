"""A quantiser that is a codec: it holds what the codec is, and no centroids.

`load_quantiser` reads quantisers of any kind.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .quantiser import NEXT, Quantiser, facts_of, read_quantiser, save
from .sources import Source


@dataclass(frozen=True)
class CodecUnits:
    """Units of the first codebooks of a residual codec."""

    source: Source
    encoder: str  # fingerprint of the codec's weights
    frames_per_second: float
    size: int  # of each codebook
    levels: int  # codebooks
    learned: str = ""  # for people

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over what decides the units; not over where the codec lies."""
        facts = json.dumps([self.source.kind, self.encoder, self.levels])
        return hashlib.sha256(facts.encode()).hexdigest()

    def save(self, directory: str | Path) -> None:
        """Write the directory. Errors (ValueError): another quantiser is there already."""
        save(directory, facts_of(self))


def load_quantiser(directory: str | Path) -> Quantiser | CodecUnits:
    """The quantiser in a directory. Errors (ValueError): none, or a damaged one."""
    facts = read_quantiser(directory)
    source = Source.parse(facts.source)
    if source.kind != "codec":
        return Quantiser.load(directory)
    rate, size, levels = facts.frames_per_second, facts.size, facts.levels
    found = CodecUnits(source, facts.encoder, rate, size, levels, facts.learned)
    if found.fingerprint != facts.fingerprint:
        raise ValueError(f"{directory} is damaged (its codec is another): {NEXT}")
    return found
