"""The recordings of examples: an example of stage 7 may have several, one for each audio slot.

    utterances           "u!c u v": the utterances spoken in an example, in order of its slots
    recordings           "u!c ["/data/u.wav", "/data/v.wav"]": where their audio is, as in wav.scp
    recording_samples    "u!c 16000 24000": how long they are
    recording_texts      "u!c ["go left", "stop"]": their transcripts, for a CTC loss

They lie in a response store; all but the first are made of it and the data directory's tables.
A training reads an example's recordings as one array, laid end to end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..store.json_files import parse_json
from ..store.tables import Row, write_table
from . import audio
from .index import Table
from .kaldi_dir import existing, read_table

UTTERANCES, RECORDINGS, SAMPLES = "utterances", "recordings", "recording_samples"
TEXTS = "recording_texts"
SOURCES = ("wav.scp", "utt2num_samples", "text")


def write_recordings(data: str | Path, store: str | Path) -> None:
    """Write the tables of a store that follow from its `utterances`, unless they are newer than
    what they are made of. data: the directory whose utterances are spoken.

    Errors (ValueError): an utterance that the directory does not have."""
    store = Path(store)
    sources = [existing(Path(data) / name) for name in SOURCES]
    made_of = [*sources, existing(store / UTTERANCES)]
    if _is_newer([store / name for name in (RECORDINGS, SAMPLES, TEXTS)], made_of):
        return
    wavs, samples, texts = map(Table, sources)
    for name, table in ((RECORDINGS, wavs), (TEXTS, texts)):
        lists = _values(store, table)
        rows = ((id_, json.dumps(found, ensure_ascii=False)) for id_, found in lists)
        write_table(store / name, rows, presorted=True)
    numbers = ((id_, " ".join(found)) for id_, found in _values(store, samples))
    write_table(store / SAMPLES, numbers, presorted=True)


def read_joined(value: str) -> np.ndarray:
    """(N,) samples of all recordings in a line of `recordings`, end to end, 16 kHz mono.

    Errors (ValueError): no list of recordings; those of reading them."""
    return np.concatenate([audio.read_mono_16k(path) for path in read_list(value)])


def read_list(value: str) -> list[str]:
    """What a line of `recordings` or `recording_texts` has of each recording.

    Errors (ValueError): it is no list."""
    found = parse_json(value)
    if not isinstance(found, list) or not found:
        raise ValueError(f"{value[:60]!r} is no list of recordings: run stage 7 again")
    return found


def total(samples: str) -> str:
    """The sum of the numbers in a line of `recording_samples`; one number is left as it is."""
    numbers = samples.split()
    return str(sum(map(int, numbers))) if len(numbers) > 1 else samples


def _values(store: Path, table: Table) -> Iterator[tuple[str, list[str]]]:
    """(example, what `table` has of each of its utterances)."""
    for id_, utterances in read_table(store / UTTERANCES):
        yield id_, [_find(table, utterance)[1] for utterance in utterances.split()]


def _find(table: Table, utterance: str) -> Row:
    row = table.find(utterance)
    if row is None:
        raise ValueError(
            f"{table.path} does not have the utterance {utterance}, which stage 7 answered: run "
            "stage 2 again, or delete the responses and run stage 7"
        )
    return table[row]


def _is_newer(made: list[Path], made_of: list[Path]) -> bool:
    if not all(path.exists() for path in made):
        return False
    oldest = min(path.stat().st_mtime_ns for path in made)
    return all(path.stat().st_mtime_ns <= oldest for path in made_of)
