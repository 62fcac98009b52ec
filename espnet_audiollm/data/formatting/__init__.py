"""Stage 2: a data directory whose audio can be trained on, and a list of what was left out.

Recordings that are 16 kHz mono WAV or FLAC already stay where they are; the others are converted.
Every recording is decoded once, here, so that no training run meets a damaged file later.

    parts/NNNNNN   what became of the utterances of one part of wav.scp
    audio/XX/...   recordings that had to be converted
    wav.scp ...    the tables, merged from all parts
    .done          written last: what the recordings are (by names, sizes, times); where this is

Parts are ranges of wav.scp's bytes, so they depend only on the data: jobs take every n-th, and any
other number of jobs, or one process for all, goes on from those that are up to date.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...progress import progress
from ...store.atomic import atomic_write
from .. import kaldi_dir, segments, validation, workers
from . import merging, parts
from .merging import Summary
from .utterance import Limits, format_utterance

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def format_dir(
    src: str | Path,
    dst: str | Path,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    nj: int = 1,
    drop_bad_audio: bool = False,
) -> Summary:
    """Make `dst` from the Kaldi directory `src`; nothing is done when that has been done.

    `dst` gets the tables of `src`, utt2dur, utt2num_samples, dropped.tsv, and audio/ with what had
    to be converted. A killed run goes on from the parts and recordings it had made."""
    source, target = _check(src, dst, limits)
    if parts.left(source, target, limits, drop_bad_audio):
        _validate(Path(src), limits)
        format_parts(src, dst, limits, nj, drop_bad_audio)
    return merge(src, dst, limits, drop_bad_audio)


def format_parts(
    src: str | Path,
    dst: str | Path,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    nj: int = 1,
    drop_bad_audio: bool = False,
    job: int = 1,
    num_jobs: int = 1,
) -> int:
    """Make the parts of `dst` that are not up to date, of job `job` of `num_jobs`; returns how many
    that were. Parts with bad recordings are made again, unless these may be dropped."""
    src, dst = _check(src, dst, limits)
    left = parts.left(src, dst, limits, drop_bad_audio, job, num_jobs)
    if not left:
        return 0
    with _explaining_full_disk(dst):
        utterances = itertools.chain.from_iterable(
            kaldi_dir.iter_utterances(src, part.spans) for part, _ in left
        )
        lines = [part.lines(src) for part, _ in left]
        work = functools.partial(format_utterance, audio_dir=dst / "audio", limits=limits)
        results = progress(workers.in_order(work, utterances, nj), sum(lines), what=f"format {dst}")
        for (part, key), count in zip(left, lines, strict=True):
            parts.write_part(part.path(dst), key, list(itertools.islice(results, count)))
        next(results, None)  # lets `progress` say its last word
    return len(left)


def merge(
    src: str | Path,
    dst: str | Path,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    drop_bad_audio: bool = False,
) -> Summary:
    """Make the tables of `dst` from its parts; nothing is done when that has been done.

    Whether recordings changed since the parts were made is not looked at again. Raises ValueError
    when parts are missing or are not those of `src` and `limits`, or when all is dropped."""
    src, dst = _check(src, dst, limits)
    found = list(parts.parts(src))
    heads = []
    for number, part in enumerate(found):
        head = parts.read_head(part.path(dst))
        if head is None or head.tables != parts.hash_tables(src, part, limits):
            raise ValueError(
                f"{dst}: part {number + 1} of {len(found)} is missing, or was made of other data: "
                "run the same command without --merge for every job"
            )
        heads.append(head)
    if sum(head.bad for head in heads) and not drop_bad_audio:
        merging.refuse_bad_audio(src, dst, found, heads)
    lines = f"{hashlib.sha256(repr(heads).encode()).hexdigest()}\n{dst}\n"
    marker = dst / ".done"
    if marker.is_file() and marker.read_text() == lines and merging.is_complete(src, dst):
        return Summary(already_done=True)
    with _explaining_full_disk(dst):
        merging.clear(dst, {part.name for part in found})
        summary = merging.merge(src, dst, found)
        with atomic_write(marker) as out:
            out.write(lines)
    return summary


def _check(src: str | Path, dst: str | Path, limits: Limits) -> tuple[Path, Path]:
    """Source and destination; the source has a recording for each utterance (segments.py)."""
    src, dst = Path(src), Path(dst)
    if limits.min_audio >= limits.max_audio:
        raise ValueError(
            f"--min_audio {limits.min_audio} is not below --max_audio {limits.max_audio} (seconds)"
        )
    if src.resolve() == dst.resolve():
        raise ValueError(f"{src}: source and destination are the same directory")
    if not _readable(src):
        _validate(src, limits)
    try:
        return segments.by_utterance(src, dst / "source"), dst
    except ValueError:
        _validate(src, limits)
        raise


def _validate(src: Path, limits: Limits) -> None:
    validation.check(src, allow=(validation.EMPTY_TEXT,), allow_pipes=limits.allow_pipes)


def _readable(src: Path) -> bool:
    """Whether there is anything to divide into parts; validation says what is wrong if not."""
    required = [src / name for name in kaldi_dir.REQUIRED]
    return all(path.is_file() and path.stat().st_size for path in required)


@contextmanager
def _explaining_full_disk(dst: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise ValueError(
            f"{dst}: the disk is full or a size limit is reached ({os.strerror(error.errno)}); "
            f"nothing half-written is left: free some space and run the same command again, "
            f"it goes on from there"
        ) from error
