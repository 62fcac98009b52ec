#!/usr/bin/env python3
"""Strings of digits from the Free Spoken Digit Dataset, as Kaldi data directories.

A string is made of recordings of one speaker, with short pauses between. The recordings are
divided, not only the strings: no recording of a test or of validation is used in training.
  test_known  recordings 0 to 4 of each digit and speaker (the dataset's own test set)
  valid       recordings 5 to 7
  train       the rest, of all speakers but the new one; each string also at other --speeds, where
              tempo and pitch change: sp1.1-theo is one more speaker
  test_new    all recordings of a speaker who is in none of the others
The audio is left as it is recorded, 8 kHz: stage 2 brings it to 16 kHz. Everything follows from
--seed; the marker .fsdd, written last, says that all four are complete.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from world import Item, sample

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus.derived import at_speed
from espnet_audiollm.corpus.download import fetch
from espnet_audiollm.corpus.prepare import digest, directory_of, made_before, mark_made
from espnet_audiollm.data import audio, kaldi_dir
from espnet_audiollm.progress import progress
from espnet_audiollm.types import Seconds, Utterance

RELEASE = "1.0.10"  # 3,000 recordings of 6 speakers
URL = f"https://github.com/Jakobovski/free-spoken-digit-dataset/archive/v{RELEASE}.tar.gz"
NAME = re.compile(r"(\d)_([a-z]+)_(\d+)")
PAUSES: tuple[Seconds, Seconds] = (0.05, 0.25)
TEST_RECORDINGS = range(0, 5)
VALID_RECORDINGS = range(5, 8)

Pool = dict[int, list[Path]]  # digit: recordings of it by one speaker


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Strings of real spoken digits.")
    parser.add_argument("--corpus", default="", help="directory of recordings/ ('': download)")
    parser.add_argument("--downloads", default="downloads", help="where the download goes")
    parser.add_argument("--num_train", type=int, default=2000, help="strings")
    parser.add_argument("--num_valid", type=int, default=100, help="strings")
    parser.add_argument("--num_test", type=int, default=200, help="strings of each test set")
    parser.add_argument(
        "--speeds", nargs="+", type=float, default=[1.0], help="of each training string"
    )
    parser.add_argument("--new_speaker", default="george", help="the speaker of test_new only")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("output", type=Path, help="where train, valid, test_known, test_new go")
    return parser


def find_recordings(corpus: str, downloads: Path) -> list[Path]:
    """All recordings, sorted; the corpus is downloaded when no directory is given."""
    if not corpus:
        root = fetch(URL, downloads, downloads / "fsdd", f"free-spoken-digit-dataset-{RELEASE}")
    else:
        root = directory_of("fsdd", corpus)
    place = root / "recordings" if (root / "recordings").is_dir() else root
    found = sorted(path for path in place.glob("*.wav") if NAME.fullmatch(path.stem))
    if not found:
        raise ValueError(
            f"--fsdd {corpus or root}: no recording like recordings/7_jackson_32.wav is there; "
            f"give the directory that holds recordings/"
        )
    return found


def pools(recordings: list[Path], takes: Callable[[str, int], bool]) -> dict[str, Pool]:
    """{speaker: {digit: recordings}} of those for which takes(speaker, index) is true."""
    chosen: dict[str, Pool] = defaultdict(lambda: defaultdict(list))
    for path in recordings:
        digit, speaker, index = NAME.fullmatch(path.stem).groups()
        if takes(speaker, int(index)):
            chosen[speaker][int(digit)].append(path)
    return {speaker: dict(pool) for speaker, pool in chosen.items()}


def divide(recordings: list[Path], new_speaker: str) -> dict[str, dict[str, Pool]]:
    """The recordings of each split; every speaker of a split has every digit."""
    speakers = {NAME.fullmatch(path.stem)[2] for path in recordings}
    if new_speaker not in speakers or len(speakers) < 2:
        raise ValueError(
            f"--new_speaker {new_speaker}: the speakers are {', '.join(sorted(speakers))}, and one "
            f"of at least two is to be new"
        )
    held = (*TEST_RECORDINGS, *VALID_RECORDINGS)
    splits = {
        "train": pools(recordings, lambda s, i: s != new_speaker and i not in held),
        "valid": pools(recordings, lambda s, i: s != new_speaker and i in VALID_RECORDINGS),
        "test_known": pools(recordings, lambda s, i: s != new_speaker and i in TEST_RECORDINGS),
        "test_new": pools(recordings, lambda s, i: s == new_speaker),
    }
    lacking = [
        f"{digit} by {speaker} for {split}"
        for split, chosen in splits.items()
        for speaker in sorted(speakers)
        if (speaker == new_speaker) == (split == "test_new")
        for digit in range(10)
        if not chosen.get(speaker, {}).get(digit)
    ]
    if lacking:
        raise ValueError(
            f"{len(lacking)} kinds of recording are missing (first: {lacking[0]}); "
            f"copy the complete dataset, 3,000 recordings, or download it again"
        )
    return splits


def plan(
    split: str, speakers: dict[str, Pool], num: int, seed: int
) -> list[tuple[str, str, Item, list[Path], list[Seconds]]]:
    """(id, speaker, string, its recordings, pauses after all but the last), sorted by id."""
    rng = random.Random(f"{split} {seed}")
    rows = []
    for number in range(num):
        speaker = sorted(speakers)[number % len(speakers)]
        item = sample(rng, train=split in ("train", "valid"))
        digits = list(map(int, item.about))
        recordings = [rng.choice(speakers[speaker][digit]) for digit in digits]
        pauses = [round(rng.uniform(*PAUSES), 3) for _ in digits[1:]]
        rows.append((f"{speaker}-{split}{number:05d}", speaker, item, recordings, pauses))
    return sorted(rows, key=lambda row: row[0])


def join(recordings: list[np.ndarray], pauses: list[Seconds], rate: int) -> np.ndarray:
    """The recordings, each float32 (N,), with silence between them."""
    parts = [recordings[0]]
    for pause, samples in zip(pauses, recordings[1:], strict=True):
        parts += [np.zeros(round(pause * rate), np.float32), samples]
    return np.concatenate(parts)


def prefix_of(speed: float) -> str:
    """Of the ids and speakers at a speed, as Kaldi's."""
    return "" if speed == 1 else f"sp{speed:g}-"


