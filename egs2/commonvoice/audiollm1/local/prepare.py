#!/usr/bin/env python3
"""A language of Common Voice as Kaldi data directories.

The layout is {lang}/{train,dev,test,validated,...}.tsv beside {lang}/clips/*.mp3. A release is had
from Mozilla after its terms are accepted, so nothing is downloaded here. Its counts are published
as JSON (github.com/common-voice/cv-dataset, datasets/**/cv-corpus-*.json): --stats compares.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus import by_language, common_voice
from espnet_audiollm.corpus import prepare as corpus

WHERE = "Common Voice is had from its site, https://commonvoice.mozilla.org/datasets"


def get_parser() -> argparse.ArgumentParser:
    parser = by_language.get_parser(__doc__, "the languages of a release", common_voice.TEXTS)
    parser.add_argument("--stats", default="", help="the release's JSON of counts")
    return parser


def published(stats: str, lang: str) -> dict[str, int]:
    """{table: number of clips} of a language; {} without statistics."""
    if not stats:
        return {}
    try:
        return json.loads(Path(stats).read_text(encoding="utf-8"))["locales"][lang]["buckets"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"--stats {stats} has no counts of the language {lang}") from error


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    root = corpus.directory_of("commonvoice", args.corpus, WHERE)
    place = common_voice.language_directory(root, args.lang)

    def entries(table: str, faults: corpus.Faults) -> Iterator[corpus.Entry]:
        for utt in common_voice.utterances(place, table, args.text, faults):
            yield corpus.Entry(utt)

    counts = published(args.stats, args.lang)
    by_language.prepare(args, entries, "unpack the release again", counts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
