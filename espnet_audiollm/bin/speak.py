"""Speak units: WAV or FLAC files and a data directory of them, by a vocoder of bin/vocoder_train
or by the codec whose units they are (--vocoder codec:DIR). With --acoustic, semantic units become
those of the codec first, in the voice of a prompt: by SoundStorm, or by AudioLM (--fine).

Every file says in its metadata that its speech was generated. A voice that is taken from somebody's
recording needs --allow_voice_cloning true: ask the person first."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.kaldi_dir import count_lines, existing, read_dict
from ..data.spoken_units import (
    SpokenLevels,
    SpokenUnits,
    iter_spoken,
    iter_spoken_levels,
    shuffled,
    shuffled_levels,
    table_of,
)
from ..data.unit_tables import DURATIONS, FACTS, UNITS, read_set
from ..store.parts import Parts, hash_files
from ..store.tables import check_same_ids, write_table
from ..types import SAMPLE_RATE
from . import split
from .add_noise import recording
from .cli import add_flag, new_parser, user_errors

if TYPE_CHECKING:
    from ..infer.acoustic import AcousticVocoder
    from ..infer.level_generators import LevelGenerator
    from ..infer.speak import Vocoder
    from ..infer.unit_levels import LevelsVocoder

MADE = ("utt2spk", "utt2dur", "utt2num_samples", "wav.scp")
AUDIOLM = ("fine_temperature", "top_k")  # options
FIELDS = ("id", "audio", "samples", "voice")


def get_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("--vocoder", required=True, help="of bin/vocoder_train or bin/mean_patches, or codec:DIR")
    add("--checkpoint", default="valid.loss.ave.pth", help="file in it")
    add("--units", required=True, help='directory of units, or a table "id 17 4 80"')
    add("--quantiser", help="of bin/learn_units: what made the units of a table, or of a prompt")
    add("--output", required=True, help="data directory to make, e.g. exp/spoken")
    add("--voice", help="a speaker of the vocoder's table (default: its only one)")
    add("--voice_prompt", help="recording whose voice all speak in; 3 s are used")
    add("--voice_prompts", help="table of recordings, one for each utterance: wav.scp")
    add_flag(parser, "--allow_voice_cloning", "true: voices may come from recordings")
    add("--durations", choices=("known", "predicted"), default="known", help="where they are known")
    add_flag(parser, "--shuffle", "a control: each utterance's units in random order")
    add("--only", help="table of the utterances that are spoken (default: all of --units)")
    add_acoustic_options(parser)
    add("--format", choices=("wav", "flac"), default="wav", help="of the files")
    add("--batch_units", type=int, default=2000, help="unit frames in one batch")
    add("--device", default="cpu", help="cpu or cuda")
    split.add_options(parser)
    return parser


def add_acoustic_options(parser: argparse.ArgumentParser) -> None:
    """Add what belongs to --acoustic."""
    add = parser.add_argument_group("From semantic units to a codec's").add_argument
    add("--acoustic", help="of bin/soundstorm_train, or the coarse stage of bin/audiolm_train")
    add("--fine", help="the fine stage of bin/audiolm_train")
    add("--encoder", help="where --quantiser's encoder lies now (default: where it lay then)")
    add("--level_quantiser", help="of bin/learn_units: what made the levels (a codec is enough)")
    add(
        "--iterations",
        type=int,
        nargs="+",
        help="of SoundStorm, for the first level, the second, ...; the last number is for all that "
        "follow (not given: 16 1)",
    )
    add(
        "--temperature",
        type=float,
        default=1.0,
        help="of the units that are drawn: SoundStorm's first level, AudioLM's coarse ones",
    )
    add("--fine_temperature", type=float, help="of AudioLM's fine levels (not given: the same)")
    add("--top_k", type=int, help="likeliest units from which AudioLM draws (not given: all)")
    add("--seed", type=int, default=0, help="of what is drawn by chance")
    add(
        "--min_prompt",
        type=float,
        help="shortest voice prompt (s; not given: 3 with --acoustic, else 0.5)",
    )


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Speak the units, or this job's part of them."""
    args = get_parser().parse_args(argv)
    split.check(args)
    check_cloning(args)

    with split.named(args):
        vocoder = load(args)
        parts = open_parts(args, vocoder)
        if not args.merge:
            speak(args, vocoder, parts)
        if split.merges(args):
            merge(args, parts)
    return 0


