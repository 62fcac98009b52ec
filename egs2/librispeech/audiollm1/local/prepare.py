#!/usr/bin/env python3
"""LibriSpeech as Kaldi data directories: parts in the corpus's own layout, or downloaded.

The layout is {part}/{speaker}/{chapter}/{speaker}-{chapter}.trans.txt beside the FLAC files that
its lines name. All that is missing is reported at once, before anything is written.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus import prepare as corpus
from espnet_audiollm.corpus.download import fetch
from espnet_audiollm.data import kaldi_dir
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


PUBLISHED = {  # utterances
    "dev-clean": 2_703,
    "dev-other": 2_864,
    "test-clean": 2_620,
    "test-other": 2_939,
    "train-clean-100": 28_539,
    "train-clean-360": 104_014,
    "train-other-500": 148_688,
}


def get_parser() -> argparse.ArgumentParser:
    parser = corpus.get_parser(__doc__, "the parts ('': download them)")
    parser.add_argument(
        "--case", choices=("lower", "upper"), default="lower", help="of transcripts"
    )
    parser.add_argument(
        "splits", nargs="+", metavar="DIR=PART[,PART]", help="data/train=train-clean-100 ..."
    )
    return parser


def fetch_part(part: str, downloads: Path) -> Path:
    """The corpus's directory under `downloads`, after downloading `part` to it."""
    root = downloads / "LibriSpeech"
    if not (root / part).is_dir() and part not in MD5:
        raise ValueError(f"{part} is no part of LibriSpeech: there are {', '.join(MD5)}")
    fetch(URL.format(part), downloads, root / part, f"LibriSpeech/{part}", MD5.get(part))
    return root


def entries(root: Path, part: str, case: str, faults: corpus.Faults) -> Iterator[corpus.Entry]:
    """The utterances of a part; errors go to `faults`."""
    found = False
    for chapter in sorted((root / part).glob("*/*")):
        if not chapter.is_dir():
            continue
        transcripts = _transcripts(chapter, faults)
        if transcripts is None:
            continue
        speaker = chapter.parent.name
        audio = sorted((path.stem, str(path)) for path in chapter.glob("*.flac"))
        for id_, text, path in corpus.join(transcripts, audio, root / part, faults):
            found = True
            text = text.lower() if case == "lower" else text.upper()
            yield corpus.Entry(Utterance(id_, path, speaker, text=text))
    if not found:
        faults.add(root / part, "parts without a single utterance", part)


def _transcripts(chapter: Path, faults: corpus.Faults) -> list[kaldi_dir.Row] | None:
    """(id, transcript) of a chapter; None, with the reason in `faults`, when it cannot be read."""
    path = chapter / f"{chapter.parent.name}-{chapter.name}.trans.txt"
    try:
        return list(kaldi_dir.read_table(path))
    except FileNotFoundError:
        faults.add(chapter.parents[1], "chapters without .trans.txt", str(path))
    except ValueError as error:
        faults.add(chapter.parents[1], "transcript files with faults", str(error).split(";")[0])
    return None


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    wanted = {
        directory: parts.split(",")
        for directory, parts in corpus.wanted_splits(args.splits).items()
    }
    given = corpus.directory_of("librispeech", args.corpus) if args.corpus else None
    faults = corpus.Faults("unpack the archive of this part again", args.subset)
    splits = {}
    for directory, parts in wanted.items():
        found = []
        for part in parts:
            root = given or fetch_part(part, args.downloads)
            if (root / part).is_dir():
                found.append(entries(root, part, args.case, faults))
            else:
                faults.add(root, "parts missing", part)
        splits[directory] = itertools.chain(*found)
    published = {
        (directory,): sum(PUBLISHED[part] for part in parts)
        for directory, parts in wanted.items()
        if set(parts) <= PUBLISHED.keys()
    }
    corpus.write_splits(splits, faults, published)
    return 0


if __name__ == "__main__":
    sys.exit(main())
