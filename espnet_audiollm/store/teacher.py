"""What stage 7 keeps of the teacher, the LLM that reads the text, beside its responses.

    responses/teacher/
        prompt_ids    "id 1 5 6": the token ids of the complete text prompt, as it was asked
        top_k         "id OFFSET TOKENS K": where the distributions of a response begin, in bytes
        top_k.bin     for each response: (TOKENS, K) int32 token ids, the most probable first, then
                      (TOKENS, K + 1) float16 log-probabilities, the last one of all other tokens
        inputs.json   what these were made from, written last (store/parts.py)

6 K + 2 bytes a response token: of 10.8 million responses of 60 tokens, K = 1 takes 5 GB, 16 take
64 GB, 64 take 250 GB; 4/3 of that besides until the jobs' shards are merged. Prompts: 3 GB, at 50
tokens each. Another K does these files anew, and no response.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from . import responses
from .atomic import atomic_write
from .parts import Parts
from .shards import Record
from .tables import Row, write_table

DIRECTORY = "teacher"
PROMPTS, INDEX, DISTRIBUTIONS = "prompt_ids", "top_k", "top_k.bin"
FIELDS = ("id", "prompt_ids", "tokens", "top_k")
IDS, LOGP = np.dtype("<i4"), np.dtype("<f2")


def open_parts(store: str | Path, top_k: int) -> Parts:
    """The teacher's files of a response store. top_k: 0 keeps no distributions.

    Errors (ValueError): no store, a damaged store.json."""
    settings = responses.read_settings(store)
    files = (PROMPTS, INDEX, DISTRIBUTIONS) if top_k else (PROMPTS,)
    return Parts(
        Path(store) / DIRECTORY,
        {**asdict(settings), "top_k": top_k},
        settings.num_prompts,
        FIELDS,
        responses.STAGE,
        files,
        settings.shard_size,
    )


def to_record(
    id_: str,
    prompt_ids: list[int],
    ids_RK: np.ndarray | None = None,
    logp_RK1: np.ndarray | None = None,
) -> Record:
    """A line of a shard; None: no distributions."""
    packed, tokens = b"", 0
    if ids_RK is not None and logp_RK1 is not None:
        tokens = len(ids_RK)
        packed = ids_RK.astype(IDS).tobytes() + logp_RK1.astype(LOGP).tobytes()
    top_k = base64.b64encode(packed).decode()
    return {"id": id_, "prompt_ids": prompt_ids, "tokens": tokens, "top_k": top_k}


def merge(parts: Parts, num_jobs: int = 1) -> None:
    """Write the files from the jobs' shards, unless they are there.

    Errors (ValueError): missing shards (and whose they are), damaged ones."""
    if not parts.whole:
        parts.shards.check_whole(num_jobs)
        rows = ((r["id"], " ".join(map(str, r["prompt_ids"]))) for r in parts.shards.records())
        write_table(parts.output / PROMPTS, rows, presorted=True)
        if parts.inputs["top_k"]:
            _write_distributions(parts)
        else:
            for name in (INDEX, DISTRIBUTIONS):  # of another run
                (parts.output / name).unlink(missing_ok=True)
    parts.finish()


def _write_distributions(parts: Parts) -> None:
    with atomic_write(parts.output / DISTRIBUTIONS, "wb") as out:

        def rows() -> Iterator[Row]:
            offset = 0
            for record in parts.shards.records():
                packed, tokens = base64.b64decode(record["top_k"]), record["tokens"]
                out.write(packed)
                yield record["id"], f"{offset} {tokens} {_num_kept(len(packed), tokens)}"
                offset += len(packed)

        write_table(parts.output / INDEX, rows(), presorted=True)


def _num_kept(size: int, tokens: int) -> int:
    """K, which may be less than was asked of a small vocabulary."""
    return (size // tokens - LOGP.itemsize) // (IDS.itemsize + LOGP.itemsize)


class TopK:
    """Reads the distributions that the values of the table `top_k` point to, each by itself.

    table: its path; the distributions lie beside it. Processes that read share nothing.

    Errors (ValueError): no such file."""

    def __init__(self, table: str | Path):
        self.path = Path(table).parent / DISTRIBUTIONS
        self._open()

    def _open(self) -> None:
        try:
            self._file = open(self.path, "rb", buffering=0)
        except FileNotFoundError:
            raise ValueError(f"{self.path} does not exist: rerun stage 7") from None

    def __call__(self, value: str) -> dict[str, np.ndarray]:
        """ids: (R, K), the most probable tokens; logp: (R, K + 1), the last one of all others.

        Errors (ValueError): a value that is no place, or a file that ends before it."""
        try:
            offset, tokens, kept = map(int, value.split())
        except ValueError:
            raise ValueError(f"'{value}' is not OFFSET TOKENS K; rerun stage 7") from None
        ids, logp = tokens * kept * IDS.itemsize, tokens * (kept + 1) * LOGP.itemsize
        data = os.pread(self._file.fileno(), ids + logp, offset)
        if len(data) != ids + logp:
            raise ValueError(f"{self.path} was cut short: delete it and rerun stage 7")
        return {
            "ids": np.frombuffer(data[:ids], IDS).reshape(tokens, kept),
            "logp": np.frombuffer(data[ids:], LOGP).reshape(tokens, kept + 1),
        }

    def __getstate__(self) -> dict:
        return {"path": self.path}

    def __setstate__(self, state: dict) -> None:
        self.path = state["path"]
        self._open()
