"""Question sets that are spoken here: read, drawn, and said by espeak-ng, each question by one
voice; no voice of a test set is in the training data (voices.py)."""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..data import kaldi_dir
from ..progress import progress
from ..text.normalize import normalize
from ..types import SAMPLE_RATE, Utterance
from . import prepare as corpus
from .tts import SpeechJob, synthesize
from .voices import any_voice, speaker_of

ID = re.compile(r"[\w.-]+")  # becomes a file's name
BLOCK = 1 << 20  # characters
DELIMITERS = re.compile(r"[\s,]*")


@dataclass(frozen=True)
class Question:
    """A question to be spoken."""

    id: str
    text: str
    answers: tuple[str, ...]  # any one is right; none is without words


def stream_objects(path: Path, key: str = "") -> Iterator[dict]:
    """The objects of a JSON file's array, one at a time: the outermost one, or that under `key`.

    Files of gigabytes (TriviaQA's) are not held in memory. ValueError where it is not JSON."""
    decode = json.JSONDecoder().raw_decode
    with open(path, encoding="utf-8-sig") as file:
        text, place = file.read(BLOCK), 0
        opening = re.compile(rf'"{key}"\s*:\s*\[' if key else r"\s*\[")
        while not (found := opening.search(text)):
            if not (more := file.read(BLOCK)):
                raise ValueError(f"{path}: not JSON with an array {key}: copy the file again")
            text = text[-100:] + more
        place = found.end()
        while delimiters := DELIMITERS.match(text, place):
            place = delimiters.end()
            if text.startswith("]", place):
                return
            try:
                item, place = decode(text, place)
            except json.JSONDecodeError as error:
                if not (more := file.read(BLOCK)):
                    raise ValueError(f"{path}: damaged ({error}): copy the file again") from error
                text, place = text[place:] + more, 0
                continue
            yield item


def question(
    id_: str, text: str, answers: Iterable[str], path: Path, faults: corpus.Faults
) -> Question | None:
    """A question with its answers, each once; None, with the reason in `faults`, without words."""
    aliases = {normalize(alias): corpus.one_line(alias.replace("|", " ")) for alias in answers}
    aliases.pop("", None)
    if not ID.fullmatch(id_):
        faults.add(path, "questions whose id is no plain word", repr(id_))
    elif not normalize(text):
        faults.add(path, "questions without a word", id_)
    elif not aliases:
        faults.leave_out(path, "questions without an answer", id_)
    else:
        return Question(id_, corpus.one_line(text), tuple(aliases.values()))
    return None


def read(
    path: Path,
    take: Callable[[dict], tuple[str, str, Iterable[str]]],
    form: str,
    faults: corpus.Faults,
    key: str = "",
) -> dict[str, Question]:
    """{id: question} of a file of objects (of the array under `key`): `take` gives an object's id,
    text and answers, and a KeyError or TypeError where it is not of the `form`."""
    found: dict[str, Question] = {}
    for number, row in enumerate(stream_objects(path, key), 1):
        try:
            id_, text, answers = take(row)
        except (KeyError, TypeError):
            faults.add(path, f"objects without {form}", f"number {number}")
            continue
        if each := question(id_, text, answers, path, faults):
            if id_ in found:
                faults.add(path, corpus.TWICE, id_)
            found[id_] = each
    return found


def draw(questions: Mapping[str, Question], num: int, seed: int) -> list[Question]:
    """`num` of the questions (0: all), sorted by id."""
    ids = sorted(questions)
    if num and num < len(ids):
        ids = sorted(random.Random(f"questions {seed}").sample(ids, num))
    return [questions[id_] for id_ in ids]


# --- speaking -----------------------------------------------------------------------------------


def add_options(parser: argparse.ArgumentParser, train: int, valid: int, test: int) -> None:
    """How many questions are spoken (0: all), and how."""
    for name, number in (("train", train), ("valid", valid), ("test", test)):
        parser.add_argument(f"--num_{name}", type=int, default=number, help="questions (0: all)")
    parser.add_argument("--text", choices=("written", "spoken"), default="written")
    parser.add_argument("--seed", type=int, default=1, help="which questions, and which voices")
    parser.add_argument("--nj", type=int, default=2, help="processes that speak")
    parser.add_argument("output", type=Path, help="where train, valid and test go")


def speak_splits(
    splits: Mapping[str, Mapping[str, Question]], args: argparse.Namespace, faults: corpus.Faults
) -> None:
    """Make a data directory of each of {train, valid, test: questions}, with `answers`."""
    faults.refuse()
    for line in faults.left_out():
        print(line)
    for split, questions in splits.items():
        chosen = draw(questions, getattr(args, f"num_{split}"), args.seed)
        if not chosen:
            raise ValueError(f"{args.output / split}: not a single question was found for it")
        _speak(chosen, args.output / split, split == "test", args)


def _speak(chosen: list[Question], directory: Path, test: bool, args: argparse.Namespace) -> None:
    rng = random.Random(f"voices {directory.name} {args.seed}")
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "audio").mkdir(parents=True)
    voices = {each.id: any_voice(rng, test) for each in chosen}
    paths = {each.id: str(directory / "audio" / f"{each.id}.wav") for each in chosen}
    jobs = [SpeechJob(each.text, voices[each.id], paths[each.id]) for each in chosen]
    spoken = progress(synthesize(jobs, args.nj), len(jobs), f"speaking {directory}")
    hours = sum(samples for _, samples in spoken) / SAMPLE_RATE / 3600
    utts = [
        Utterance(
            each.id,
            paths[each.id],
            speaker_of(voices[each.id]),
            text=normalize(each.text) if args.text == "spoken" else each.text,
        )
        for each in chosen
    ]
    answers = {each.id: " | ".join(each.answers) for each in chosen}
    kaldi_dir.write_data_dir(directory, utts, answers=answers)
    print(f"{directory}: {len(utts)} questions, {hours:.2f} hours", file=sys.stderr)
