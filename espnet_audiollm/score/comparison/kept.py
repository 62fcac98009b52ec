"""What scoring keeps of each utterance beside results.json, so that experiments can be compared.

    utterances.<test set>.npz    no pickled objects:
    ids         utterance ids in UTF-8, a line each, as bytes
    tokens_N    response tokens
    digests_N   CRC-32 of the response's token ids: two stores that differ are found out
    nats_SN     of each system of results.json, in its order
    right_SN    1 success, 0 none, -1 not judged
    errors_SN   word errors of the prompt, -1 where it is not a transcript
    words_N     reference words; 0 where there is no transcript

N utterances, S systems
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...store.atomic import atomic_write
from ..results import Results, Row, nats_of


@dataclass(frozen=True)
class Kept:
    """Numbers of every utterance of a test set, for later comparisons.

    N utterances, S systems. digests_N: CRC-32 of the reference response's token ids. right_SN: 1,
    0, or -1 where nothing was judged. errors_SN: word errors, -1 where nothing was recognised."""

    ids: tuple[str, ...]
    tokens_N: np.ndarray
    digests_N: np.ndarray
    nats_SN: np.ndarray
    right_SN: np.ndarray
    errors_SN: np.ndarray
    words_N: np.ndarray


def keep(results: Results) -> Kept:
    """What later comparisons need of a test set's results."""
    references, rows = results.test_set.references, results.rows
    ids = references.ids
    counted = next((row.errors_of for row in rows if row.errors_of is not None), {})
    words = (counted[id].reference_words if id in counted else 0 for id in ids)
    digests = (zlib.crc32(_tokens(references.token_ids[id])) for id in ids)
    return Kept(
        ids,
        references.tokens_N.astype(np.int32),
        np.fromiter(digests, dtype=np.uint32),
        np.array([nats_of(row.run, ids) for row in rows]),
        np.array([_right(row, ids) for row in rows], dtype=np.int8),
        np.array([_errors(row, ids) for row in rows], dtype=np.int32),
        np.fromiter(words, dtype=np.int32),
    )


def _tokens(ids_T: np.ndarray) -> bytes:
    """The same bytes on every machine."""
    return np.ascontiguousarray(ids_T, dtype="<i4").tobytes()


def _right(row: Row, ids: tuple[str, ...]) -> list[int]:
    return [-1] * len(ids) if row.verdicts is None else [int(row.verdicts[id]) for id in ids]


def _errors(row: Row, ids: tuple[str, ...]) -> list[int]:
    if row.errors_of is None:
        return [-1] * len(ids)
    return [row.errors_of[id].errors if id in row.errors_of else 0 for id in ids]


def write(path: Path, kept: Kept) -> None:
    """Write the numbers to a .npz without pickled objects."""
    arrays = dict(vars(kept))
    arrays["ids"] = np.frombuffer("\n".join(kept.ids).encode(), dtype=np.uint8)
    with atomic_write(path, "wb") as out:
        np.savez_compressed(out, **arrays)


def read(path: Path, systems: int) -> Kept:
    """ValueError for a missing or damaged file, or one that is not of so many systems."""
    if not path.is_file():
        raise ValueError(f"{path}: missing; copy it beside its results.json, or rerun stage 11")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in Kept.__annotations__}
        found["ids"] = tuple(found["ids"].tobytes().decode().split("\n"))
        kept = Kept(**found)
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error):
        raise ValueError(f"{path}: damaged; rerun stage 11") from None
    n = len(kept.ids)
    one = kept.tokens_N, kept.digests_N, kept.words_N
    many = kept.nats_SN, kept.right_SN, kept.errors_SN
    if any(x.shape != (n,) for x in one) or any(x.shape != (systems, n) for x in many):
        raise ValueError(
            f"{path}: its arrays are not of {systems} systems and {n} utterances, so it is not "
            "the one that was written with its results.json; rerun stage 11"
        )
    return kept
