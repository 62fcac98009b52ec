"""What bin/pack does for a speech LM: parts that were made here, checked against one another, in
one directory that needs nothing else (store/speech_directory.py)."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli import add_flag
from .pack import KEPT_BESTRQ, KEPT_CTC, KEPT_VOCODER, portable

if TYPE_CHECKING:
    from ..infer.speak import Vocoder
    from ..infer.voices import Voices
    from ..units.quantiser import Quantiser

PART_CARD = "A part of a speech LM: see the README.md of the directory above.\n"
COPIED = (".json", ".safetensors", ".txt")  # of an encoder from Hugging Face


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a speech LM."""
    add = parser.add_argument_group("speech LM", "In place of --exp.").add_argument
    add("--speech_llm", help="directory of bin/export_llm, e.g. exp/speechlm/llm")
    add("--quantiser", help="directory of bin/learn_units that made the units that it reads")
    add("--encoder", help="where the quantiser's encoder lies now (default: where it lay then)")
    add("--tasks", help="the examples that it was trained on: it answers their tasks")
    add("--vocoder", help="of bin/vocoder_train or bin/mean_patches: it can speak then")
    add("--voice", help="a speaker of the vocoder's table, who speaks if none is asked for")
    add("--voice_prompt", help="recording whose voice it speaks in; 3 s are used")
    add_flag(parser, "--allow_voice_cloning", "true: the voice may come from a recording")


def pack(args: argparse.Namespace) -> None:
    """Write the directory. Errors (ValueError): a part is not named, missing, damaged, or does not
    belong to the others; a voice of a recording without leave."""
    check_options(args)
    from ..data.task_examples import read_about
    from ..data.unit_tokens import FACTS, read_vocabulary
    from ..infer.speech_lm import check_quantiser
    from ..model import llm as llms
    from ..store import speech_directory as layout
    from ..store.atomic import new_directories
    from ..units.quantiser import Quantiser

    vocabulary, about = read_vocabulary(args.speech_llm), read_about(args.tasks)
    about.check_vocabulary(vocabulary, args.tasks, args.speech_llm)
    about.check_form(args.tasks)
    quantiser = Quantiser.load(args.quantiser)
    read = vocabulary.input.quantiser
    check_quantiser(quantiser.fingerprint, read, f"the LLM {args.speech_llm}")
    voices = read_voices(args, vocabulary.output.quantiser, bool(about.merged))
    llm = llms.load(args.speech_llm)
    facts = layout.SpeechFacts(
        about.tags,
        bool(about.merged),
        about.system_prompt,
        llm.fingerprint,
        quantiser.fingerprint,
        voices.vocoder.fingerprint if voices else None,
        voices.default if voices else None,
        tuple(asdict(wording) for wording in about.wordings(args.tasks)),
    )
    with new_directories(args.output) as (aside,):
        llms.save(llm, aside / layout.LLM, {FACTS: vocabulary.as_text()})
        write_encoder(args, quantiser, aside)
        if voices:
            write_vocoder(args, voices.vocoder, aside / layout.VOCODER)
        layout.write_facts(aside, facts)
        (aside / layout.CARD).write_text(write_card(args, facts), encoding="utf-8")
        if layout.is_speech_lm(args.output):
            shutil.rmtree(args.output)


def check_options(args: argparse.Namespace) -> None:
    """ValueError: a part is not named, or a voice of a recording without leave."""
    lacking = [name for name in ("quantiser", "tasks") if not getattr(args, name)]
    if lacking:
        raise ValueError(
            f"--speech_llm needs --{lacking[0]}, too: a pack has the LLM, what makes its units, "
            "and the tasks that it was trained on"
        )
    voices = [name for name in ("voice", "voice_prompt") if getattr(args, name)]
    if voices and not args.vocoder:
        raise ValueError(f"--{voices[0]} needs --vocoder: without one the model does not speak")
    if len(voices) > 1:
        raise ValueError("--voice and --voice_prompt: a voice has one source, give one of them")
    if args.voice_prompt and args.allow_voice_cloning != "true":
        raise ValueError(
            "--voice_prompt imitates the voice of a recording: give --allow_voice_cloning true if "
            "the person who speaks there agreed"
        )


def read_voices(args: argparse.Namespace, quantiser: str, merged: bool) -> Voices | None:
    """The vocoder with its voice; None: it was not given.

    quantiser: fingerprint, of the units that it is to speak."""
    if not args.vocoder:
        return None
    from ..infer.speak import load_vocoder
    from ..infer.speech_lm import check_quantiser
    from ..infer.voices import Voices

    vocoder = load_vocoder(args.vocoder)
    whose, others = f"the vocoder {args.vocoder}", f"the LLM {args.speech_llm} speaks"
    check_quantiser(quantiser, vocoder.unit_set.quantiser, whose, others)
    return Voices.of(vocoder, merged, args.voice, args.voice_prompt)


def write_encoder(args: argparse.Namespace, quantiser: Quantiser, aside: Path) -> None:
    """The quantiser and what its frames come from; they are compared."""
    from ..infer.unit_frames import load_frames_of
    from ..store import speech_directory as layout
    from ..units.sources import TRAINED

    load_frames_of(quantiser, args.encoder)  # refuses another encoder
    source = quantiser.source
    place = Path(args.encoder or source.directory)
    if source.kind in TRAINED:
        kept = KEPT_CTC if source.kind == "ctc" else KEPT_BESTRQ
        write_model(place, quantiser.checkpoint, kept, aside / layout.ENCODER)
    elif source.kind == "hf":
        copy_pretrained(place, aside / layout.ENCODER)
    moved = replace(source, directory=layout.ENCODER if source.directory else "")
    replace(quantiser, source=moved, learned="").save(aside / layout.QUANTISER)


def write_vocoder(args: argparse.Namespace, vocoder: Vocoder, output: Path) -> None:
    """The vocoder, and the recording whose voice it imitates."""
    from ..data.audio import read_mono_16k, write_audio
    from ..infer.speak import CHECKPOINT
    from ..model.voices import PROMPT_SECONDS
    from ..store import speech_directory as layout
    from ..types import SAMPLE_RATE

    write_model(Path(args.vocoder), CHECKPOINT, KEPT_VOCODER, output)
    if args.voice_prompt:
        heard = read_mono_16k(args.voice_prompt)[: round(PROMPT_SECONDS * SAMPLE_RATE)]
        write_audio(output / layout.VOICE, heard)


def write_model(exp: Path, checkpoint: str, kept: tuple[str, ...], output: Path) -> None:
    """An experiment's model in the form of store/model_directory.py."""
    from ..store import model_directory
    from ..train import checkpoints
    from ..train.loading import read_config

    options: dict[str, Any] = portable(vars(read_config(exp)), kept)
    state: Mapping[str, Any] = checkpoints.load(exp / checkpoint)
    model_directory.write(output, options, dict(state), PART_CARD)


def copy_pretrained(place: Path, output: Path) -> None:
    """The files of a Hugging Face model that load without running code."""
    files = [path for path in sorted(place.iterdir()) if path.suffix in COPIED]
    if not any(path.suffix == ".safetensors" for path in files):
        raise ValueError(f"the encoder {place} has no safetensors: convert its weights, then pack")
    output.mkdir()
    for path in files:
        shutil.copyfile(path, output / path.name)


def write_card(args: argparse.Namespace, facts: Any) -> str:
    """The model card."""
    from ..report.speech_card import speech_card

    name = Path(args.output).resolve().name
    return speech_card(name, facts, args.licence, args.data, bool(args.voice_prompt))
