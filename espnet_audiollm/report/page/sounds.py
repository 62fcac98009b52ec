"""Recordings of the listed utterances, small enough to travel in the page."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from ..embed import audio_uri

MEGABYTE = 1_000_000


def encode(
    ids: Iterable[str],
    recordings: Mapping[str, Sequence[str]],
    read: Callable[[str], np.ndarray],
    limit: float,
) -> dict[str, str]:
    """{id: data URI} of MP3, in the order of `ids`, until `limit` megabytes of page are used.

    recordings: paths by id; those of a dialogue follow each other.

    read: 16 kHz mono samples of a recording; ValueError where it cannot. Such a one is left out,
    and said on stderr: the numbers of a report do not need it."""
    sounds: dict[str, str] = {}
    left, faults = limit * MEGABYTE, []
    for id in ids:
        try:
            sound = audio_uri(np.concatenate([*map(read, recordings[id])]), "mp3")
        except (KeyError, ValueError) as error:
            faults.append(f"{id}: {error}")
            continue
        left -= len(sound)
        if left < 0:
            break
        sounds[id] = sound
    if faults:
        print(
            f"warning: {len(faults)} recordings are left out of the report (first: {faults[0]})",
            file=sys.stderr,
        )
    return sounds
