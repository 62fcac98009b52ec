#!/usr/bin/env python3
"""CMU's AN4 (the census database) as Kaldi data directories.

The layout is etc/an4_{train,test}.fileids ("an4_clstk/fash/an251-fash-b", a path under wav/
without its suffix), etc/an4_{train,test}.transcription ("<s> WORDS </s> (an251-fash-b)") and wav/.
Recordings are NIST SPHERE files (.sph), which are read as they are, or, in the distribution of bare
samples (.raw), 16 bits at 16 kHz in big-endian order, which are written out as FLAC, each once. The
little-endian archive has the same names: it is refused. One training speaker in ten is for
validation.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus import prepare as corpus
from espnet_audiollm.corpus.download import fetch
from espnet_audiollm.data import audio
from espnet_audiollm.data.kaldi_dir import Row
from espnet_audiollm.types import Utterance

URL = "http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz"
PUBLISHED = {"train": 948, "test": 130}
LINE = re.compile(r"(?:<s>)?(.*?)(?:</s>)?\s*\(([^()\s]+)\)")
FILE_ID = re.compile(r"\w+/(\w+)/([\w-]+)")  # which microphone and set / speaker / id
VALID_EVERY = 10  # speakers
LITTLE_ENDIAN = "recordings whose samples are in little-endian order"
STEPS = {LITTLE_ENDIAN: "give the directory of an4_sphere or an4_raw.bigendian"}


def get_parser() -> argparse.ArgumentParser:
    parser = corpus.get_parser(__doc__, "etc and wav ('': download)")
    parser.add_argument("output", type=Path, help="where train, valid and test go")
    return parser


def transcripts(path: Path, faults: corpus.Faults) -> Iterator[Row]:
    """(id, words in lower case) of a .transcription file."""
    for number, line in corpus.read_lines(path, faults):
        if match := LINE.fullmatch(line.strip()):
            yield match[2], corpus.one_line(match[1]).lower()
        else:
            faults.add(path, "lines that do not end in (ID)", f"line {number}")


def recordings(root: Path, path: Path, faults: corpus.Faults) -> Iterator[Row]:
    """(id, path) of the recordings that a .fileids file names and that are there."""
    for number, line in corpus.read_lines(path, faults):
        if not (match := FILE_ID.fullmatch(line.strip())):
            faults.add(path, "lines that are not SET/SPEAKER/ID", f"line {number}")
            continue
        for suffix in (".sph", ".raw"):
            if (place := root / "wav" / f"{line.strip()}{suffix}").is_file():
                yield match[2], str(place)


def utterances(
    root: Path, part: str, converted: Path, faults: corpus.Faults
) -> Iterator[Utterance]:
    """The utterances of a part; bare samples become files in `converted`."""
    texts = transcripts(corpus.existing(root, f"etc/an4_{part}.transcription"), faults)
    paths = recordings(root, corpus.existing(root, f"etc/an4_{part}.fileids"), faults)
    where = root / "etc" / f"an4_{part}"
    for id_, text, path in corpus.join(sorted(texts), sorted(paths), where, faults):
        speaker = Path(path).parent.name
        if path.endswith(".raw"):
            path = convert(Path(path), converted / f"{id_}.flac", where, faults)
        yield Utterance(f"{speaker}-{id_}", path, speaker, text=text)


def convert(raw: Path, flac: Path, where: Path, faults: corpus.Faults) -> str:
    """Write bare samples (16 bits, big-endian, 16 kHz) as FLAC, unless one made from this file is
    there; the answer is its path. Little-endian samples are an error, under `where`."""
    comment = corpus.digest(raw)
    if corpus.has_comment(flac, comment):
        return str(flac)
    data = raw.read_bytes()
    if 2 * roughness(data, "<i2") < roughness(data, ">i2"):
        faults.add(where, LITTLE_ENDIAN, str(raw))
    else:
        audio.write_audio(flac, np.frombuffer(data, ">i2") / 32768, comment=comment)
    return str(flac)


def roughness(data: bytes, order: str) -> int:
    """The sum of the differences of neighbouring samples: in the wrong byte order, speech is noise,
    whose neighbours differ far more."""
    samples = np.frombuffer(data, order).astype(np.int64)
    return int(np.abs(np.diff(samples)).sum())


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    if args.corpus:
        root = corpus.directory_of("an4", args.corpus)
    else:
        root = fetch(URL, args.downloads, args.downloads / "an4", "an4")
    faults = corpus.Faults("unpack the archive again", args.subset, STEPS)
    found = {
        part: list(utterances(root, part, args.output / "audio" / part, faults))
        for part in PUBLISHED
    }
    held = set(sorted({utt.speaker for utt in found["train"]})[::VALID_EVERY])
    train, valid, test = (str(args.output / name) for name in ("train", "valid", "test"))
    splits = {
        train: (corpus.Entry(utt) for utt in found["train"] if utt.speaker not in held),
        valid: (corpus.Entry(utt) for utt in found["train"] if utt.speaker in held),
        test: (corpus.Entry(utt) for utt in found["test"]),
    }
    published = {(train, valid): PUBLISHED["train"], (test,): PUBLISHED["test"]}
    corpus.write_splits(splits, faults, published)
    return 0


if __name__ == "__main__":
    sys.exit(main())
