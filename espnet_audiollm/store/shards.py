"""Results of many utterances that survive a kill, whether one job makes them or a hundred.

    .shard.NNNNN.part    the journal of a shard in progress: JSON lines of complete batches
    shard.NNNNN.jsonl    a finished shard, in order of ids; once it is there its journal goes

A shard is a window of consecutive utterances in order of ids, and batches are made within it: what
shares a batch depends neither on the number of jobs nor on where a run was killed, so neither do
the results. Finished shards one after the other are sorted: merging is reading them in turn. Job J
of N fills the shards J, J + N, J + 2N, ... (counted from 1).
"""

from __future__ import annotations

import itertools
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Generic, Protocol, TypeVar

from ..types import Seconds
from .atomic import atomic_write, remove_asides
from .json_files import parse_json


class Item(Protocol):
    """What shards are made of: an utterance with what is asked of it."""

    @property
    def id(self) -> str:
        """Unique in the set."""


T = TypeVar("T", bound=Item)
Record = dict  # what a line holds: the id, and the result

MOST_SHARDS = 64  # of a set that is not large
SMALLEST, LARGEST = 128, 4096  # utterances in a shard
PATIENCE: Seconds = 60.0  # for another process that holds a journal


def shard_size(num_items: int) -> int:
    """Utterances in a shard: enough shards for many jobs, enough utterances for even batches.

    Depends only on the number of utterances, so that the results do."""
    return min(max(-(-num_items // MOST_SHARDS), SMALLEST), LARGEST)


@dataclass(frozen=True)
class Shards:
    """The shards of one directory, made or not."""

    directory: Path
    num_items: int
    size: int
    fields: tuple[str, ...]  # of every record; "id" is one of them
    stage: int | str  # to name in messages

    def __len__(self) -> int:
        return -(-self.num_items // self.size)

    def path(self, number: int) -> Path:
        """The finished shard of this number, from 0."""
        return self.directory / f"shard.{number:05d}.jsonl"

    def num_items_of(self, number: int) -> int:
        """How many utterances this shard has; the last one may have fewer."""
        return min(self.size, self.num_items - number * self.size)

    def missing(self, job: int = 1, num_jobs: int = 1) -> list[int]:
        """The numbers of the unfinished shards of job 1 ... num_jobs."""
        return [n for n in range(job - 1, len(self), num_jobs) if not self.path(n).exists()]

    def left(self, job: int = 1, num_jobs: int = 1) -> int:
        """Utterances in the unfinished shards of a job."""
        return sum(map(self.num_items_of, self.missing(job, num_jobs)))

    def windows(self, items: Iterable[T], job: int = 1, num_jobs: int = 1) -> Iterator[Shard[T]]:
        """The unfinished shards of a job with their items. `items`: all, in order of ids; read
        once, and no further than needed.

        Errors (ValueError): `items` end too early."""
        items, at = iter(items), 0
        for number in self.missing(job, num_jobs):
            deque(itertools.islice(items, (number - at) * self.size), maxlen=0)
            at = number + 1
            window = list(itertools.islice(items, self.size))
            if len(window) != self.num_items_of(number):
                raise ValueError(
                    f"{self.path(number)} is to hold {self.num_items_of(number)} utterances, and "
                    f"{len(window)} are left of {self.num_items}: the data changed while this ran; "
                    "run the same command again"
                )
            yield Shard(self.path(number), window, self.fields)

    def check_whole(self, num_jobs: int = 1) -> None:
        """Errors (ValueError): shards are missing; which, and which of the jobs make them."""
        missing = self.missing()
        if not missing:
            return
        jobs = sorted({number % num_jobs + 1 for number in missing})
        whose = f"those of job {_listed(jobs)} of {num_jobs}; " if num_jobs > 1 else ""
        raise ValueError(
            f"{self.directory}: {len(missing)} of {len(self)} shards are missing "
            f"(first: {self.path(missing[0]).name}): {whose}rerun stage {self.stage}"
        )

    def records(self) -> Iterator[Record]:
        """All records in order of ids, streamed.

        Errors (ValueError): missing shards; a line that is no record, ids out of order, too few or
        too many lines, with the file's name."""
        self.check_whole()
        previous = ""
        for number in range(len(self)):
            path, count = self.path(number), 0
            for record in read_records(path, self.fields, self.stage):
                if record["id"] <= previous:
                    raise ValueError(self._damaged(path, f"{record['id']} comes after {previous}"))
                previous, count = record["id"], count + 1
                yield record
            if count != self.num_items_of(number):
                fault = f"it holds {count} answers to {self.num_items_of(number)} prompts"
                raise ValueError(self._damaged(path, fault))

    def sweep(self) -> None:
        """Remove what killed runs left beside shards that are all finished."""
        self.check_whole()
        for journal in self.directory.glob(".shard.*.part"):
            journal.unlink(missing_ok=True)
        remove_asides(self.directory, "shard.*.jsonl")

    def _damaged(self, path: Path, fault: str) -> str:
        return f"{path}: {fault}; delete the file and rerun stage {self.stage}"


@dataclass(frozen=True)
class Shard(Generic[T]):
    """One unfinished shard and its utterances."""

    path: Path
    items: list[T]
    fields: tuple[str, ...]

    @property
    def journal(self) -> Path:
        """The file in progress beside the shard."""
        return self.path.with_name(f".{self.path.stem}.part")

    def fill(
        self, batches: Sequence[Sequence[T]], answer: Callable[[Sequence[T]], list[Record]]
    ) -> Iterator[list[Record]]:
        """Answer what the journal lacks, a batch at a time; yield the records of each batch once
        they are written, first those that an earlier run wrote.

        batches: all items of the shard, always the same way.

        Errors (ValueError): those of `answer`, with the shard's and the utterances' names; another
        process that holds the journal; a full disk."""
        if self.path.exists():
            return  # another process was faster
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _open_journal(self.journal) as journal:
            if self.path.exists():
                self.journal.unlink(missing_ok=True)
                return
            lines, done = self._recover(journal, batches)
            if lines:
                yield [parse_json(line) for line in lines.values()]
            for batch in batches[done:]:
                records = self._answer(batch, answer)
                new = {record["id"]: to_line(record) for record in records}
                self._append(journal, "".join(new.values()))
                lines |= new
                yield records
            with atomic_write(self.path) as out:
                out.writelines(lines[id_] for id_ in sorted(lines))
            self.journal.unlink(missing_ok=True)

    def _answer(
        self, batch: Sequence[T], answer: Callable[[Sequence[T]], list[Record]]
    ) -> list[Record]:
        try:
            records = answer(batch)
        except ValueError as error:
            which = f"{batch[0].id} to {batch[-1].id}" if len(batch) > 1 else batch[0].id
            raise ValueError(f"{self.path.name}, {which}: {error}") from error
        assert [record["id"] for record in records] == [item.id for item in batch]
        return records

    def _recover(
        self, journal: IO[bytes], batches: Sequence[Sequence[T]]
    ) -> tuple[dict[str, str], int]:
        """Cut the journal after its last complete batch: its lines by id, and how many batches."""
        lines = iter(journal.read().split(b"\n")[:-1])  # what follows the last line end is half one
        kept: dict[str, str] = {}
        size = done = 0
        for batch in batches:
            found = list(itertools.islice(lines, len(batch)))
            if len(found) < len(batch):
                break
            pairs = zip(found, batch, strict=True)
            if not all(_is_record_of(line, item.id, self.fields) for line, item in pairs):
                break
            kept |= {item.id: f"{line.decode()}\n" for line, item in zip(found, batch, strict=True)}
            size, done = size + sum(len(line) + 1 for line in found), done + 1
        journal.truncate(size)
        return kept, done

    def _append(self, journal: IO[bytes], lines: str) -> None:
        left = memoryview(lines.encode())
        try:
            while left:
                left = left[journal.write(left) :]
        except OSError as error:
            raise ValueError(
                f"cannot write {self.journal} ({error.strerror}): make room and run the same "
                "command again, it goes on from there"
            ) from error


def to_line(record: Record) -> str:
    """A record as a line of JSON."""
    return json.dumps(record, ensure_ascii=False) + "\n"


def read_records(path: str | Path, fields: tuple[str, ...], stage: int | str) -> Iterator[Record]:
    """The records of one file. Errors (ValueError) name the file and the line."""
    expected = set(fields)
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                record = parse_json(line)
                fault = "" if record.keys() == expected else f"its fields are not {fields}"
                if not fault and not isinstance(record["id"], str):
                    fault = f"its id {record['id']!r} is not text"
            except (ValueError, AttributeError) as error:
                fault = str(error)
            if fault:
                raise ValueError(
                    f"{path}: line {number} is not a result ({fault}): delete the file and "
                    f"rerun stage {stage}"
                )
            yield record


def _is_record_of(line: bytes, id_: str, fields: tuple[str, ...]) -> bool:
    try:
        record = parse_json(line.decode())
        return record.keys() == set(fields) and record["id"] == id_
    except (ValueError, AttributeError):
        return False


def _listed(numbers: list[int], most: int = 10) -> str:
    return ", ".join(map(str, numbers[:most])) + (", ..." if len(numbers) > most else "")


@contextmanager
def _open_journal(path: Path) -> Iterator[IO[bytes]]:
    """The journal for reading and appending, held by this process only."""
    with open(path, "a+b", buffering=0) as journal:  # unbuffered: what is written is in the file
        _lock(journal, path)
        journal.seek(0)
        yield journal


def _lock(journal: IO[bytes], path: Path) -> None:
    """Take the journal's lock; what a killed run left of its processes may hold it for a moment."""
    import fcntl

    end = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise ValueError(
                    f"another process is writing {path}: wait for it, or end it and run again"
                ) from None
            time.sleep(0.2)
        except OSError:
            return  # a file system without locks
