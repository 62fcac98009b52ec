#!/usr/bin/env python3
"""Spoken SQuAD as Kaldi data directories: an utterance is a question about a spoken paragraph.

The layout is spoken_{train,test}-v1.1.json, which say what questions the corpus keeps, and
Spoken-SQuAD_audio/{train,dev}_wav/{topic}_{paragraph}_{sentence}.wav, whose numbers count in
SQuAD's own {train,dev}-v1.1.json. The sentences of a paragraph are joined to one recording; its
transcript is SQuAD's paragraph (the corpus's own is a recogniser's, with 23 % of errors). Besides
Kaldi's tables each directory gets `answers`, and `question`: the text that is asked about the
recording. One training topic in twenty is for validation.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet_audiollm.bin.cli import user_errors
from espnet_audiollm.data import audio, corpus, questions
from espnet_audiollm.progress import progress
from espnet_audiollm.types import Utterance

WHERE = "Spoken SQuAD is at https://github.com/Chia-Hsuan-Lee/Spoken-SQuAD"
WAV = re.compile(r"(\d+)_(\d+)_(\d+)\.wav")
PUBLISHED = {"train": 37_111, "test": 5_351}
SQUAD = {"train": "train", "test": "dev"}  # the part of SQuAD that each is made of
VALID_EVERY = 20  # topics
SPEAKER = "google_tts"


@dataclass(frozen=True)
class Paragraph:
    topic: int
    number: int
    text: str
    questions: tuple[questions.Question, ...]  # those that the corpus keeps


def get_parser() -> argparse.ArgumentParser:
    parser = corpus.get_parser(__doc__, "spoken_*-v1.1.json and Spoken-SQuAD_audio")
    parser.add_argument("--squad", default="", help="directory of SQuAD ('': the same)")
    parser.add_argument("output", type=Path, help="where train, valid and test go")
    return parser


def paragraphs(path: Path, faults: corpus.Faults, kept: set[str] | None) -> Iterator[Paragraph]:
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
                yield Paragraph(topic, number, text, tuple(filter(None, found)))
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
    """Write the sentences of a paragraph as one FLAC; one that is there is whole."""
    if target.is_file():
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
    audio.write_audio(target, np.concatenate([samples for samples, _ in read]), rates.pop())


def entries(
    root: Path, squad: Path, part: str, output: Path, faults: corpus.Faults
) -> list[tuple[int, corpus.Entry]]:
    """(topic, utterance) of a part."""
    spoken = corpus.existing(root, f"spoken_{part}-v1.1.json")
    kept = {asked.id for each in paragraphs(spoken, faults, None) for asked in each.questions}
    original = corpus.existing(squad, f"{SQUAD[part]}-v1.1.json")
    wanted = [each for each in paragraphs(original, faults, kept) if each.questions]
    for id_ in sorted(kept - {asked.id for each in wanted for asked in each.questions}):
        faults.add(original, f"questions of {spoken.name} that are not there", id_)
    found = recordings(wanted, root / f"Spoken-SQuAD_audio/{SQUAD[part]}_wav", faults)
    faults.refuse()
    made = []
    wanted = [each for each in wanted if (each.topic, each.number) in found]
    for each in progress(wanted, len(wanted), f"joining {part}", "paragraph"):
        target = output / "audio" / part / f"{each.topic}_{each.number}.flac"
        join(found[each.topic, each.number], target, faults)
        for asked in each.questions:
            utt = Utterance(asked.id, str(target), SPEAKER, text=each.text)
            extra = {"answers": " | ".join(asked.answers), "question": asked.text}
            made.append((each.topic, corpus.Entry(utt, extra)))
    return made


@user_errors
def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    root = corpus.directory_of("spoken_squad", args.corpus, WHERE)
    squad = corpus.directory_of("squad", args.squad) if args.squad else root
    faults = corpus.Faults("copy the corpus again", args.subset)
    learned = entries(root, squad, "train", args.output, faults)
    tested = entries(root, squad, "test", args.output, faults)
    held = set(sorted({topic for topic, _ in learned})[::VALID_EVERY])
    train, valid, test = (str(args.output / name) for name in ("train", "valid", "test"))
    splits = {
        train: (entry for topic, entry in learned if topic not in held),
        valid: (entry for topic, entry in learned if topic in held),
        test: (entry for _, entry in tested),
    }
    published = {(train, valid): PUBLISHED["train"], (test,): PUBLISHED["test"]}
    corpus.write_splits(splits, faults, published)
    return 0


if __name__ == "__main__":
    sys.exit(main())
