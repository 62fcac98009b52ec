#!/usr/bin/env python3
"""Spoken SQuAD: paragraphs as Kaldi data directories, questions about them as conversations.

The layout is spoken_{train,test}-v1.1.json, which say what questions the corpus keeps, and
Spoken-SQuAD_audio/{train,dev}_wav/{topic}_{paragraph}_{sentence}.wav, whose numbers count in
SQuAD's own {train,dev}-v1.1.json. The sentences of a paragraph are joined to one recording; its
transcript is SQuAD's paragraph (the corpus's own is a recogniser's, with 23 % of errors). An
utterance is a paragraph; a conversation of conversations/questions_{valid,test}.jsonl is a question
about one, read in a system turn, and the paragraph, as audio. One training topic in twenty is for
validation.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.corpus import prepare as corpus
from espnet_audiollm.corpus import questions
from espnet_audiollm.data import audio
from espnet_audiollm.progress import progress
from espnet_audiollm.store.atomic import atomic_write
from espnet_audiollm.types import Seconds, Utterance

WHERE = "Spoken SQuAD is at https://github.com/Chia-Hsuan-Lee/Spoken-SQuAD"
WAV = re.compile(r"(\d+)_(\d+)_(\d+)\.wav")
PUBLISHED = {"train": 37_111, "test": 5_351}
SQUAD = {"train": "train", "test": "dev"}  # the part of SQuAD that each is made of
VALID_EVERY = 20  # topics
SPEAKER = "google_tts"
ASKED = "Listen to what the user says, then answer this question in a few words: {}"


@dataclass(frozen=True)
class Paragraph:
    topic: int
    number: int
    text: str
    questions: tuple[questions.Question, ...]  # those that the corpus keeps
    part: str  # train or test

    @property
    def id(self) -> str:
        return f"{self.part}_{self.topic}_{self.number}"

    def recording(self, output: Path) -> Path:
        return output / "audio" / self.part / f"{self.topic}_{self.number}.flac"


def get_parser() -> argparse.ArgumentParser:
    parser = corpus.get_parser(__doc__, "spoken_*-v1.1.json and Spoken-SQuAD_audio")
    parser.add_argument("--squad", default="", help="directory of SQuAD ('': the same)")
    parser.add_argument(
        "--max_passage", type=float, default=120.0, help="longest paragraph asked about (seconds)"
    )
    parser.add_argument("output", type=Path, help="where train, valid and test go")
    return parser


def paragraphs(
    path: Path, part: str, faults: corpus.Faults, kept: set[str] | None
) -> Iterator[Paragraph]:
    """The paragraphs of a file in SQuAD's form, with their questions (of `kept`, or all)."""
    for topic, article in enumerate(questions.stream_objects(path, "data")):
        try:
            for number, row in enumerate(article["paragraphs"]):
                asked = [
                    (qa["id"], qa["question"], [answer["text"] for answer in qa["answers"]])
                    for qa in row["qas"]
                    if kept is None or qa["id"] in kept
                ]
                found = [questions.question(*qa, path, faults) for qa in asked]
                text = corpus.one_line(row["context"])
                yield Paragraph(topic, number, text, tuple(filter(None, found)), part)
        except (KeyError, TypeError):
            faults.add(path, "topics that are not in SQuAD's form", f"number {topic}")


def sentences(place: Path) -> dict[tuple[int, int], dict[int, Path]]:
    """{(topic, paragraph): {sentence: recording}}."""
    if not place.is_dir():
        raise ValueError(
            f"{place} is missing: unpack Spoken-SQuAD_audio.zip, and {place.name}.zip in it"
        )
    found: dict[tuple[int, int], dict[int, Path]] = defaultdict(dict)
    for path in place.iterdir():
        if match := WAV.fullmatch(path.name):
            topic, paragraph, sentence = map(int, match.groups())
            found[topic, paragraph][sentence] = path
    return found


def recordings(
    wanted: list[Paragraph], place: Path, faults: corpus.Faults
) -> dict[tuple[int, int], list[Path]]:
    """{(topic, paragraph): its sentences in order} of the paragraphs that have all of them."""
    there, found = sentences(place), {}
    for each in wanted:
        key = (each.topic, each.number)
        spoken = there.get(key, {})
        if not spoken:
            faults.lacks(place, corpus.NO_AUDIO, f"{each.topic}_{each.number}_0.wav")
        elif gaps := set(range(max(spoken))) - spoken.keys():
            first = f"{each.topic}_{each.number}_{min(gaps)}.wav"
            faults.lacks(place, "paragraphs that lack a sentence", first)
        else:
            found[key] = [spoken[sentence] for sentence in sorted(spoken)]
    return found


