"""Which tables a data directory has, and what the ids of each name: so that a tool carries all.

Besides the tables that the stages know (kaldi_dir.py) there may be any other: a file without an
ending whose first id is one of the directory's utterances, and which may leave utterances out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..store.tables import outer_join, scan
from . import kaldi_dir, segments

MADE = ("spk2utt",)  # follows from utt2spk


@dataclass(frozen=True)
class Layout:
    """The tables of a data directory by what their ids name."""

    directory: Path
    utterances: tuple[str, ...]  # tables with a line for each utterance, utt2spk first
    partial: tuple[str, ...]  # tables with lines for some utterances
    recordings: tuple[str, ...]  # of recordings: wav.scp and reco2*, where there are segments
    speakers: tuple[str, ...]  # of speakers: spk2*
    left: tuple[str, ...]  # what is no table, or follows from the others

    @property
    def tables(self) -> tuple[str, ...]:
        """All that a tool carries."""
        return self.utterances + self.partial + self.recordings + self.speakers

    def describe(self) -> str:
        """For the screen: what is carried and what is not."""
        left = f"; not carried: {', '.join(self.left)}" if self.left else ""
        return f"with {', '.join(self.tables)}{left}"


def of(directory: str | Path) -> Layout:
    """Raises ValueError where wav.scp or utt2spk is missing."""
    directory = Path(directory)
    if not directory.is_dir():
        raise ValueError(f"{directory}: there is no such directory")
    for name in kaldi_dir.REQUIRED:
        kaldi_dir.existing(directory / name)
    cut = segments.has(directory)
    known = kaldi_dir.tables(directory)
    known = [segments.NAME if name == "wav.scp" and cut else name for name in known]
    known.sort(key=lambda name: name != "utt2spk")
    recordings = ["wav.scp"] if cut else []
    partial, speakers, left = [], [], []
    for path in sorted(directory.iterdir()):
        name = path.name
        if name in known + recordings or name.startswith("."):
            continue
        if not path.is_file() or path.suffix not in ("", ".scp") or name in MADE:
            left.append(name)
        elif name.startswith("spk2"):
            speakers.append(name)
        elif name.startswith("reco2") and cut:
            recordings.append(name)
        elif _is_of_utterances(path):
            partial.append(name)
        else:
            left.append(name)
    return Layout(directory, *map(tuple, (known, partial, recordings, speakers, left)))


def _is_of_utterances(path: Path) -> bool:
    first = next((id_ for _, id_, _, _ in scan(path)), "").encode()
    with open(path.parent / "utt2spk", "rb") as lines:
        return bool(first) and any(line.split(maxsplit=1)[:1] == [first] for line in lines)


def side_by_side(layout: Layout) -> Iterator[tuple[str, dict[str, str]]]:
    """(id, {table: value}) of the utterances in order: of all their tables, of the partial ones
    where they have a line. Constant memory; ValueError where the tables do not fit together."""
    names, needed = layout.utterances + layout.partial, len(layout.utterances)
    tables = [kaldi_dir.read_table(kaldi_dir.existing(layout.directory / name)) for name in names]
    for id_, row in outer_join(*tables):
        if None in row[:needed]:
            raise ValueError(
                kaldi_dir.differing(layout.directory, id_, layout.utterances, row[:needed])
            )
        yield id_, {n: v for n, v in zip(names, row, strict=True) if v is not None}
