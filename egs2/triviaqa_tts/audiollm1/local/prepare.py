#!/usr/bin/env python3
"""TriviaQA's questions, spoken by espeak-ng, as Kaldi data directories.

The layout is triviaqa-unfiltered/unfiltered-web-{train,dev}.json, or, of triviaqa-rc,
qa/{wikipedia,web}-{train,dev}.json, each {"Data": [{"QuestionId", "Question", "Answer": {"Value",
"Aliases", ...}, ...}], ...}. The test set is dev, whose answers are published; validation is drawn
from train. The questions are no part of this project: given, or downloaded. Files of 600 MB are
read object by object.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus import prepare as corpus
from espnet_audiollm.corpus import questions
from espnet_audiollm.corpus.download import fetch
from espnet_audiollm.corpus.question_sets import Questions, QuestionSet, prepare

ARCHIVE = "triviaqa-unfiltered"
URL = f"https://nlp.cs.washington.edu/triviaqa/data/{ARCHIVE}.tar.gz"
PUBLISHED = {  # part: train, dev
    "unfiltered-web": (87_622, 11_313),
    "wikipedia": (61_888, 7_993),
    "web": (76_496, 9_951),
}


def get_parser() -> argparse.ArgumentParser:
    parser = corpus.get_parser(__doc__, "triviaqa-unfiltered or qa ('': download the former)")
    parser.add_argument("--part", choices=PUBLISHED, default="unfiltered-web")
    questions.add_options(parser, train=10_000, valid=500, test=2_000)
    return parser


def locate(root: Path, part: str, split: str) -> Path:
    name = f"{part}-{split}.json"
    return corpus.existing(root, name, f"triviaqa-unfiltered/{name}", f"qa/{name}")


def take(row: dict) -> tuple[str, str, list[str]]:
    answer = row["Answer"]
    return row["QuestionId"], row["Question"], [answer["Value"], *answer["Aliases"]]


def deal(args: argparse.Namespace, found: dict[str, Questions]) -> dict[str, Questions]:
    """Validation is drawn from train, and taken out of it; dev is the test set."""
    valid = {each.id: each for each in questions.draw(found["train"], args.num_valid, args.seed)}
    train = {id_: each for id_, each in found["train"].items() if id_ not in valid}
    return {"train": train, "valid": valid, "test": found["dev"]}


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    if args.num_valid < 1:
        raise ValueError(
            f"--num_valid {args.num_valid}: the questions for validation are taken out of those to "
            f"train on, so all of them cannot be; give how many, 1 or more"
        )
    if args.corpus:
        root = corpus.directory_of("triviaqa", args.corpus)
    else:
        root = fetch(URL, args.downloads, args.downloads / ARCHIVE, ARCHIVE)
    paths = {split: locate(root, args.part, split) for split in ("train", "dev")}
    published = dict(zip(paths, PUBLISHED[args.part], strict=True))
    form, step = "QuestionId, Question or Answer", "unpack the archive again"
    source = QuestionSet("triviaqa", paths, published, take, form, step, key="Data")
    prepare(args, source, partial(deal, args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
