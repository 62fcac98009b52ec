"""Stage 2: a data directory whose audio can be trained on, and a list of what was left out.

Recordings that are 16 kHz mono WAV or FLAC already stay where they are; the others are converted.
Every recording is decoded once, here, so that no training run meets a damaged file later.

    parts/NNNNNN   what became of the utterances of one part of wav.scp, written whole
    audio/XX/...   recordings that had to be converted
    wav.scp ...    the tables, merged from all parts; .done is written last

Parts are ranges of wav.scp's bytes, so they depend on the data alone: jobs take every n-th, and any
other number of jobs, or one process for all, goes on from those that are whole.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import multiprocessing
import os
import re
import threading
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO
from urllib.parse import quote

import numpy as np

from ..atomic import atomic_write
from ..progress import progress
from ..types import Seconds, Utterance
from . import audio, kaldi_dir, validation

VERSION = 1  # of what stage 2 writes: a new number makes old directories be formatted again
PART = 1 << 16  # bytes of wav.scp in a part: some 700 utterances
CHUNK = 32  # utterances handed to a worker at once
CARRIED = ("answers", "category")  # extra tables that pass through
WRITTEN = ("wav.scp", "utt2spk", "text", "utt2dur", "utt2num_samples")
SHOWN = 20  # unreadable recordings named on the screen; the file lists all
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Limits:
    min_audio: Seconds = 0.1  # shortest kept
    max_audio: Seconds = 20.0  # longest kept


@dataclass(frozen=True)
class Formatted:
    """What became of one utterance: kept (`num_samples`), dropped or bad (`reason`)."""

    utterance: Utterance
    converted: str = ""  # the recording to use, in audio/; "": the one there was
    num_samples: int = 0  # at 16 kHz
    reason: str = ""  # "" when kept
    detail: str = ""
    change: str = ""  # what was converted, for the summary


@dataclass
class Summary:
    """What a run of stage 2 did: counts, for the screen."""

    kept: int = 0
    num_samples: int = 0
    dropped: Counter = field(default_factory=Counter)  # reason: utterances
    changes: Counter = field(default_factory=Counter)  # "8000 Hz to 16000 Hz": utterances
    already_done: bool = False

    def __str__(self) -> str:
        if self.already_done:
            return "already formatted, nothing to do"
        hours = self.num_samples / audio.SAMPLE_RATE / 3600
        total = self.kept + sum(self.dropped.values())
        parts = [f"kept {self.kept} of {total} utterances, {hours:.2f} hours"]
        parts += [f"dropped {n}: {reason}" for reason, n in sorted(self.dropped.items())]
        parts += [f"converted {n}: {change}" for change, n in sorted(self.changes.items())]
        return "; ".join(parts)


BAD = "unreadable audio"


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
    src, dst = _check(src, dst, limits)
    if not _readable(src) or _parts_left(src, dst, limits, drop_bad_audio):
        validation.check(src, allow=(validation.EMPTY_TEXT,))
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
    """Make those parts of `dst` that are job `job`'s of `num_jobs` and are not whole; returns how
    many that were. Parts with bad recordings are made again, unless these may be dropped."""
    src, dst = _check(src, dst, limits)
    if not _readable(src):
        validation.check(src, allow=(validation.EMPTY_TEXT,))
    left = _parts_left(src, dst, limits, drop_bad_audio, job, num_jobs)
    if not left:
        return 0
    with _explaining_full_disk(dst):
        utterances = itertools.chain.from_iterable(
            kaldi_dir.iter_utterances(src, part.spans) for part, _ in left
        )
        lines = [part.lines(src) for part, _ in left]
        results = progress(
            _run(utterances, dst / "audio", limits, nj), sum(lines), what=f"format {dst}"
        )
        for (part, key), count in zip(left, lines, strict=True):
            _write_part(part.path(dst), key, list(itertools.islice(results, count)))
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
    if not _readable(src):
        validation.check(src, allow=(validation.EMPTY_TEXT,))
    parts = list(_parts(src))
    heads = [_read_head(part.path(dst)) for part in parts]
    for number, (part, head) in enumerate(zip(parts, heads, strict=True)):
        if head is None or head.tables != _hash_tables(src, part, limits):
            raise ValueError(
                f"{dst}: part {number + 1} of {len(parts)} is missing, or was made of other data: "
                "run the same command without --merge for every job"
            )
    if sum(head.bad for head in heads) and not drop_bad_audio:
        _refuse_bad_audio(src, dst, parts, heads)
    key = hashlib.sha256(f"{heads} {drop_bad_audio}".encode()).hexdigest()
    marker = dst / ".done"
    if marker.is_file() and marker.read_text().strip() == key and _whole(src, dst):
        return Summary(already_done=True)
    with _explaining_full_disk(dst):
        _clear(dst, {part.name for part in parts})
        summary = _merge(src, dst, parts)
        with atomic_write(marker) as out:
            out.write(key + "\n")
    return summary


def _check(src: str | Path, dst: str | Path, limits: Limits) -> tuple[Path, Path]:
    src, dst = Path(src), Path(dst)
    if limits.min_audio >= limits.max_audio:
        raise ValueError(
            f"--min_audio {limits.min_audio} is not below --max_audio {limits.max_audio} (seconds)"
        )
    if src.resolve() == dst.resolve():
        raise ValueError(f"{src}: source and destination are the same directory")
    return src, dst


def _readable(src: Path) -> bool:
    """Whether there is anything to divide into parts; validation says what is wrong if not."""
    required = [src / name for name in kaldi_dir.REQUIRED]
    return all(path.is_file() and path.stat().st_size for path in required)


# --- parts --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """The same utterances in each table of a directory."""

    name: str
    spans: dict[str, kaldi_dir.Span]  # of each table

    def path(self, dst: Path) -> Path:
        return dst / "parts" / self.name

    def lines(self, src: Path) -> int:
        return kaldi_dir.count_lines(src / "wav.scp", self.spans["wav.scp"])


@dataclass(frozen=True)
class Head:
    """The first line of a part: what it was made of (hashes), and its recordings that are bad."""

    tables: str
    recordings: str
    bad: int


def _parts(src: Path, job: int = 1, num_jobs: int = 1) -> Iterator[Part]:
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


def _begins(files: dict[str, IO[bytes]], sizes: dict[str, int], at: int) -> dict[str, int]:
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


def _parts_left(
    src: Path, dst: Path, limits: Limits, drop_bad_audio: bool, job: int = 1, num_jobs: int = 1
) -> list[tuple[Part, Head]]:
    """The parts of a job that are not whole, with the heads that they are to get."""
    left = []
    for part in _parts(src, job, num_jobs):
        head = Head(_hash_tables(src, part, limits), _hash_recordings(src, part), 0)
        found = _read_head(part.path(dst))
        if found is None or replace(found, bad=0) != head or (found.bad and not drop_bad_audio):
            left.append((part, head))
    return left


def _hash_tables(src: Path, part: Part, limits: Limits) -> str:
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
            digest.update(_stamp(path).encode())
        except OSError:
            digest.update(f"{path}\0cannot be found\n".encode())
    return digest.hexdigest()


def _stamp(path: str) -> str:
    found = os.stat(path)
    return f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n"


def _read_head(path: Path) -> Head | None:
    try:
        with open(path, encoding="utf-8") as lines:
            tables, recordings, bad = lines.readline().split()
    except (OSError, ValueError):
        return None
    return Head(tables, recordings, int(bad))


def _write_part(path: Path, head: Head, results: list[Formatted]) -> None:
    bad = sum(result.reason == BAD for result in results)
    with atomic_write(path) as out:
        out.write(f"{head.tables} {head.recordings} {bad}\n")
        for r in results:
            row = (r.utterance.id, r.converted, str(r.num_samples), r.reason, r.detail, r.change)
            out.write("\t".join(row) + "\n")


def _read_part(src: Path, dst: Path, part: Part) -> Iterator[Formatted]:
    utterances = kaldi_dir.iter_utterances(src, part.spans)
    with open(part.path(dst), encoding="utf-8", newline="\n") as lines:
        next(lines)
        for utt, line in zip(utterances, lines, strict=True):
            id_, converted, num_samples, reason, detail, change = line.rstrip("\n").split("\t")
            assert id_ == utt.id
            yield Formatted(utt, converted, int(num_samples), reason, detail, change)


# --- the directory ------------------------------------------------------------------------------


def _whole(src: Path, dst: Path) -> bool:
    carried = [name for name in kaldi_dir.tables(src) if name in CARRIED + ("text",)]
    wanted = {"wav.scp", "utt2spk", "utt2dur", "utt2num_samples", "dropped.tsv", *carried}
    return all((dst / name).is_file() for name in wanted)


def _clear(dst: Path, parts: set[str]) -> None:
    """Remove what an older or a killed run left, but `parts` and the recordings; .done first."""
    for name in (".done", *WRITTEN, *CARRIED, "dropped.tsv", "bad_audio.tsv"):
        (dst / name).unlink(missing_ok=True)
    for path in dst.glob(".*.tmp"):
        path.unlink()
    for path in (dst / "parts").iterdir():
        if path.name not in parts:
            path.unlink()


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


# --- one utterance (runs in the workers) --------------------------------------------------------


def format_utterance(utt: Utterance, audio_dir: Path, limits: Limits) -> Formatted:
    """Check one recording, and convert it when training could not read it as it is."""
    if utt.text == "":
        return Formatted(utt, reason="empty transcript")
    try:
        found = audio.info(utt.audio)
        if reason := _length_fault(found.duration, limits):
            return Formatted(utt, reason=reason, detail=f"{found.duration:.3f} s")
        samples = audio.read_mono_16k(utt.audio)
    except audio.AudioError as error:
        return Formatted(utt, reason=BAD, detail=" ".join(str(error).split()))
    if found.usable_in_place:
        return Formatted(utt, num_samples=len(samples))
    converted = converted_name(utt)
    if not (audio_dir / converted).is_file():
        audio.write_audio(audio_dir / converted, samples)
    return Formatted(utt, converted, len(samples), change=_change(found))


def converted_name(utt: Utterance) -> str:
    """Where in audio/ a converted recording goes. The name tells its source file and the state of
    it, so a file that exists is the right one; an id never becomes a path ("../x", or 300 bytes
    long)."""
    digest = hashlib.sha256(f"{VERSION} {utt.id}\n{_stamp(utt.audio)}".encode()).hexdigest()
    return f"{digest[:2]}/{quote(utt.id, safe='')[:150]}.{digest[:12]}.flac"


def _length_fault(duration: Seconds, limits: Limits) -> str:
    if duration < limits.min_audio:
        return f"shorter than {limits.min_audio:g} s"
    if duration > limits.max_audio:
        return f"longer than {limits.max_audio:g} s"
    return ""


def _change(found: audio.AudioInfo) -> str:
    changes = []
    if found.rate != audio.SAMPLE_RATE:
        changes.append(f"{found.rate} Hz to {audio.SAMPLE_RATE} Hz")
    if found.channels != 1:
        changes.append(f"{found.channels} channels to 1")
    return ", ".join(changes) or f"{found.container} to FLAC"


def _format_chunk(chunk: list[Utterance], audio_dir: Path, limits: Limits) -> list[Formatted]:
    return [format_utterance(utt, audio_dir, limits) for utt in chunk]


# --- merging ------------------------------------------------------------------------------------


def _merge(src: Path, dst: Path, parts: list[Part]) -> Summary:
    carried = [name for name in CARRIED if (src / name).is_file()]
    summary = Summary()
    with ExitStack() as stack:  # closed from the last to the first: wav.scp appears last
        names = [n for n in WRITTEN if n != "text" or (src / "text").is_file()] + carried
        out = {n: stack.enter_context(atomic_write(dst / n)) for n in names}
        dropped = stack.enter_context(atomic_write(dst / "dropped.tsv"))
        dropped.write("id\treason\tdetail\n")
        for part in progress(parts, len(parts), what=f"merge {dst}", unit="parts"):
            extra = {n: kaldi_dir.read_table(src / n, part.spans[n]) for n in carried}
            for result in _read_part(src, dst, part):
                values = {name: next(rows)[1] for name, rows in extra.items()}
                if result.reason:
                    summary.dropped[result.reason] += 1
                    row = (result.utterance.id, result.reason, result.detail)
                    dropped.write("\t".join(row) + "\n")
                else:
                    _add(result, dst / "audio", values, out, summary)
        if not summary.kept:
            raise ValueError(_nothing_left(src, summary))
    _remove_orphans(dst, sum(summary.changes.values()))
    return summary


def _add(
    result: Formatted, audio_dir: Path, extra: dict[str, str], out: dict, summary: Summary
) -> None:
    utt = result.utterance
    values = {
        "wav.scp": f"{audio_dir}/{result.converted}" if result.converted else utt.audio,
        "utt2spk": utt.speaker,
        "text": utt.text,
        "utt2dur": f"{result.num_samples / audio.SAMPLE_RATE:.3f}",
        "utt2num_samples": str(result.num_samples),
        **extra,
    }
    for name, table in out.items():
        table.write(f"{utt.id} {values[name]}\n")
    summary.kept += 1
    summary.num_samples += result.num_samples
    if result.change:
        summary.changes[result.change] += 1


def _refuse_bad_audio(src: Path, dst: Path, parts: list[Part], heads: list[Head]) -> None:
    shown, total = [], sum(head.bad for head in heads)
    with atomic_write(dst / "bad_audio.tsv") as out:
        for part, head in zip(parts, heads, strict=True):
            for result in _read_part(src, dst, part) if head.bad else ():
                if result.reason == BAD:
                    out.write(f"{result.utterance.id}\t{result.detail}\n")
                    shown += [(result.utterance.id, result.detail)] * (len(shown) < SHOWN)
    listed = "".join(f"\n  {id_}: {detail}" for id_, detail in shown)
    more = f"\n  and {total - SHOWN} more" if total > SHOWN else ""
    raise ValueError(
        f"{src}: {total} of {kaldi_dir.count_lines(src / 'wav.scp')} recordings cannot be used "
        f"(first: {shown[0][0]}); repair them, or leave them out with --drop_bad_audio true; all "
        f"are listed in {dst / 'bad_audio.tsv'}:{listed}{more}"
    )


def _nothing_left(src: Path, summary: Summary) -> str:
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(summary.dropped.items()))
    return (
        f"{src}: all {sum(summary.dropped.values())} utterances would be dropped ({reasons}); "
        f"change --min_audio or --max_audio, or check the data"
    )


def _remove_orphans(dst: Path, converted: int) -> None:
    """Remove recordings of earlier runs that no line points to. Every converted one is there, so
    there are orphans only when there are more files than that.

    Recordings are known by the 12 digits in their names: 8 bytes each, however many they are."""
    directory = dst / "audio"
    if sum(1 for _ in directory.glob("*/*")) == converted:
        return
    wanted = array("q")
    for _, path in kaldi_dir.read_table(dst / "wav.scp"):
        if path.startswith(f"{directory}/"):
            wanted.append(_digits(path))
    wanted = np.sort(np.frombuffer(wanted, np.int64)) if wanted else np.zeros(0, np.int64)
    for path in directory.glob("*/*"):
        digits = _digits(path.name)
        at = np.searchsorted(wanted, digits)
        if at == len(wanted) or wanted[at] != digits:
            path.unlink()


def _digits(name: str) -> int:
    found = re.search(r"\.([0-9a-f]{12})\.flac$", name)
    return int(found[1], 16) if found else -1


# --- processes ----------------------------------------------------------------------------------


def _run(
    utterances: Iterable[Utterance], audio_dir: Path, limits: Limits, nj: int
) -> Iterator[Formatted]:
    """`format_utterance` over all, in order, in `nj` processes, a few chunks ahead of the reader:
    millions of utterances are never in memory at once."""
    utterances = iter(utterances)
    chunks = iter(lambda: list(itertools.islice(utterances, CHUNK)), [])
    if nj == 1:
        for chunk in chunks:
            yield from _format_chunk(chunk, audio_dir, limits)
        return
    with ProcessPoolExecutor(nj, initializer=_end_with_parent) as pool:
        ahead = deque()
        try:
            for chunk in chunks:
                ahead.append(pool.submit(_format_chunk, chunk, audio_dir, limits))
                if len(ahead) > 4 * nj:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()
        except BrokenProcessPool as error:
            raise ValueError(
                "a worker process was killed (out of memory?); run again with a smaller --nj"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """In a worker: a main process that is killed leaves no workers behind, waiting for ever."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
