"""Which utterances form a batch: ESPnet's rules, over arrays instead of ids.

A plan is the list of all batches of a data set, in a file: 4 bytes an utterance, 8 a batch. It is
the same for every rank and epoch; ranks read the batches they come to and hold nothing else.
"""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import os
import struct
from array import array
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO

import numpy as np

from .index import Lines, cached, scan, state_of
from .position_bound import PositionBound

BATCH_TYPES = ("numel", "length", "sorted", "unsorted")
APART = 32 << 20  # bytes of shape files from which a plan is made in a process of its own
AT_ONCE = 1 << 20  # utterances whose costs are Python's integers at the same time
HEADER = struct.Struct("<24s4Q32s32s")
MAGIC = b"espnet_audiollm batches\n"
BOUND, ROW = np.dtype("<u8"), np.dtype("<u4")


@dataclass(frozen=True)
class Rules:
    """ESPnet's options of the same names."""

    batch_type: str
    batch_bins: int  # numel, length: the size at which a batch is closed, padding counted
    batch_size: int  # sorted, unsorted: utterances
    sort_in_batch: str = "descending"
    sort_batch: str = "descending"
    drop_last: bool = False
    min_batch_size: int = 1


class Plan:
    """All batches of a data set: `plan.batch(number)` is an array of rows.

    The batches are those of ESPnet's samplers over the same shape files, in their order."""

    def __init__(
        self,
        shape_files: Sequence[str | Path],
        rules: Rules,
        keep: Path,
        bound: PositionBound | None = None,
    ):
        """keep: the plan's file is `keep` with the state of all it depends on at its end.
        bound: of the LLM's positions; the shape files are then of samples and of responses."""
        check_rules(shape_files, rules)
        check_bound(shape_files, rules, bound)
        state = hashlib.sha256(repr(astuple(rules)).encode())
        for path in shape_files:
            state.update(state_of(path).encode())
        if bound:
            state.update(bound.state().encode())
        self._file = cached(
            keep.with_name(f"{keep.name}.{state.hexdigest()[:16]}"),
            f"{keep.name}.*",
            lambda out: _make(shape_files, rules, bound, out),
        )
        header = HEADER.unpack(self._pread(HEADER.size, 0))
        magic, self.num_utterances, self._len, self.smallest, self.largest, ids, digest = header
        if magic != MAGIC:
            raise ValueError(f"{self._file.name} is damaged: delete it and run again")
        self.ids, self.digest = ids.hex(), digest.hex()

    def __len__(self) -> int:
        return self._len

    def of_epoch(self, epoch: int) -> Plan:
        """The batches of an epoch: of every one the same."""
        return self

    def batch(self, number: int) -> np.ndarray:
        """(utterances of the batch,) rows of the shape files."""
        assert 0 <= number < self._len
        bounds = self._pread(2 * BOUND.itemsize, HEADER.size + BOUND.itemsize * number)
        begin, end = map(int, np.frombuffer(bounds, BOUND))
        rows = HEADER.size + BOUND.itemsize * (self._len + 1) + ROW.itemsize * begin
        return np.frombuffer(self._pread(ROW.itemsize * (end - begin), rows), ROW)

    def _pread(self, size: int, offset: int) -> bytes:
        data = os.pread(self._file.fileno(), size, offset)
        if len(data) != size:
            raise ValueError(f"{self._file.name} is damaged: delete it and run again")
        return data


def check_rules(shape_files: Sequence[str | Path], rules: Rules) -> None:
    """Errors (ValueError): rules that make no batches, shape files that are not there."""
    if rules.batch_type not in BATCH_TYPES:
        raise ValueError(
            f"--batch_type {rules.batch_type} is not supported; choose one of "
            f"{', '.join(BATCH_TYPES)}"
        )
    for option in ("sort_in_batch", "sort_batch"):
        if getattr(rules, option) not in ("ascending", "descending"):
            raise ValueError(f"--{option} {getattr(rules, option)}: choose ascending or descending")
    by_size = rules.batch_type in ("numel", "length")
    option = "batch_bins" if by_size else "batch_size"
    if getattr(rules, option) <= 0:
        raise ValueError(f"--{option} {getattr(rules, option)}: a batch cannot be empty")
    if not shape_files:
        raise ValueError("no shape files: give --train_shape_file and --valid_shape_file")
    for path in shape_files:
        if not Path(path).is_file():
            raise ValueError(f"{path} does not exist: run the stage that makes the statistics")


