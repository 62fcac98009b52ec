"""What a noisy copy of a test set says of itself (noise.json, written by bin/add_noise)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..store.json_files import parse_json

ABOUT = "noise.json"


@dataclass(frozen=True)
class NoisyCopy:
    """What was done to the clean test set."""

    of: str  # name of the clean test set
    kind: str  # babble | white | files | room
    snr_db: float | None  # None: a room has none
    rt60: float | None = None  # s, of a room
    drr_db: float | None = None  # of a room
    directory: str | None = None  # of recordings of noise

    def __str__(self) -> str:
        """ "babble, 10 dB"."""
        if self.kind == "room":
            return f"room, {self.rt60:g} s, {self.drr_db:g} dB"
        return f"{Path(self.directory).name if self.directory else self.kind}, {self.snr_db:g} dB"


def read_noisy(directory: str | Path) -> NoisyCopy | None:
    """None: the test set is no noisy copy. ValueError for a noise.json that is none."""
    path = Path(directory) / ABOUT
    if not path.is_file():
        return None
    try:
        about = parse_json(path.read_text(encoding="utf-8"))
        optional = {name: about.get(name) for name in ("rt60", "drr_db", "directory")}
        copy = NoisyCopy(about["from"], about["kind"], about["snr_db"], **optional)
        str(copy)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path}: does not say what noise was added; rerun stage 2") from None
    return copy