def load(args: argparse.Namespace) -> Vocoder | LevelsVocoder | AcousticVocoder:
    """What speaks the units.

    Errors (ValueError): it is missing, or the units are not for it; of a codec, options that it
    has no use for."""
    from ..infer.speak import load_vocoder
    from ..infer.unit_levels import CODEC, is_of_levels, load_levels_vocoder

    if args.acoustic:
        return load_acoustic(args)
    if args.fine:
        raise ValueError("--fine without --acoustic: give AudioLM's coarse stage there")
    if not (args.vocoder.startswith(CODEC) or is_of_levels(args.vocoder)):
        vocoder = load_vocoder(args.vocoder, args.checkpoint, args.device)
        check_units(args, vocoder.unit_set)
        return vocoder
    if not Path(args.units).is_dir():
        raise ValueError(
            f"--units {args.units} is no directory: a codec speaks those of bin/extract_units, "
            "which have a table for each level"
        )
    if args.durations == "predicted":
        raise ValueError("--durations predicted: a codec's units have one frame each")
    unit_set = read_set(args.units)
    return load_levels_vocoder(args.vocoder, unit_set, args.units, args.checkpoint, args.device)


def load_acoustic(args: argparse.Namespace) -> AcousticVocoder:
    """What makes levels with what speaks them, and with a reader of prompts where voices are taken
    from recordings. Errors (ValueError): parts that do not fit one another."""
    from dataclasses import replace

    from ..infer.acoustic import load_acoustic_vocoder, load_prompt_reader

    generator = load_generator(args)
    vocoder = load_acoustic_vocoder(
        generator, args.vocoder, args.acoustic, args.seed, args.checkpoint, args.device
    )
    check_units(args, vocoder.unit_set)
    if not (args.voice_prompt or args.voice_prompts):
        return vocoder
    reader = load_prompt_reader(vocoder, args.quantiser, args.encoder, args.level_quantiser)
    return replace(vocoder, reader=reader)


def load_generator(args: argparse.Namespace) -> LevelGenerator:
    """What makes the levels: AudioLM with --fine, else SoundStorm.

    Errors (ValueError): options of the other one; those of loading it."""
    from ..infer import level_generators as made_by
    from ..model.acoustic_lm import Sampling

    strange = ["iterations"] if args.fine else AUDIOLM
    if given := [name for name in strange if getattr(args, name) is not None]:
        whose = "SoundStorm's: leave it out with --fine" if args.fine else "AudioLM's: give --fine"
        raise ValueError(f"--{given[0]} is {whose}")
    if not args.fine:
        args.iterations = args.iterations or [16, 1]
        decoding = made_by.Decoding(tuple(args.iterations), args.temperature)
        return made_by.load_soundstorm(args.acoustic, decoding, args.checkpoint, args.device)
    temperatures = args.temperature, args.fine_temperature
    warmths = [args.temperature if warmth is None else warmth for warmth in temperatures]
    coarse, fine = (Sampling(warmth, args.top_k or 0) for warmth in warmths)
    exps = args.acoustic, args.fine
    return made_by.load_audiolm(*exps, (coarse, fine), args.checkpoint, args.device)


def check_cloning(args: argparse.Namespace) -> None:
    """ValueError: a voice of a recording without leave, or two sources of a voice."""
    given = [name for name in ("voice", "voice_prompt", "voice_prompts") if getattr(args, name)]
    if len(given) > 1:
        raise ValueError(f"--{given[0]} and --{given[1]}: a voice has one source, give one of them")
    if given and given[0] != "voice" and args.allow_voice_cloning != "true":
        raise ValueError(
            f"--{given[0]} imitates the voice of a recording: give --allow_voice_cloning true if "
            "the person who speaks there agreed"
        )


