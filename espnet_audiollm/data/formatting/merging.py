"""The tables of a formatted directory, merged from its parts; what older runs left is removed."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...progress import progress
from ...store.atomic import atomic_write, remove_asides
from ...store.tables import is_table
from ...types import SAMPLE_RATE
from .. import kaldi_dir
from .parts import Head, Part, read_part
from .utterance import BAD, Formatted

WRITTEN = ("wav.scp", "utt2spk", "text", "utt2dur", "utt2num_samples")
SHOWN = 20  # unreadable recordings named on the screen; the file lists all


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
        hours = self.num_samples / SAMPLE_RATE / 3600
        total = self.kept + sum(self.dropped.values())
        parts = [f"kept {self.kept} of {total} utterances, {hours:.2f} hours"]
        parts += [f"dropped {n}: {reason}" for reason, n in sorted(self.dropped.items())]
        parts += [f"converted {n}: {change}" for change, n in sorted(self.changes.items())]
        return "; ".join(parts)


def is_complete(src: Path, dst: Path) -> bool:
    """Whether every table is there."""
    carried = [name for name in kaldi_dir.tables(src) if name in kaldi_dir.CARRIED + ("text",)]
    wanted = {"wav.scp", "utt2spk", "utt2dur", "utt2num_samples", "dropped.tsv", *carried}
    return all((dst / name).is_file() for name in wanted)


def clear(dst: Path, parts: set[str]) -> None:
    """Remove what an older or a killed run left, but `parts` and the recordings; .done first."""
    for name in (".done", *WRITTEN, *kaldi_dir.CARRIED, "dropped.tsv", "bad_audio.tsv"):
        (dst / name).unlink(missing_ok=True)
    remove_asides(dst, "*")
    for path in (dst / "parts").iterdir():
        if path.name not in parts:
            path.unlink()


def merge(src: Path, dst: Path, parts: list[Part]) -> Summary:
    """Write the tables of `dst`. Raises ValueError when all utterances are dropped."""
    carried = [name for name in kaldi_dir.CARRIED if is_table(src / name)]
    summary = Summary()
    with ExitStack() as stack:  # closed from the last to the first: wav.scp appears last
        names = [n for n in WRITTEN if n != "text" or (src / "text").is_file()] + carried
        out = {n: stack.enter_context(atomic_write(dst / n)) for n in names}
        dropped = stack.enter_context(atomic_write(dst / "dropped.tsv"))
        dropped.write("id\treason\tdetail\n")
        for part in progress(parts, len(parts), what=f"merge {dst}", unit="parts"):
            extra = {n: kaldi_dir.read_table(src / n, part.spans[n]) for n in carried}
            for result in read_part(src, dst, part):
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
        "utt2dur": f"{result.num_samples / SAMPLE_RATE:.3f}",
        "utt2num_samples": str(result.num_samples),
        **extra,
    }
    for name, table in out.items():
        table.write(f"{utt.id} {values[name]}\n")
    summary.kept += 1
    summary.num_samples += result.num_samples
    if result.change:
        summary.changes[result.change] += 1


def refuse_bad_audio(src: Path, dst: Path, parts: list[Part], heads: list[Head]) -> None:
    """Raise ValueError that names the recordings; all are listed in bad_audio.tsv."""
    shown, total = list[tuple[str, str]](), sum(head.bad for head in heads)
    with atomic_write(dst / "bad_audio.tsv") as out:
        for part, head in zip(parts, heads, strict=True):
            for result in read_part(src, dst, part) if head.bad else ():
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
    found = array("q")
    for _, recording in kaldi_dir.read_table(dst / "wav.scp"):
        if recording.startswith(f"{directory}/"):
            found.append(_digits(recording))
    wanted = np.sort(np.frombuffer(found, np.int64)) if found else np.zeros(0, np.int64)
    for path in directory.glob("*/*"):
        digits = _digits(path.name)
        at = np.searchsorted(wanted, digits)
        if at == len(wanted) or wanted[at] != digits:
            path.unlink()


def _digits(name: str) -> int:
    found = re.search(r"\.([0-9a-f]{12})\.flac$", name)
    return int(found[1], 16) if found else -1
