#!/usr/bin/env python3
"""A language of VoxPopuli's transcribed speech as Kaldi data directories.

The layout is what the corpus's own scripts leave (python -m voxpopuli.get_asr_data, of
github.com/facebookresearch/voxpopuli): transcribed_data/{lang}/asr_{train,dev,test}.tsv with the
columns id, raw_text, normalized_text, speaker_id, split, gender, and the segments at
transcribed_data/{lang}/{year}/{id}.ogg, where an id begins with its year. Where the tables are not
there, asr_{lang}.tsv.gz, from which they were made, does: "|" between its columns, and fields in
quotation marks as csv writes them, which the tables' fields are not.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus import by_language
from espnet_audiollm.corpus import prepare as corpus
from espnet_audiollm.types import Utterance

WHERE = "VoxPopuli is had by its own scripts, https://github.com/facebookresearch/voxpopuli"
LANGUAGES = "en de fr es pl it ro hu cs nl fi hr sk sl et lt".split()
TEXTS = {"normalized": "normalized_text", "raw": "raw_text"}


def get_parser() -> argparse.ArgumentParser:
    return by_language.get_parser(__doc__, "transcribed_data", TEXTS, LANGUAGES)


def rows(place: Path, split: str, text: str, faults: corpus.Faults) -> Iterator[dict[str, str]]:
    """Rows of a split with at least id, speaker_id, and a text under the name `text`."""
    names = (f"asr_{split}.tsv", f"asr_{split}.tsv.gz", f"asr_{place.name}.tsv.gz")
    table = corpus.existing(place, *names)
    if table.name != names[-1]:
        yield from corpus.read_columns(table, ("id", "speaker_id", text), faults)
        return
    spoken = {"normalized_text": "normed_text", "raw_text": "original_text"}[text]
    columns = ("session_id", "id_", "speaker_id", "split", spoken)
    for row in annotations(table, columns, faults):
        if row["split"] == split:
            yield row | {"id": f"{row['session_id']}-{row['id_']}", text: row[spoken]}


def annotations(
    table: Path, columns: tuple[str, ...], faults: corpus.Faults
) -> Iterator[dict[str, str]]:
    """The rows of asr_{lang}.tsv.gz as the corpus's own scripts read them: by csv, which undoes
    quotation marks. Raises ValueError where the header lacks one of the `columns`."""
    lines = (line + "\n" for _, line in corpus.read_lines(table, faults))
    reader = csv.DictReader(lines, delimiter="|")
    try:
        header = reader.fieldnames or ()
        if lacking := [name for name in columns if name not in header]:
            raise ValueError(f"{table}: the first line names no column {', '.join(lacking)}")
        for row in reader:
            if None in row or any(row[name] is None for name in columns):
                what = f"lines that have not {len(header)} fields"
                faults.add(table, what, f"line {reader.line_num}")
            else:
                yield row
    except csv.Error as error:
        raise ValueError(
            f"{table}, after line {reader.line_num}: no table that csv can read ({error}); is a "
            f"quotation mark not closed? Get it again"
        ) from error


def entries(place: Path, text: str, split: str, faults: corpus.Faults) -> Iterator[corpus.Entry]:
    """The utterances of a split; `text`: the column of the transcripts."""
    for row in rows(place, split, text, faults):
        id_, words = row["id"], corpus.one_line(row[text])
        path = place / id_[:4] / f"{id_}.ogg"
        if not id_[:4].isdigit() or "/" in id_:
            faults.add(place, "ids that do not begin with a year", id_)
        elif not words:
            faults.leave_out(place, corpus.EMPTY, id_)
        elif corpus.has_audio(path, id_, place, faults):
            speaker = "_".join(row["speaker_id"].split()) or "unknown"
            yield corpus.Entry(Utterance(id_, str(path), speaker, text=words))


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    root = corpus.directory_of("voxpopuli", args.corpus, WHERE)
    place = root / "transcribed_data" / args.lang
    if not place.is_dir():
        raise ValueError(f"{place} is missing: get the language first; {WHERE}")
    step = f"run python -m voxpopuli.get_asr_data --root {root} --lang {args.lang} again"
    by_language.prepare(args, partial(entries, place, TEXTS[args.text]), step)
    return 0


if __name__ == "__main__":
    sys.exit(main())