def check_units(args: argparse.Namespace, expected) -> None:
    """ValueError: units of another quantiser than the vocoder's, or nobody says whose they are."""
    from ..units.quantiser import read_quantiser

    whose = args.acoustic or args.vocoder
    if Path(args.units).is_dir():
        read_set(args.units).check_quantiser(expected.quantiser, args.units, whose)
        return
    if not args.quantiser:
        raise ValueError(f"{args.units} does not say whose units it has: give --quantiser, too")
    found = read_quantiser(args.quantiser).fingerprint
    if found != expected.quantiser:
        raise ValueError(
            f"{whose} was made for units of another quantiser ({expected.quantiser[:12]}) "
            f"than {args.quantiser} ({found[:12]}): give the quantiser of the units, and a vocoder "
            "that was trained on its units"
        )


def prompts_state(args: argparse.Namespace) -> str:
    """Of the recordings that --voice_prompts names; what cannot be read is complained of later."""
    if not args.voice_prompts:
        return ""
    paths = read_dict(existing(Path(args.voice_prompts))).values()
    found = [(path, os.stat(path)) for path in paths if os.path.exists(path)]
    states = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in found]
    return hashlib.sha256(repr(states).encode()).hexdigest()


def open_parts(args: argparse.Namespace, vocoder) -> Parts:
    """The shards that belong to the vocoder, the units and the voice."""
    table = table_of(args.units)
    wanted = chosen(args)
    number = count_lines(table) if wanted is None else sum(id_ in wanted for id_, _ in _ids(args))
    if not number:
        raise ValueError(f"{table} has no utterance that is to be spoken: there is nothing to do")
    sources = [table, args.voice_prompt, args.voice_prompts, args.only]
    if Path(args.units).is_dir():
        sources += [Path(args.units) / name for name in (DURATIONS, FACTS)]
        sources += sorted(Path(args.units).glob(f"{UNITS}_*[0-9]"))
    names = ["voice", "durations", "shuffle", "format", "batch_units"]
    if args.acoustic:
        names += ["temperature", "seed", *(AUDIOLM if args.fine else ["iterations"])]
    inputs = {
        "options": {name: getattr(args, name) for name in names},
        "prompts": prompts_state(args),
        "vocoder": vocoder.fingerprint,
        "contents": hash_files(*(source for source in sources if source)),
    }
    return Parts(args.output, inputs, number, FIELDS, "10", MADE, args.shard_size)


def speak(args: argparse.Namespace, vocoder, parts: Parts) -> None:
    """Fill this job's shards; say how fast it was."""
    if split.nothing_left(args, parts):
        return
    from ..infer.batches import by_length, in_halves
    from ..infer.speak import CLONED, GENERATED

    voice_of = voices(args, vocoder)
    rows = spoken_rows(args, vocoder)
    parts.begin()
    comment = GENERATED + CLONED * bool(args.voice_prompt or args.voice_prompts)

    def say(batch: Sequence[SpokenUnits | SpokenLevels]):
        return vocoder.speak(batch, vocoder.voices([voice_of(row.id)[1] for row in batch]))

    def answer(batch: Sequence[SpokenUnits | SpokenLevels]) -> list[dict]:
        waves = in_halves(say, batch)
        pairs = zip(batch, waves, strict=True)
        return [write(args, row.id, wave, voice_of(row.id)[0], comment) for row, wave in pairs]

    def plan(items: list) -> list[list]:
        return list(by_length(items, lambda row: row.length, args.batch_units))

    began, made, samples = time.monotonic(), 0, 0
    for records in split.fill(args, parts.shards, rows, plan, answer, "speak"):
        made, samples = made + len(records), samples + sum(r["samples"] for r in records)
    seconds, spent = samples / SAMPLE_RATE, time.monotonic() - began
    split.log(
        f"{args.output}: {made} utterances, {seconds:.1f} s of speech in {spent:.1f} s: "
        f"{spent / max(seconds, 1e-9):.3f} x real time"
    )


