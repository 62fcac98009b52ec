#!/usr/bin/env python3
"""Multilingual LibriSpeech (OpenSLR 94) as Kaldi data directories.

The layout is {split}/transcripts.txt ("id<TAB>text"), {split}/segments.txt ("id<TAB>address of the
book<TAB>start<TAB>end", seconds) and {split}/audio/{speaker}/{book}/{id}.flac or .opus, where an id
is {speaker}_{book}_{number}. Training has 10.8 million utterances: transcripts are sorted on the
disk and laid beside the recordings, whose directories are listed in the same order.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus import prepare as corpus
from espnet_audiollm.corpus.download import fetch
from espnet_audiollm.data import sorting
from espnet_audiollm.data.kaldi_dir import Row
from espnet_audiollm.types import Utterance

URL = "https://dl.fbaipublicfiles.com/mls/{}.tar.gz"
ARCHIVES = {"opus": "mls_english_opus", "flac": "mls_english"}  # 651 GB, 2.4 TB
SPLITS = {"train": "train", "dev": "valid", "test": "test"}  # the corpus's name: ours
PUBLISHED = {"train": 10_808_037, "dev": 3_807, "test": 3_769}
HANDLES = {  # training lists of "limited supervision": hours
    "1h": [f"1hr/{fold}/handles.txt" for fold in range(6)],
    "10h": [*(f"1hr/{fold}/handles.txt" for fold in range(6)), "9hr/handles.txt"],
}


def get_parser() -> argparse.ArgumentParser:
    parser = corpus.get_parser(__doc__, "train, dev and test ('': download)")
    parser.add_argument("--audio", choices=ARCHIVES, default="opus", help="which archive to fetch")
    parser.add_argument("--train_part", choices=("all", *HANDLES), default="all")
    parser.add_argument("output", type=Path, help="where train, valid and test go")
    return parser


def transcripts(split: Path, only: set[str] | None, faults: corpus.Faults) -> Iterator[Row]:
    """(id, text) of a split as its file has them, in no order that we rely on."""
    path = corpus.existing(split, "transcripts.txt")
    for number, line in corpus.read_lines(path, faults):
        id_, tab, text = line.partition("\t")
        if not tab or id_.count("_") != 2 or id_.split() != [id_]:
            faults.add(path, "lines that are not SPEAKER_BOOK_NUMBER<TAB>TEXT", f"line {number}")
        elif only is not None and id_ not in only:
            continue
        elif not text.strip():
            faults.leave_out(path, corpus.EMPTY, id_)
        else:
            yield id_, corpus.one_line(text)


def recordings(split: Path, only: set[str] | None) -> Iterator[Row]:
    """(id, path) of the recordings, in order of their ids."""
    books = None if only is None else {tuple(id_.split("_")[:2]) for id_ in only}
    root = split / "audio"
    if not root.is_dir():
        raise ValueError(f"{root} is missing: give the directory that holds train, dev and test")
    for speaker in _directories(root):
        if books is not None and not any(speaker == s for s, _ in books):
            continue
        for book in _directories(root / speaker):
            if books is None or (speaker, book) in books:
                yield from _book(root / speaker / book, only)


def _directories(place: Path) -> list[str]:
    """Names in the order of ids that begin with them: an "_" follows, which sorts after digits."""
    with os.scandir(place) as found:
        names = [entry.name for entry in found if entry.is_dir()]
    return sorted(names, key=lambda name: name + "_")


def _book(place: Path, only: set[str] | None) -> list[Row]:
    found = []
    for name in os.listdir(place):
        id_, _, suffix = name.rpartition(".")
        if suffix in ARCHIVES and not name.startswith(".") and (only is None or id_ in only):
            found.append((id_, f"{place}/{name}"))
    return sorted(found)


def handles(train: Path, part: str, faults: corpus.Faults) -> set[str] | None:
    """The ids of a part of the training data; None: all."""
    if part == "all":
        return None
    place = train / "limited_supervision"
    files = [corpus.existing(place, name) for name in HANDLES[part]]
    return {line.strip() for path in files for _, line in corpus.read_lines(path, faults)}


def entries(
    split: Path, only: set[str] | None, aside: Path, faults: corpus.Faults
) -> Iterator[corpus.Entry]:
    """The utterances of a split."""
    texts = sorting.sort_rows(transcripts(split, only, faults), aside)
    for id_, text, path in corpus.join(texts, recordings(split, only), split, faults):
        yield corpus.Entry(Utterance(id_, path, speaker=id_.split("_")[0], text=text))


def hours(split: Path, faults: corpus.Faults) -> float:
    """The length of a split by its segments.txt; 0 where the file is not there."""
    seconds, path = 0.0, split / "segments.txt"
    if not path.is_file():
        return 0.0
    for number, line in corpus.read_lines(path, faults):
        try:
            start, end = line.split()[-2:]
            seconds += float(end) - float(start)
        except ValueError:
            faults.add(path, "lines that do not end in two times", f"line {number}")
    return seconds / 3600


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    if args.corpus:
        root = corpus.directory_of("mls_english", args.corpus)
    else:
        name = ARCHIVES[args.audio]
        root = fetch(URL.format(name), args.downloads, args.downloads / name, name)
    faults = corpus.Faults("unpack the archive again", args.subset)
    index = [corpus.existing(root / split, "transcripts.txt") for split in SPLITS]
    marker = args.output / ".mls_english"
    settings = corpus.settings_of(args, *index)
    if corpus.made_before(marker, settings):
        return 0
    only = dict.fromkeys(SPLITS) | {"train": handles(root / "train", args.train_part, faults)}
    places = {split: str(args.output / ours) for split, ours in SPLITS.items()}
    length = {split: hours(root / split, faults) for split in SPLITS}
    with sorting.sorting_place(args.output / "transcripts") as aside:
        splits = {}
        for split, place in places.items():
            (aside / split).mkdir()
            splits[place] = entries(root / split, only[split], aside / split, faults)
        published = {(places[split],): number for split, number in PUBLISHED.items()}
        if only["train"] is not None:
            published[places["train"],] = len(only["train"])
        corpus.write_splits(splits, faults, published)
    for split, place in places.items():
        print(f"{place}: of {length[split]:.2f} hours in {root / split}/segments.txt")
    if not faults.subset:  # to a part, recordings may still come
        corpus.mark_made(marker, settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
