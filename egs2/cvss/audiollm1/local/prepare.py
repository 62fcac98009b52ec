#!/usr/bin/env python3
"""CVSS, speech-to-speech translation into English, as Kaldi data directories.

The archive of a language, cvss_{c,t}_{lang}_en_v1.0.tar.gz, is downloaded here. It holds
{train,dev,test}.tsv without a header, a clip's file name and the English text as it is spoken, and
{train,dev,test}/{clip}.wav, such as train/common_voice_es_1.mp3.wav, 24 kHz. The clips and their
sentences are Common Voice's, {lang}/validated.tsv and {lang}/clips, of the release of 2019-12-10
(version 4). Besides Kaldi's tables each directory gets `translation` and `translation_audio`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus import common_voice
from espnet_audiollm.corpus import prepare as corpus
from espnet_audiollm.corpus.download import fetch

URL = "https://storage.googleapis.com/cvss/cvss_{version}_v1.0/{name}.tar.gz"
WHERE = "the clips are Common Voice's, https://commonvoice.mozilla.org/datasets"
LANGUAGES = "ar ca cy de et es fa fr id it ja lv mn nl pt ru sl sv ta tr zh".split()
COMMON_VOICE = {"sv": "sv-SE", "zh": "zh-CN"}  # codes that differ there
VERSIONS = ("c", "t")  # one voice for all | each translation in the voice of its source
SPLITS = {"train": "train", "dev": "valid", "test": "test"}


def get_parser() -> argparse.ArgumentParser:
    parser = corpus.get_parser(__doc__, "cvss_*_en_v1.0, or one of these ('': download)")
    parser.add_argument("--commonvoice", default="", help="directory of the Common Voice release")
    parser.add_argument("--lang", default="es", help="language of the clips")
    parser.add_argument("--version", default="c", help="c: one voice for all, t: transferred ones")
    parser.add_argument("--text", choices=common_voice.TEXTS, default="written")
    parser.add_argument("output", type=Path, help="where train, valid and test go")
    return parser


def directory_of(root: Path, version: str, lang: str) -> Path:
    """The directory of a language's translations: below `root`, or it itself."""
    name = f"cvss_{version}_{lang}_en_v1.0"
    if (root / name / "train.tsv").is_file():
        return root / name
    other = root.name.startswith("cvss_") and root.name != name
    if (root / "train.tsv").is_file() and not other:
        return root
    there = sorted(path.parent.name for path in root.glob("cvss_*/train.tsv"))
    if other:
        there = [root.name]
    raise ValueError(
        f"--cvss {root} holds no {name}: give the directory that its archive was unpacked to, or "
        f"another --lang or --version (here: {', '.join(there) or 'none'})"
    )


def translations(place: Path, split: str, faults: corpus.Faults) -> dict[str, dict[str, str]]:
    """{clip: its lines in the tables} of a split."""
    found: dict[str, dict[str, str]] = {}
    table = corpus.existing(place, f"{split}.tsv")
    for number, line in corpus.read_lines(table, faults):
        clip, tab, text = line.partition("\t")
        text = corpus.one_line(text)
        path = place / split / f"{clip}.wav"
        if not tab or "/" in clip or not clip.endswith(".mp3"):
            faults.add(table, "lines that are no clip.mp3, tab, text", f"line {number}")
        elif clip in found:
            faults.add(table, corpus.TWICE, clip)
        elif not text:
            faults.leave_out(table, "clips without a translation", clip)
        elif corpus.has_audio(path, clip, table, faults):
            found[clip] = {"translation": text, "translation_audio": str(path)}
    return found


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    if args.lang not in LANGUAGES or args.version not in VERSIONS:
        raise ValueError(
            f"CVSS has no --lang {args.lang} --version {args.version}; it has "
            f"{', '.join(LANGUAGES)}, each as version c and t"
        )
    release = corpus.directory_of("commonvoice", args.commonvoice, WHERE)
    clips = common_voice.language_directory(release, COMMON_VOICE.get(args.lang, args.lang))
    if args.corpus:
        root = directory_of(corpus.directory_of("cvss", args.corpus), args.version, args.lang)
    else:
        name = f"cvss_{args.version}_{args.lang}_en_v1.0"
        url = URL.format(version=args.version, name=name)
        root = fetch(url, args.downloads, args.downloads / name, inside="").resolve()
    faults = corpus.Faults("get the files again, of Common Voice its version 4", args.subset)
    splits = {
        str(args.output / name): common_voice.translated(
            clips, translations(root, split, faults), args.text, faults
        )
        for split, name in SPLITS.items()
    }
    corpus.write_splits(splits, faults)
    return 0


if __name__ == "__main__":
    sys.exit(main())