def read_all(recordings: list[Path]) -> tuple[dict[Path, np.ndarray], int]:
    """All samples by path (3,000 recordings: 42 MB), and their common rate in Hz; one ValueError
    for all that cannot be read."""
    samples, rates, bad = {}, {}, []
    for path in progress(recordings, len(recordings), "reading the recordings", "file"):
        try:
            samples[path], found = audio.read_mono(path)
            rates.setdefault(found.rate, path)
        except audio.AudioError as error:
            bad.append(str(error))
    if bad:
        raise ValueError(
            f"{len(bad)} of {len(recordings)} recordings cannot be used; copy them again:\n  "
            + "\n  ".join(bad[:20])
        )
    if len(rates) > 1:
        mixed = ", ".join(f"{rate} Hz ({path})" for rate, path in sorted(rates.items()))
        raise ValueError(f"the recordings have {len(rates)} different rates: {mixed}; use one")
    return samples, next(iter(rates))


def write_split(
    rows: list, samples: dict[Path, np.ndarray], rate: int, output: Path, speeds: Sequence[float]
) -> None:
    """Audio, then the data directory; paths in wav.scp are as `output` is given."""
    utts, answers, category = [], {}, {}
    for prefix, speed in sorted(zip(map(prefix_of, speeds), speeds, strict=True)):
        for row in rows:
            id_, speaker = (prefix + name for name in row[:2])
            item, recordings, pauses = row[2:]
            path = output / "audio" / f"{id_}.wav"
            joined = join([samples[r] for r in recordings], pauses, rate)
            audio.write_audio(path, joined if speed == 1 else at_speed(joined, speed), rate)
            utts.append(Utterance(id_, str(path), speaker, text=item.prompt))
            answers[id_], category[id_] = " | ".join(item.answers), item.category
    utts.sort(key=lambda utt: utt.id)
    kaldi_dir.write_data_dir(output, utts, answers=answers, category=category)


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    numbers = {
        "train": args.num_train,
        "valid": args.num_valid,
        "test_known": args.num_test,
        "test_new": args.num_test,
    }
    if min(numbers.values()) < 1:
        raise ValueError(f"every split needs at least one string, and these are asked: {numbers}")
    if not all(0.5 <= speed <= 2 for speed in args.speeds) or 1 not in args.speeds:
        raise ValueError(f"--speeds {args.speeds}: give 1 and others between 0.5 and 2")
    recordings = find_recordings(args.corpus, Path(args.downloads))
    settings = {
        "recordings": digest(*recordings),
        "numbers": numbers,
        "new_speaker": args.new_speaker,
        "speeds": sorted(set(args.speeds)),
        "seed": args.seed,
    }
    marker = args.output / ".fsdd"
    if made_before(marker, settings):
        return 0
    splits = divide(recordings, args.new_speaker)
    samples, rate = read_all(recordings)
    for split, num in numbers.items():
        shutil.rmtree(args.output / split, ignore_errors=True)
        rows = plan(split, splits[split], num, args.seed)
        speeds = settings["speeds"] if split == "train" else [1.0]
        write_split(rows, samples, rate, args.output / split, speeds)
        print(
            f"{args.output / split}: {num} strings of {len(splits[split])} speakers"
            + (f" at {len(speeds)} speeds" if len(speeds) > 1 else "")
        )
    mark_made(marker, settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
