"""Stage 2: a data directory whose audio can be trained on, and a list of what was left out.

Recordings that are 16 kHz mono WAV or FLAC already stay where they are; the others are converted.
Every recording is decoded once, here, so that no training run meets a damaged file later.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import multiprocessing
import os
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from ..atomic import atomic_write
from ..progress import progress
from ..types import Seconds, Utterance
from . import audio, kaldi_dir

VERSION = 1  # of what stage 2 writes: a new number makes old directories be formatted again
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
    """What became of one utterance: kept (`audio`, `num_samples`), dropped or bad (`reason`)."""

    utterance: Utterance
    audio: str = ""  # path, of the recording to use
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
    to be converted. A killed run goes on from the recordings it had converted. The marker .done
    (a hash of all inputs) is written last, and wav.scp last but one.
    Raises ValueError for a directory that is not valid, for recordings that cannot be read (all are
    listed in dst/bad_audio.tsv; `drop_bad_audio` leaves them out instead), when nothing is left,
    and when the disk is full."""
    src, dst = Path(src), Path(dst)
    if limits.min_audio >= limits.max_audio:
        raise ValueError(
            f"--min_audio {limits.min_audio} is not below --max_audio {limits.max_audio} (seconds)"
        )
    if src.resolve() == dst.resolve():
        raise ValueError(f"{src}: source and destination are the same directory")
    key = fingerprint(src, limits, drop_bad_audio)
    marker = dst / ".done"
    if key and marker.is_file() and marker.read_text().strip() == key and _whole(src, dst):
        return Summary(already_done=True)
    kaldi_dir.check(src, allow=(kaldi_dir.EMPTY_TEXT,))
    with _explaining_full_disk(dst):
        _clear(dst)
        summary = _format(src, dst, limits, nj, drop_bad_audio)
        with atomic_write(marker) as out:
            out.write(key + "\n")
    return summary


def fingerprint(src: Path, limits: Limits, drop_bad_audio: bool) -> str:
    """A hash of everything the result depends on: options, tables, and every recording's size and
    time of change. "" when something is missing (validation will say what)."""
    digest = hashlib.sha256(f"{VERSION} {limits} {drop_bad_audio}\n".encode())
    try:
        for name in kaldi_dir.tables(src):
            digest.update(f"{name}\n".encode())
            with open(src / name, "rb") as table:
                for block in iter(lambda: table.read(1 << 20), b""):
                    digest.update(block)
        for _, path in kaldi_dir.read_table(src / "wav.scp"):
            digest.update(_stamp(path).encode())
    except (OSError, ValueError):
        return ""
    return digest.hexdigest()


def _stamp(path: str) -> str:
    found = os.stat(path)
    return f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n"


def _whole(src: Path, dst: Path) -> bool:
    carried = [name for name in kaldi_dir.tables(src) if name in CARRIED + ("text",)]
    wanted = {"wav.scp", "utt2spk", "utt2dur", "utt2num_samples", "dropped.tsv", *carried}
    return all((dst / name).is_file() for name in wanted)


def _clear(dst: Path) -> None:
    """Remove what an older or a killed run left, but the recordings it converted; .done first."""
    for name in (".done", *WRITTEN, *CARRIED, "dropped.tsv", "bad_audio.tsv"):
        (dst / name).unlink(missing_ok=True)
    for path in dst.glob(".*.tmp"):
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
        return Formatted(utt, audio=utt.audio, num_samples=len(samples))
    target = converted_path(audio_dir, utt)
    if not target.is_file():
        audio.write_audio(target, samples)
    return Formatted(utt, str(target), len(samples), change=_change(found))


def converted_path(audio_dir: Path, utt: Utterance) -> Path:
    """Where a converted recording goes. The name tells its source file and the state of it, so a
    file that exists is the right one; an id never becomes a path ("../x", or 300 bytes long)."""
    digest = hashlib.sha256(f"{VERSION} {utt.id}\n{_stamp(utt.audio)}".encode()).hexdigest()
    return audio_dir / digest[:2] / f"{quote(utt.id, safe='')[:150]}.{digest[:12]}.flac"


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


# --- the directory ------------------------------------------------------------------------------


def _format(src: Path, dst: Path, limits: Limits, nj: int, drop_bad_audio: bool) -> Summary:
    total = sum(1 for _ in kaldi_dir.read_table(src / "wav.scp"))
    results = _run(kaldi_dir.iter_utterances(src), dst / "audio", limits, nj)
    carried = {n: kaldi_dir.read_table(src / n) for n in CARRIED if (src / n).is_file()}
    summary, bad = Summary(), []
    with ExitStack() as stack:  # closed from the last to the first: wav.scp appears last
        names = [n for n in WRITTEN if n != "text" or (src / "text").is_file()] + [*carried]
        out = {n: stack.enter_context(atomic_write(dst / n)) for n in names}
        dropped = stack.enter_context(atomic_write(dst / "dropped.tsv"))
        dropped.write("id\treason\tdetail\n")
        for result in progress(results, total, what=f"format {dst}"):
            extra = {name: next(rows)[1] for name, rows in carried.items()}
            if result.reason == BAD:
                bad.append(result)
            if result.reason:
                summary.dropped[result.reason] += 1
                dropped.write("\t".join((result.utterance.id, result.reason, result.detail)) + "\n")
            else:
                _add(result, extra, out, summary)
        if bad and not drop_bad_audio:
            _refuse_bad_audio(src, dst, bad, total)
        if not summary.kept:
            raise ValueError(_nothing_left(src, summary))
    _remove_orphans(dst, sum(summary.changes.values()))
    return summary


def _add(result: Formatted, extra: dict[str, str], out: dict, summary: Summary) -> None:
    utt = result.utterance
    values = {
        "wav.scp": result.audio,
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


def _refuse_bad_audio(src: Path, dst: Path, bad: list[Formatted], total: int) -> None:
    rows = [(r.utterance.id, r.detail) for r in bad]
    with atomic_write(dst / "bad_audio.tsv") as out:
        out.writelines(f"{id_}\t{detail}\n" for id_, detail in rows)
    listed = "".join(f"\n  {id_}: {detail}" for id_, detail in rows[:SHOWN])
    more = f"\n  and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    raise ValueError(
        f"{src}: {len(bad)} of {total} recordings cannot be used (first: {rows[0][0]}); repair "
        f"them, or leave them out with --drop_bad_audio true; all are listed in "
        f"{dst / 'bad_audio.tsv'}:{listed}{more}"
    )


def _nothing_left(src: Path, summary: Summary) -> str:
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(summary.dropped.items()))
    return (
        f"{src}: all {sum(summary.dropped.values())} utterances would be dropped ({reasons}); "
        f"change --min_audio or --max_audio, or check the data"
    )


def _remove_orphans(dst: Path, converted: int) -> None:
    """Remove recordings of earlier runs that no line points to. Every converted one is there, so
    there are orphans only when there are more files than that."""
    if sum(1 for _ in (dst / "audio").glob("*/*")) == converted:
        return
    wanted = {path for _, path in kaldi_dir.read_table(dst / "wav.scp")}
    for path in (dst / "audio").glob("*/*"):
        if str(path) not in wanted:
            path.unlink()


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
