"""Parts of a formatted directory: what became of the utterances of one range of wav.scp's bytes.

Parts depend only on the data. A part's first line tells what it was made of, so a part that exists
and has the right first line is up to date."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from ...store.atomic import atomic_write
from ...store.tables import Span
from .. import kaldi_dir
from .utterance import BAD, VERSION, Formatted, Limits, stamp

PART = 1 << 16  # bytes of wav.scp in a part: some 700 utterances


@dataclass(frozen=True)
class Part:
    """The same utterances in each table of a directory."""

    name: str
    spans: dict[str, Span]  # of each table

    def path(self, dst: Path) -> Path:
        """Its file."""
        return dst / "parts" / self.name

    def lines(self, src: Path) -> int:
        """Utterances."""
        return kaldi_dir.count_lines(src / "wav.scp", self.spans["wav.scp"])


@dataclass(frozen=True)
class Head:
    """The first line of a part: what it was made of (hashes), and its recordings that are bad."""

    tables: str
    recordings: str
    bad: int


def parts(src: Path, job: int = 1, num_jobs: int = 1) -> Iterator[Part]:
    """The parts of job `job`; together the jobs' parts hold every line of every table."""
    with ExitStack() as stack:
        files = {n: stack.enter_context(open(src / n, "rb")) for n in kaldi_dir.tables(src)}
        sizes = {name: os.fstat(file.fileno()).st_size for name, file in files.items()}
        for number in range(job - 1, -(-sizes["wav.scp"] // PART), num_jobs):
            begins = _begins(files, sizes, number * PART)
            ends = _begins(files, sizes, (number + 1) * PART)
            if begins["wav.scp"] < ends["wav.scp"]:
                spans = {name: (begins[name], ends[name]) for name in files}
                yield Part(f"{number:06d}", spans)


def _begins(files: Mapping[str, IO[bytes]], sizes: dict[str, int], at: int) -> dict[str, int]:
    """Where in each table the utterances begin whose lines in wav.scp begin at `at` or later."""
    begin = kaldi_dir.line_begin(files["wav.scp"], at)
    if begin == 0:
        return dict.fromkeys(files, 0)
    if begin >= sizes["wav.scp"]:
        return sizes
    files["wav.scp"].seek(begin)
    id_ = files["wav.scp"].readline().decode(errors="replace").split(maxsplit=1)[0]
    others = {
        n: kaldi_dir.lower_bound(f, id_, sizes[n]) for n, f in files.items() if n != "wav.scp"
    }
    return {"wav.scp": begin, **others}


def left(
    src: Path, dst: Path, limits: Limits, drop_bad_audio: bool, job: int = 1, num_jobs: int = 1
) -> list[tuple[Part, Head]]:
    """The parts of a job that are not up to date, with the heads that they are to get."""
    unfinished = []
    for part in parts(src, job, num_jobs):
        head = Head(hash_tables(src, part, limits), _hash_recordings(src, part), 0)
        found = read_head(part.path(dst))
        if found is None or replace(found, bad=0) != head or (found.bad and not drop_bad_audio):
            unfinished.append((part, head))
    return unfinished


def hash_tables(src: Path, part: Part, limits: Limits) -> str:
    """Of a part's lines in all tables, and of how they are formatted."""
    digest = hashlib.sha256(f"{VERSION} {limits}\n".encode())
    for name, (begin, end) in part.spans.items():
        with open(src / name, "rb") as table:
            table.seek(begin)
            digest.update(f"{name} {end - begin}\n".encode())
            digest.update(table.read(end - begin))
    return digest.hexdigest()


def _hash_recordings(src: Path, part: Part) -> str:
    """Of every recording's size and time of change."""
    digest = hashlib.sha256()
    for _, path in kaldi_dir.read_table(src / "wav.scp", part.spans["wav.scp"]):
        try:
            digest.update(stamp(path).encode())
        except OSError:
            digest.update(f"{path}\0cannot be found\n".encode())
    return digest.hexdigest()


def read_head(path: Path) -> Head | None:
    """Of a part's file; None where it is missing or damaged."""
    try:
        with open(path, encoding="utf-8") as lines:
            tables, recordings, bad = lines.readline().split()
    except (OSError, ValueError):
        return None
    return Head(tables, recordings, int(bad))


def write_part(path: Path, head: Head, results: list[Formatted]) -> None:
    """Write a part, atomically."""
    bad = sum(result.reason == BAD for result in results)
    with atomic_write(path) as out:
        out.write(f"{head.tables} {head.recordings} {bad}\n")
        for r in results:
            row = (r.utterance.id, r.converted, str(r.num_samples), r.reason, r.detail, r.change)
            out.write("\t".join(row) + "\n")


def read_part(src: Path, dst: Path, part: Part) -> Iterator[Formatted]:
    """What became of the utterances of a part."""
    utterances = kaldi_dir.iter_utterances(src, part.spans)
    with open(part.path(dst), encoding="utf-8", newline="\n") as lines:
        next(lines)
        for utt, line in zip(utterances, lines, strict=True):
            id_, converted, num_samples, reason, detail, change = line.rstrip("\n").split("\t")
            assert id_ == utt.id
            yield Formatted(utt, converted, int(num_samples), reason, detail, change)