def join(paths: list[Path], target: Path, faults: corpus.Faults) -> None:
    """Write the sentences of a paragraph as one FLAC, unless one of the same files is there."""
    comment = corpus.digest(*paths)
    if corpus.has_comment(target, comment):
        return
    try:
        read = [audio.read_mono(path) for path in paths]
    except audio.AudioError as error:
        faults.add(target, "recordings that cannot be read", str(error))
        return
    rates = {found.rate for _, found in read}
    if len(rates) > 1:
        faults.add(target, "paragraphs of sentences at different rates", str(paths[0]))
        return
    joined = np.concatenate([samples for samples, _ in read])
    audio.write_audio(target, joined, rates.pop(), comment)


def read_part(
    root: Path, squad: Path, part: str, output: Path, faults: corpus.Faults
) -> list[Paragraph]:
    """The paragraphs of a part that have audio, each joined to one recording."""
    spoken = corpus.existing(root, f"spoken_{part}-v1.1.json")
    kept = {asked.id for each in paragraphs(spoken, part, faults, None) for asked in each.questions}
    original = corpus.existing(squad, f"{SQUAD[part]}-v1.1.json")
    wanted = [each for each in paragraphs(original, part, faults, kept) if each.questions]
    for id_ in sorted(kept - {asked.id for each in wanted for asked in each.questions}):
        faults.add(original, f"questions of {spoken.name} that are not there", id_)
    found = recordings(wanted, root / f"Spoken-SQuAD_audio/{SQUAD[part]}_wav", faults)
    faults.refuse()
    there = [each for each in wanted if (each.topic, each.number) in found]
    for each in progress(there, len(there), f"joining {part}", "paragraph"):
        join(found[each.topic, each.number], each.recording(output), faults)
    return there


def entry(each: Paragraph, output: Path) -> corpus.Entry:
    return corpus.Entry(Utterance(each.id, str(each.recording(output)), SPEAKER, text=each.text))


def write_conversations(
    path: Path, asked_about: list[Paragraph], output: Path, longest: Seconds
) -> str:
    """Write the questions about paragraphs of at most `longest`; what to say about the others."""
    written, too_long = 0, []
    with atomic_write(path) as out:
        for each in asked_about:
            recording = each.recording(output)
            if audio.info(str(recording)).duration > longest:
                too_long.append(each)
                continue
            spoken = {"audio": os.path.relpath(recording, path.parent), "text": each.text}
            for asked in each.questions:
                turns = [
                    {"role": "system", "text": ASKED.format(asked.text)},
                    {"role": "user", **spoken},
                ]
                line = {"id": asked.id, "category": "question", "turns": turns}
                out.write(json.dumps({**line, "expected": asked.answers}) + "\n")
                written += 1
        if not written:
            raise ValueError(
                f"{path}: all paragraphs are longer than --max_passage {longest:g} (s)"
            )
    said = f"{path}: {written} questions about {len(asked_about) - len(too_long)} paragraphs"
    if too_long:
        lost = sum(len(each.questions) for each in too_long)
        said += (
            f"; left out {lost} questions about {len(too_long)} paragraphs longer than "
            f"{longest:g} s (first: {too_long[0].id})"
        )
    return said


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    root = corpus.directory_of("spoken_squad", args.corpus, WHERE)
    squad = corpus.directory_of("squad", args.squad) if args.squad else root
    faults = corpus.Faults("copy the corpus again", args.subset)
    learned = read_part(root, squad, "train", args.output, faults)
    tested = read_part(root, squad, "test", args.output, faults)
    faults.refuse()
    held = set(sorted({each.topic for each in learned})[::VALID_EVERY])
    splits = {
        "train": [each for each in learned if each.topic not in held],
        "valid": [each for each in learned if each.topic in held],
        "test": tested,
    }
    counts = [
        (f"{part}: questions", sum(len(each.questions) for each in found), PUBLISHED[part])
        for part, found in (("train", learned), ("test", tested))
    ]
    corpus.compare_counts(counts, faults)
    corpus.write_splits(
        {
            str(args.output / name): (entry(each, args.output) for each in found)
            for name, found in splits.items()
        },
        faults,
    )
    for name in ("valid", "test"):
        path = args.output / "conversations" / f"questions_{name}.jsonl"
        print(write_conversations(path, splits[name], args.output, args.max_passage))
    return 0


if __name__ == "__main__":
    sys.exit(main())
