#!/usr/bin/env python3
"""Say a split of the small world: wav files and a Kaldi data directory.

Everything follows from --seed: what is said, by which voice, how fast and how high. The directory
is made aside and renamed when it is complete; one that was made with the same options is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

from dialogues import sample_pair
from world import Item, sample

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus.tts import SpeechJob, Voice, synthesize
from espnet_audiollm.corpus.voices import any_voice, speaker_of
from espnet_audiollm.progress import progress
from espnet_audiollm.types import SAMPLE_RATE

PAIRS = 0.06  # share of training's utterances that have two sentences
MOST_SAID = 2  # a test text is said at most so often, by another voice


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", required=True, choices=("train", "valid", "test"))
    parser.add_argument("--num", type=int, required=True, help="utterances")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nj", type=int, default=2, help="processes")
    parser.add_argument("--voice", help="one for all, e.g. en-us+edward (default: one for each)")
    parser.add_argument("--speed", type=int, default=160, help="of --voice, words per minute")
    parser.add_argument("output", type=Path, help="data directory to make")
    return parser


def plan(
    split: str, num: int, seed: int, only: Voice | None = None
) -> list[tuple[str, Item, Voice]]:
    """(utterance id, what is said, by which voice) of the split, sorted by id. What is said does
    not depend on `only`, the voice of all."""
    rng = random.Random(f"{split} {seed}")
    said: Counter[str] = Counter()
    rows = []
    while len(rows) < num:
        item = any_item(rng, split)
        if split == "test" and said[item.prompt] >= MOST_SAID:
            continue
        said[item.prompt] += 1
        drawn = any_voice(rng, test=split == "test")
        voice = only or drawn
        rows.append((f"{speaker_of(voice)}-{split}{len(rows):05d}", item, voice))
    return sorted(rows)


def any_item(rng: random.Random, split: str) -> Item:
    if split != "test" and rng.random() < PAIRS:
        return sample_pair(rng)
    return sample(rng, train=split != "test")


def write_table(path: Path, rows: list[tuple[str, str]]) -> None:
    path.write_text("".join(f"{key} {value}\n" for key, value in rows), encoding="utf-8")


def sentences(item: Item) -> str:
    """What the synthesiser is given: a pause between sentences."""
    return ". ".join(item.sentences or (item.prompt,))


def write_split(
    rows: list[tuple[str, Item, Voice]], output: Path, nj: int, settings: dict
) -> float:
    """Make the data directory; the answer is the audio's length in seconds."""
    aside = output.with_name(f".{output.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "audio").mkdir(parents=True)
    jobs = [
        SpeechJob(sentences(item), v, str(aside / "audio" / f"{utt}.wav")) for utt, item, v in rows
    ]
    spoken = progress(synthesize(jobs, nj), total=len(jobs), what=f"speaking {settings['split']}")
    num_samples = sum(count for _, count in spoken)
    place = output.resolve() / "audio"  # where the audio will be once the directory is renamed
    write_table(aside / "wav.scp", [(utt, f"{place}/{utt}.wav") for utt, _, _ in rows])
    write_table(aside / "text", [(utt, item.prompt) for utt, item, _ in rows])
    write_table(aside / "utt2spk", [(utt, speaker_of(v)) for utt, _, v in rows])
    write_table(aside / "answers", [(utt, " | ".join(item.answers)) for utt, item, _ in rows])
    write_table(aside / "category", [(utt, item.category) for utt, item, _ in rows])
    shutil.rmtree(output, ignore_errors=True)  # incomplete: see main
    (aside / ".done").write_text(json.dumps(settings), encoding="utf-8")
    os.replace(aside, output)
    return num_samples / SAMPLE_RATE


def is_complete(data: Path, settings: dict) -> bool:
    """Was this very split finished, and does its audio still lie where wav.scp says?"""
    done = data / ".done"
    if not done.exists() or done.read_text(encoding="utf-8") != json.dumps(settings):
        return False
    with open(data / "wav.scp", encoding="utf-8") as table:
        return Path(table.readline().split(maxsplit=1)[1].rstrip("\n")).exists()


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    if args.num < 1:
        raise ValueError(f"--num is {args.num}: at least one utterance is needed")
    settings = {"split": args.split, "num": args.num, "seed": args.seed}
    voice = None
    if args.voice:
        voice = Voice(args.voice, args.speed)
        settings |= {"voice": args.voice, "speed": args.speed}
    if is_complete(args.output, settings):
        print(f"{args.output}: made already, skipped", file=sys.stderr)
        return 0
    rows = plan(args.split, args.num, args.seed, voice)
    seconds = write_split(rows, args.output, args.nj, settings)
    print(
        f"{args.output}: {len(rows)} utterances, {seconds / 3600:.2f} hours, "
        f"mean {seconds / len(rows):.2f} s",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
