"""Common Voice's layout, which CoVoST 2 and CVSS build on too.

A release has a directory for each language: {split}.tsv with the columns client_id (a speaker),
path (a clip) and sentence, among others that change from release to release, and clips/, with MP3.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from pathlib import Path

from ..text.normalize import normalize
from ..types import Utterance
from . import prepare as corpus

TEXTS = ("written", "spoken")  # as the sentence is written | lower case, without punctuation


def language_directory(root: Path, lang: str) -> Path:
    """The directory of a language: `root` is the release's, or is it itself."""
    for place in (root / lang, root):
        if (place / "clips").is_dir() and (place == root / lang or root.name == lang):
            return place
    there = sorted(path.parent.name for path in root.glob("*/clips"))
    raise ValueError(
        f"{root} holds no {lang}/clips: give the directory of a release "
        f"(languages here: {', '.join(there) or 'none'})"
    )


def utterances(
    place: Path, split: str, text: str, faults: corpus.Faults, only: Container[str] | None = None
) -> Iterator[tuple[str, Utterance]]:
    """(clip's file name, utterance) of the rows of {split}.tsv, of the clips in `only`, in the
    table's order."""
    table = corpus.existing(place, f"{split}.tsv")
    for row in corpus.read_columns(table, ("client_id", "path", "sentence"), faults):
        name = row["path"] if Path(row["path"]).suffix else f"{row['path']}.mp3"
        if only is not None and name not in only:
            continue
        if "/" in name or not row["client_id"]:
            faults.add(table, "rows without a client_id, or with a path for a file name", name)
            continue
        sentence = corpus.one_line(unquote(row["sentence"]))
        sentence = normalize(sentence) if text == "spoken" else sentence
        id_ = name.rpartition(".")[0]
        if not sentence:
            faults.leave_out(table, corpus.EMPTY, id_)
        elif corpus.has_audio(place / "clips" / name, id_, table, faults):
            yield name, Utterance(id_, f"{place}/clips/{name}", row["client_id"], text=sentence)


def translated(
    place: Path, extra: Mapping[str, Mapping[str, str]], text: str, faults: corpus.Faults
) -> Iterator[corpus.Entry]:
    """The clips that others have translated, {clip's file name: its lines in further tables}, with
    these; a clip that the release lacks is an error."""
    missing = set(extra)
    for name, utt in utterances(place, "validated", text, faults, only=extra):
        missing.discard(name)
        yield corpus.Entry(utt, extra[name])
    for name in sorted(missing):
        faults.lacks(place, "translations whose clip is not there", name)


def unquote(field: str) -> str:
    """A field that was written as CSV does when it holds quotation marks, without these marks;
    some releases have them, and others not: '"He said ""no""."' is 'He said "no".'."""
    if len(field) < 2 or not (field[0] == field[-1] == '"'):
        return field
    inner = field[1:-1]
    return field if '"' in inner.replace('""', "") else inner.replace('""', '"')
