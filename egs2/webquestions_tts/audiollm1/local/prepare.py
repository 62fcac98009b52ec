#!/usr/bin/env python3
"""WebQuestions, spoken by espeak-ng, as Kaldi data directories.

The questions are {trainmodel,val,test}.json of github.com/brmson/dataset-factoid-webquestions
(main/): lists of {"qId", "qText", "answers"}. They are no part of this project: given, or
downloaded and compared with the checksums here.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus import prepare as corpus
from espnet_audiollm.corpus import questions
from espnet_audiollm.corpus.download import download
from espnet_audiollm.corpus.question_sets import QuestionSet, prepare

URL = "https://raw.githubusercontent.com/brmson/dataset-factoid-webquestions/master/main/{}.json"
FILES = {"train": "trainmodel", "valid": "val", "test": "test"}
MD5 = {
    "trainmodel": "779ac5d627cf6979c12212c731c8a453",
    "val": "141f8a7c3af14e93deb6edc8ca126185",
    "test": "01ea53fad5d6357c96e628c0865b5577",
}
PUBLISHED = {"trainmodel": 2_834, "val": 755, "test": 2_032}


def get_parser() -> argparse.ArgumentParser:
    parser = corpus.get_parser(__doc__, "trainmodel.json, val.json, test.json ('': download)")
    questions.add_options(parser, train=0, valid=0, test=0)
    return parser


def fetch(downloads: Path) -> Path:
    """The directory of the questions under `downloads`."""
    root = downloads / "webquestions"
    for name, md5 in MD5.items():
        download(URL.format(name), root / f"{name}.json", md5)
    return root


def take(row: dict) -> tuple[str, str, list[str]]:
    return row["qId"], row["qText"], list(row["answers"])


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    if args.corpus:
        root = corpus.directory_of("webquestions", args.corpus)
    else:
        root = fetch(args.downloads)
    paths = {split: corpus.existing(root, f"{name}.json") for split, name in FILES.items()}
    published = {split: PUBLISHED[name] for split, name in FILES.items()}
    form, step = "qId, qText or answers", "download the file again"
    prepare(args, QuestionSet("webquestions", paths, published, take, form, step))
    return 0


if __name__ == "__main__":
    sys.exit(main())
