"""Speak texts in one voice of espeak-ng: a data directory at 16 kHz, as stage 2 leaves it.

For answers that nobody recorded: those of an LLM (--text dump/train/responses) or of a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from ..data.kaldi_dir import existing, read_table, write_data_dir
from ..progress import progress
from ..store.atomic import new_directories
from ..store.tables import check_none_empty
from ..types import SAMPLE_RATE, Utterance
from .add_noise import recording
from .cli import new_parser, user_errors


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("--text", required=True, help="table of texts, or a store of an LLM's responses")
    add("--voice", default="en-us+edward", help="espeak-ng's name of a voice, with its variant")
    add("--speed", type=int, default=160, help="words per minute")
    add("--nj", type=int, default=2, help="processes that speak")
    add("--output", required=True, help="data directory to make, e.g. dump/train/answers")
    return parser


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Make the data directory; the exit status."""
    args = get_parser().parse_args(argv)
    if args.nj < 1:
        raise ValueError(f"--nj {args.nj}: at least 1")
    texts = read_texts(args.text)
    with new_directories(args.output) as (aside,):
        samples = speak(args, texts, aside)
        write(args, texts, samples, aside)
    hours = sum(samples.values()) / SAMPLE_RATE / 3600
    print(f"{args.output}: {len(texts)} texts in the voice {args.voice}, {hours:.2f} hours")
    return 0


def read_texts(source: str) -> dict[str, str]:
    """The texts by id. ValueError: there are none, or some have no word to speak."""
    texts = {id_: " ".join(text.split()) for id_, text in _rows(Path(source))}
    silent = [id_ for id_, text in texts.items() if not any(map(str.isalnum, text))]
    step = "leave these utterances out (utils/data/subset.py)"
    check_none_empty(silent, len(texts), f"texts in {source} have no word to speak", step)
    return texts


def _rows(source: Path) -> Iterator[tuple[str, str]]:
    from ..store.responses import iter_responses

    if not source.is_dir():
        return read_table(existing(source))
    return ((answer.id, answer.response) for answer in iter_responses(source))


def speak(args: argparse.Namespace, texts: dict[str, str], aside: Path) -> dict[str, int]:
    """Write the recordings; the number of samples of each."""
    from ..corpus.tts import SpeechJob, Voice, synthesize

    voice = Voice(args.voice, args.speed)
    jobs = [SpeechJob(text, voice, f"{aside}/{wav_of(id_)}") for id_, text in texts.items()]
    for parent in {Path(job.path).parent for job in jobs}:
        parent.mkdir(parents=True, exist_ok=True)
    spoken = progress(synthesize(jobs, args.nj), len(jobs), "synthesise")
    return {id_: count for id_, (_, count) in zip(texts, spoken, strict=True)}


def wav_of(id_: str) -> str:
    """Where below --output an utterance's recording goes."""
    return recording(id_, "wav")


def write(args: argparse.Namespace, texts: dict, samples: dict[str, int], aside: Path) -> None:
    """The tables, as stage 2 leaves them."""
    from ..corpus.tts import Voice
    from ..corpus.voices import speaker_of

    speaker = speaker_of(Voice(args.voice))
    counts = {id_: str(count) for id_, count in samples.items()}
    seconds = {id_: f"{count / SAMPLE_RATE:.4f}" for id_, count in samples.items()}
    utterances = (
        Utterance(id_, f"{args.output}/{wav_of(id_)}", speaker, None, text)
        for id_, text in texts.items()
    )
    write_data_dir(aside, utterances, utt2num_samples=counts, utt2dur=seconds)


if __name__ == "__main__":
    sys.exit(main())
