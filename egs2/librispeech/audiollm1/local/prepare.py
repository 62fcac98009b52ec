#!/usr/bin/env python3
"""LibriSpeech as Kaldi data directories: parts in the corpus's own layout, or downloaded.

The layout is {part}/{speaker}/{chapter}/{speaker}-{chapter}.trans.txt beside the FLAC files that
its lines name. All that is missing is reported at once, before anything is written.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.data import kaldi_dir
from espnet_audiollm.data.download import download, unpack
from espnet_audiollm.types import Utterance

URL = "https://www.openslr.org/resources/12/{}.tar.gz"
MD5 = {  # https://www.openslr.org/resources/12/md5sum.txt
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
}


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", default="", help="directory of the parts ('': download them)")
    parser.add_argument("--downloads", default="downloads", help="where downloads go")
    parser.add_argument(
        "--case", choices=("lower", "upper"), default="lower", help="of transcripts"
    )
    parser.add_argument(
        "splits", nargs="+", metavar="DIR=PART[,PART]", help="data/train=train-clean-100 ..."
    )
    return parser


def fetch(part: str, downloads: Path) -> Path:
    """The corpus directory under `downloads`, after downloading `part` to it."""
    corpus = downloads / "LibriSpeech"
    if not (corpus / part).is_dir():
        if part not in MD5:
            raise ValueError(f"{part} is no part of LibriSpeech: there are {', '.join(MD5)}")
        archive = downloads / f"{part}.tar.gz"
        download(URL.format(part), archive, MD5[part])
        unpack(archive, corpus / part, f"LibriSpeech/{part}")
        archive.unlink()
    return corpus


def utterances(corpus: Path, part: str, case: str, faults: kaldi_dir.Findings) -> list[Utterance]:
    """The utterances of a part; what is amiss goes to `faults`."""
    found = []
    for chapter in sorted((corpus / part).glob("*/*")):
        if not chapter.is_dir():
            continue
        transcripts = _transcripts(chapter, faults)
        if transcripts is None:
            continue
        speaker = chapter.parent.name
        audio = {path.stem: path for path in chapter.glob("*.flac")}
        for id_ in sorted(transcripts.keys() - audio.keys()):
            faults.add(corpus / part, "transcripts without their FLAC file", id_)
        for id_ in sorted(audio.keys() - transcripts.keys()):
            faults.add(corpus / part, "FLAC files without a transcript", id_)
        for id_ in sorted(audio.keys() & transcripts.keys()):
            text = transcripts[id_].lower() if case == "lower" else transcripts[id_].upper()
            found.append(Utterance(id_, str(audio[id_]), speaker, text=text))
    if not found:
        faults.add(corpus / part, "parts without a single utterance", part)
    return found


def _transcripts(chapter: Path, faults: kaldi_dir.Findings) -> dict[str, str] | None:
    """{id: transcript} of a chapter; None, with the reason in `faults`, when it cannot be read."""
    path = chapter / f"{chapter.parent.name}-{chapter.name}.trans.txt"
    try:
        return kaldi_dir.read_dict(path)
    except FileNotFoundError:
        faults.add(chapter.parents[1], "chapters without .trans.txt", str(path))
    except ValueError as error:
        faults.add(chapter.parents[1], "transcript files with faults", str(error).split(";")[0])
    return None


def read_splits(
    wanted: dict[str, list[str]], corpus: str, downloads: Path, case: str
) -> dict[str, list[Utterance]]:
    """{data directory: utterances}; one ValueError for all that is amiss with the corpus."""
    if corpus and not Path(corpus).is_dir():
        raise ValueError(f"--librispeech {corpus}: there is no such directory")
    faults = kaldi_dir.Findings("unpack the archive of this part again")
    splits: dict[str, list[Utterance]] = {}
    for directory, parts in wanted.items():
        splits[directory] = []
        for part in parts:
            root = Path(os.path.abspath(corpus)) if corpus else fetch(part, downloads)
            if not (root / part).is_dir():
                faults.add(root, "parts missing", part)
                continue
            splits[directory] += utterances(root, part, case, faults)
    if problems := faults.problems():
        raise ValueError("\n  ".join(map(str, problems)))
    return splits


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    wanted = {}
    for split in args.splits:
        directory, equals, parts = split.partition("=")
        if not (directory and equals and parts):
            raise ValueError(f"{split} does not read DIR=PART[,PART], as in data/dev=dev-clean")
        wanted[directory] = parts.split(",")
    splits = read_splits(wanted, args.corpus, Path(args.downloads), args.case)
    for directory, found in splits.items():
        kaldi_dir.write_data_dir(directory, found)
        print(f"{directory}: {len(found)} utterances of {len({u.speaker for u in found})} speakers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
