#!/usr/bin/env python3
"""Say the small world's conversation set: wav files and JSON lines (data/dialogues.py).

Four categories, as many conversations of each: `translation` and `summary` of what is said next,
`rare_word` (a place whose name no recogniser can know, named in the turn before), and `switching`
between text and audio from turn to turn. Every voice is a test voice; every conversation has a
combination that no training has. The directory is made aside and renamed when it is complete.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
from pathlib import Path

from dialogues import Dialogue, chain, sample_dialogue
from synthesize import sentences
from world import Item, is_train, sample

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus.tts import SpeechJob, Voice, synthesize
from espnet_audiollm.corpus.voices import any_voice
from espnet_audiollm.progress import progress

CATEGORIES = ("translation", "summary", "rare_word", "switching")
NAME = "abilities.jsonl"
TEXT, AUDIO = False, True
PATTERNS = ((AUDIO, TEXT), (TEXT, AUDIO), (AUDIO, AUDIO), (AUDIO, TEXT, AUDIO))  # of switching


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, required=True, help="conversations of each category")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nj", type=int, default=2, help="processes")
    parser.add_argument("output", type=Path, help=f"directory to make, with {NAME}")
    return parser


def plan(num: int, seed: int) -> list[tuple[dict, list[SpeechJob]]]:
    """Every line of the set, and what is to be spoken for it (paths relative to the set)."""
    rng = random.Random(f"conversations {seed}")
    words = spoken_words()
    lines = []
    for category in CATEGORIES:
        for number in range(num):
            pattern = PATTERNS[number % len(PATTERNS)]
            if category == "switching":
                turns = switching(rng, pattern, words)
            else:
                turns, pattern = sample_dialogue(rng, False, category), (TEXT, AUDIO)
            lines.append(line(f"{category}-{number:04d}", category, turns, pattern, voice(rng)))
    return lines


def voice(rng: random.Random) -> Voice:
    return any_voice(rng, test=True)


def spoken_words() -> set[str]:
    """The recogniser's training words: spoken turns of conversations have no other words."""
    rng = random.Random(0)
    return {word for _ in range(4000) for word in sample(rng, train=True).prompt.split()}


def switching(rng: random.Random, pattern: tuple[bool, ...], words: set[str]) -> Dialogue:
    """A chain of turns that cannot be answered without those before; some turn is held out."""
    while True:
        turns = chain(rng, sample(rng, train=False), len(pattern))
        if turns is None or all(map(is_train, turns[1:])):
            continue
        spoken = [turn for turn, is_spoken in zip(turns, pattern, strict=True) if is_spoken]
        if all(words.issuperset(turn.prompt.split()) for turn in spoken):
            return turns


def line(
    id_: str, category: str, turns: list[Item], pattern: tuple[bool, ...], said_by: Voice
) -> tuple[dict, list[SpeechJob]]:
    """Its own answers are left to the system that is asked, but for what only says "go on"."""
    written, jobs = [], []
    for number, (turn, is_spoken) in enumerate(zip(turns, pattern, strict=True), 1):
        user = {"role": "user", "text": turn.prompt}
        if is_spoken:
            user["audio"] = f"audio/{id_}-{number}.wav"
            jobs.append(SpeechJob(sentences(turn), said_by, user["audio"]))
        written.append(user)
        own = {"text": turn.response} if turn.category == "request" else {}
        written.append({"role": "assistant", **own})
    expected = list(turns[-1].answers)
    return {"id": id_, "category": category, "turns": written[:-1], "expected": expected}, jobs


def write_set(lines: list[tuple[dict, list[SpeechJob]]], output: Path, nj: int, done: str) -> None:
    aside = output.with_name(f".{output.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "audio").mkdir(parents=True)
    jobs = [
        SpeechJob(job.text, job.voice, str(aside / job.path)) for _, some in lines for job in some
    ]
    for _ in progress(synthesize(jobs, nj), total=len(jobs), what="speaking conversations"):
        pass
    text = "".join(json.dumps(row) + "\n" for row, _ in lines)
    (aside / NAME).write_text(text, encoding="utf-8")
    shutil.rmtree(output, ignore_errors=True)  # incomplete: see main
    (aside / ".done").write_text(done, encoding="utf-8")
    os.replace(aside, output)


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    if args.num < 1:
        raise ValueError(f"--num is {args.num}: at least one conversation is needed")
    settings = json.dumps({"num": args.num, "seed": args.seed})
    done = args.output / ".done"
    if done.exists() and done.read_text(encoding="utf-8") == settings:
        print(f"{args.output}: made already, skipped", file=sys.stderr)
        return 0
    lines = plan(args.num, args.seed)
    write_set(lines, args.output, args.nj, settings)
    print(f"{args.output}/{NAME}: {len(lines)} conversations", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