def spoken_rows(args: argparse.Namespace, vocoder) -> Iterator[SpokenUnits | SpokenLevels]:
    """What is to be spoken, one level or several."""
    from ..infer.unit_levels import LevelsVocoder

    rows: Iterator[SpokenUnits | SpokenLevels]
    if isinstance(vocoder, LevelsVocoder):
        rows = iter_spoken_levels(args.units)
    else:
        unit_set = read_set(args.units) if Path(args.units).is_dir() else vocoder.unit_set
        rows = iter_spoken(args.units, unit_set, args.durations == "predicted")
    if (wanted := chosen(args)) is not None:
        rows = (row for row in rows if row.id in wanted)
    return map(_mixed, rows) if args.shuffle == "true" else rows


def _mixed(row: SpokenUnits | SpokenLevels) -> SpokenUnits | SpokenLevels:
    return shuffled_levels(row) if isinstance(row, SpokenLevels) else shuffled(row)


def voices(args: argparse.Namespace, vocoder) -> Callable:
    """What gives (name, speaker's number or samples of a prompt) of an utterance's voice.

    Errors (ValueError): a voice of a kind that the vocoder has not; prompts that are missing, too
    short or silent."""
    from ..infer.level_generators import PROMPT
    from ..infer.speak import SHORTEST_PROMPT, read_prompt

    prompted = args.voice_prompt or args.voice_prompts
    shortest = PROMPT if args.acoustic else SHORTEST_PROMPT
    shortest = shortest if args.min_prompt is None else args.min_prompt
    if vocoder.by_prompt != bool(prompted):
        wanted = "--voice_prompt or --voice_prompts" if vocoder.by_prompt else "--voice"
        raise ValueError(f"the voices of {args.vocoder} are chosen by {wanted}")
    if not prompted:
        number = vocoder.speaker(args.voice)
        name = vocoder.speakers[number] if vocoder.speakers else "mean"
        return lambda id_: (name, number)
    if args.voice_prompt:
        samples = read_prompt(args.voice_prompt, shortest)
        return lambda id_: (Path(args.voice_prompt).stem, samples)
    table = read_dict(args.voice_prompts)
    only = chosen(args)
    ids = {id_: 0 for id_, _ in _ids(args) if only is None or id_ in only}
    check_same_ids(ids, {id_: 0 for id_ in table if id_ in ids}, args.voice_prompts, "add them")
    return lambda id_: (id_, read_prompt(table[id_], shortest))


def chosen(args: argparse.Namespace) -> set[str] | None:
    """The utterances of --only; None: all."""
    return set(read_dict(existing(Path(args.only)))) if args.only else None


def _ids(args: argparse.Namespace):
    from ..data.kaldi_dir import read_table

    return read_table(table_of(args.units))


def write(args: argparse.Namespace, id_: str, wave, voice: str, comment: str) -> dict:
    """Write one utterance; its record for the shard."""
    from ..data.audio import write_audio

    path = recording(id_, args.format)
    write_audio(Path(args.output) / path, wave, comment=comment)
    return {"id": id_, "audio": path, "samples": len(wave), "voice": voice}


def merge(args: argparse.Namespace, parts: Parts) -> None:
    """The tables of the data directory, wav.scp last."""
    output = Path(args.output)
    if not parts.whole:
        parts.shards.check_whole(args.num_jobs)
        columns: dict[str, Callable[[dict], str]] = {
            "utt2spk": lambda r: r["voice"],
            "utt2dur": lambda r: f"{r['samples'] / SAMPLE_RATE:.4f}",
            "utt2num_samples": lambda r: str(r["samples"]),
            "wav.scp": lambda r: f"{args.output}/{r['audio']}",
        }
        for name, value in columns.items():
            rows = ((r["id"], value(r)) for r in parts.shards.records())
            write_table(output / name, rows, presorted=True)
    parts.finish()
    print(f"{output}: {parts.shards.num_items} utterances, marked as generated")


if __name__ == "__main__":
    sys.exit(main())
