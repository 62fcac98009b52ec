"""Common Voice's layout, which CoVoST 2 and CVSS build on too.

A release has a directory for each language: {split}.tsv with the columns client_id (a speaker),
path (a clip) and sentence, among others that change from release to release, and clips/, with MP3.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..text.languages import KEPT, Language, by_code
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


def utterances(place: Path, split: str, text: str, faults: corpus.Faults) -> Iterator[Utterance]:
    """The utterances of {split}.tsv of a language's directory, in the table's order."""
    table = corpus.existing(place, f"{split}.tsv")
    for name, row in _rows(table, faults):
        if utt := _utterance(table, name, row, text, faults):
            yield utt


def translated(
    place: Path, extra: Mapping[str, Mapping[str, str]], text: str, faults: corpus.Faults
) -> Iterator[corpus.Entry]:
    """The clips that others have translated, {clip's file name: its lines in further tables}, with
    these; a clip that the release lacks is an error."""
    table, missing = corpus.existing(place, "validated.tsv"), set(extra)
    for name, row in _rows(table, faults):
        if name not in extra:
            continue
        missing.discard(name)
        if utt := _utterance(table, name, row, text, faults):
            yield corpus.Entry(utt, extra[name])
    for name in sorted(missing):
        faults.lacks(place, "translations whose clip is not there", name)


def _rows(table: Path, faults: corpus.Faults) -> Iterator[tuple[str, dict[str, str]]]:
    """(clip's file name, row) of a table."""
    for row in corpus.read_columns(table, ("client_id", "path", "sentence"), faults):
        yield row["path"] if Path(row["path"]).suffix else f"{row['path']}.mp3", row


def _utterance(
    table: Path, name: str, row: Mapping[str, str], text: str, faults: corpus.Faults
) -> Utterance | None:
    """The utterance of a row; None, with the reason in `faults`, where it has no word or clip.
    Releases are published with clips of 0 bytes."""
    if "/" in name or not row["client_id"]:
        faults.add(table, "rows without a client_id, or with a path for a file name", name)
        return None
    place, id_ = table.parent, name.rpartition(".")[0]
    clip = place / "clips" / name
    sentence = corpus.one_line(unquote(row["sentence"]))
    sentence = spoken(sentence, place.name) if text == "spoken" else sentence
    if not sentence:
        faults.leave_out(table, corpus.EMPTY, id_)
    elif corpus.has_audio(clip, id_, table, faults, published_empty=True):
        return Utterance(id_, str(clip), row["client_id"], text=sentence)
    return None


def spoken(sentence: str, lang: str) -> str:
    """Lower case, without punctuation, by the rules of the language `lang`: its words stay whole,
    and are no more than they were written ("l'homme" is one)."""
    language = by_code(lang) or Language(lang, lang)
    whole = language.whole_words(unicodedata.normalize("NFKC", sentence))
    return normalize(whole).replace(KEPT, "'")


def unquote(field: str) -> str:
    """A field that was written as CSV does when it holds quotation marks, without these marks;
    some releases have them, and others not: '"He said ""no""."' is 'He said "no".'."""
    if len(field) < 2 or not (field[0] == field[-1] == '"'):
        return field
    inner = field[1:-1]
    return field if '"' in inner.replace('""', "") else inner.replace('""', '"')