def check_bound(
    shape_files: Sequence[str | Path], rules: Rules, bound: PositionBound | None
) -> None:
    """ValueError: batches of another kind than those that can be bounded."""
    if bound and rules.batch_type != "numel":
        raise ValueError(
            f"--max_positions {bound.most} is for --batch_type numel, not {rules.batch_type}"
        )
    if bound and len(shape_files) != 2:
        raise ValueError(
            f"--max_positions {bound.most} needs two shape files, of samples and of responses, and "
            f"there are {len(shape_files)} (first: {shape_files[0]}): give both that stage 8 wrote"
        )


def _make(
    shape_files: Sequence[str | Path], rules: Rules, bound: PositionBound | None, out: IO[bytes]
) -> None:
    """In this process, or in one that takes its memory with it when it ends."""
    if sum(os.path.getsize(path) for path in shape_files) < APART:
        out.write(plan(shape_files, rules, bound))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as apart:
        target = f"/proc/{os.getpid()}/fd/{out.fileno()}"
        apart.submit(_plan_into, shape_files, rules, bound, target).result()


def _plan_into(
    shape_files: Sequence[str | Path], rules: Rules, bound: PositionBound | None, target: str
) -> None:
    with open(target, "r+b") as out:
        out.write(plan(shape_files, rules, bound))


# --- the rules ----------------------------------------------------------------------------------


def plan(
    shape_files: Sequence[str | Path], rules: Rules, bound: PositionBound | None = None
) -> bytes:
    """The contents of a plan's file."""
    shapes = [read_shapes(path) for path in shape_files]
    for path, shape in zip(shape_files[1:], shapes[1:], strict=True):
        if shape.ids != shapes[0].ids:
            raise ValueError(
                f"{shape_files[0]} and {path} do not hold the same ids "
                f"({len(shapes[0].lengths)} and {len(shape.lengths)}): make the statistics again"
            )
    limit = None
    if bound:
        positions_N = bound.positions(*(shape.lengths for shape in shapes))
        bound.check(positions_N, shape_files[0], rules.min_batch_size)
        limit = Limit(positions_N, bound.most)
    rows, sizes = arrange(shapes, rules, limit)
    rows = rows.astype(ROW)
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(BOUND)
    digest = hashlib.blake2b(bounds.data, digest_size=32)
    digest.update(rows.data)
    header = HEADER.pack(
        MAGIC,
        len(shapes[0].lengths),
        len(sizes),
        sizes.min(),
        sizes.max(),
        shapes[0].ids,
        digest.digest(),
    )
    return b"".join((header, bounds.data, rows.data))


def arrange(
    shapes: list[Shapes], rules: Rules, limit: Limit | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows in the order of their batches, and the batches' sizes."""
    if rules.batch_type in ("numel", "length"):
        return _by_size(shapes, rules, limit)
    return _by_number(shapes, rules)


@dataclass(frozen=True)
class Limit:
    """What each row costs beside its size, and what a batch may cost."""

    costs: np.ndarray  # (N,) integers
    most: int


@dataclass(frozen=True)
class Shapes:
    """The lengths that batches are made by."""

    lengths: np.ndarray  # (N,) int32
    width: int  # elements of a frame ("412,80": 80)
    ids: bytes  # hash


def read_shapes(path: str | Path) -> Shapes:
    """A shape file, "id 16000" or "id 412,80"; every frame has one width."""
    ids, lengths, width = hashlib.blake2b(digest_size=32), [], None
    for lines in scan(path):
        ids.update(lines.ids())
        numbers = _numbers(path, lines)
        lengths.append(numbers[:, 0].astype(np.int32))
        widths = numbers[:, 1:].prod(axis=1)
        width = int(widths[0]) if width is None else width
        if (widths != width).any():
            raise ValueError(
                f"{path}: {lines.id(int(np.argmax(widths != width)))} has frames of "
                f"another width than the others ({width})"
            )
    if width is None:
        raise ValueError(f"{path} is empty: run the stage that makes the statistics again")
    return Shapes(np.concatenate(lengths), width, ids.digest())


def _numbers(path: str | Path, lines: Lines) -> np.ndarray:
    """(lines, numbers of a line) int64."""
    try:
        numbers = list(map(int, lines.values().replace(b",", b" ").split()))
        found = np.array(numbers, np.int64).reshape(len(lines.begins), -1)
    except ValueError as error:
        raise ValueError(
            f"{path}: after {lines.id(0)}: lines are not all an id and its length ({error}); "
            "make the statistics again"
        ) from error
    if not found.shape[1]:
        raise ValueError(f"{path}: {lines.id(0)} has no length; make the statistics again")
    return found


def _by_size(
    shapes: list[Shapes], rules: Rules, limit: Limit | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """ESPnet's NumElementsBatchSampler and LengthBatchSampler: rows, and the batches' sizes. With
    a limit a batch is closed before it would exceed that, too."""
    rows = np.argsort(shapes[0].lengths, kind="stable")
    closed, count, spent = array("q"), 0, 0  # batches; of the next one: rows, and of the limit
    most = limit.most if limit else 0
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        costs = np.zeros(len(some), np.int64)
        for shape in shapes:
            width = shape.width if rules.batch_type == "numel" else 1
            costs += shape.lengths[some].astype(np.int64) * width
        limited = limit.costs[some].tolist() if limit else itertools.repeat(0)
        for cost, of_limit in zip(costs.tolist(), limited, strict=False):
            if spent + of_limit > most and count:
                closed.append(count)
                count = spent = 0
            count, spent = count + 1, spent + of_limit
            if count * cost > rules.batch_bins and count >= rules.min_batch_size:
                closed.append(count)
                count = spent = 0
    if count and (not rules.drop_last or not closed):
        closed.append(count)
    if len(closed) > 1 and closed[-1] < rules.min_batch_size:
        (_borrow if limit else _spread)(closed, rules.min_batch_size)
    sizes = np.frombuffer(closed, np.int64)
    rows = rows[: sizes.sum()]
    if rules.sort_batch == "descending":
        rows, sizes = rows[::-1], sizes[::-1]
    if rules.sort_in_batch != rules.sort_batch:
        rows = rows[_mirror(sizes)]
    return rows, sizes


def _spread(closed: array[int], smallest: int) -> None:
    """ESPnet's way with a last batch that is too small: its rows go to those before it."""
    for i in range(closed.pop()):
        closed[-(i % len(closed)) - 1] += 1


def _borrow(closed: array[int], smallest: int) -> None:
    """A batch that is too small takes rows from the one before it: so none exceeds a limit that
    any `smallest` rows keep."""
    for i in range(len(closed) - 1, 0, -1):
        lacking = max(smallest - closed[i], 0)
        closed[i] += lacking
        closed[i - 1] -= lacking


def _mirror(sizes: np.ndarray) -> np.ndarray:
    """Positions that turn each batch round: sizes (2, 3) give 1 0, 4 3 2."""
    ends = np.cumsum(sizes)
    return np.repeat(2 * ends - sizes - 1, sizes) - np.arange(ends[-1])


def _by_number(shapes: list[Shapes], rules: Rules) -> tuple[np.ndarray, np.ndarray]:
    """ESPnet's SortedBatchSampler and UnsortedBatchSampler."""
    lengths, size = shapes[0].lengths, rules.batch_size
    rows = np.arange(len(lengths))
    if rules.batch_type == "sorted":
        sign = -1 if rules.sort_in_batch == "descending" else 1
        rows = np.argsort(sign * lengths, kind="stable")
    batches = max(len(rows) // size, 1)
    bounds = np.arange(batches + 1) * len(rows) // batches
    if rules.drop_last:
        bounds = np.minimum(np.arange(batches + 1) * size, len(rows))
        rows = rows[: bounds[-1]]
    sizes = np.diff(bounds)
    if rules.batch_type == "sorted" and rules.sort_in_batch != rules.sort_batch:
        rows, sizes = rows[::-1], sizes[::-1]
        rows = rows[_mirror(sizes)]
    return rows, sizes
