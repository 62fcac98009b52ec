"""A trained speech LM for others: a directory without code or pickles that needs nothing else.

    config.json     its tasks, the form of its prompts, its voice; whose weights it has
    llm/            the LLM with units, an ordinary Hugging Face directory (bin/export_llm)
    quantiser/      recordings to units (units/quantiser.py)
    encoder/        what the quantiser's frames come from; none for log mel energies
    vocoder/        units to speech, where it speaks; voice.wav: the recording that it imitates
    README.md       the model card

encoder/ and vocoder/ have the form of store/model_directory.py; an encoder from Hugging Face keeps
its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .json_files import read_object, write_json

MODEL_TYPE = "espnet_speechlm"
CONFIG, CARD = "config.json", "README.md"
LLM, QUANTISER, ENCODER, VOCODER = "llm", "quantiser", "encoder", "vocoder"
VOICE = "voice.wav"  # in vocoder/
NEXT = "pack the model again (bin/pack --speech_llm), or fetch it again"


@dataclass(frozen=True)
class SpeechFacts:
    """What config.json says."""

    tags: tuple[str, ...]  # of the tasks that it was trained on, in the order of its examples
    merged: bool  # repeated units are written once, so that durations are predicted
    system_prompt: str | None  # of every prompt. None: no such turn
    llm: str  # fingerprint of its weights
    quantiser: str  # fingerprint
    vocoder: str | None  # fingerprint of its weights. None: it does not speak
    voice: str | None  # the one that speaks if none is asked for
    wordings: tuple[dict[str, Any], ...]  # of each tag: how it is asked for (data/instructions.py)


def is_speech_lm(directory: str | Path) -> bool:
    """Whether a directory is one of these."""
    path = Path(directory) / CONFIG
    try:
        return path.is_file() and read_object(path, NEXT).get("model_type") == MODEL_TYPE
    except ValueError:
        return (Path(directory) / QUANTISER).is_dir()


def write_facts(directory: str | Path, facts: SpeechFacts) -> None:
    """Write config.json."""
    write_json(Path(directory) / CONFIG, {"model_type": MODEL_TYPE, **asdict(facts)})


def read_facts(directory: str | Path) -> SpeechFacts:
    """Read config.json. Errors (ValueError): it is damaged."""
    path = Path(directory) / CONFIG
    found = read_object(path, NEXT)
    tags = found.get("tags")
    texts: dict[str, tuple[type, ...]] = {"llm": (str,), "quantiser": (str,), "merged": (bool,)}
    texts |= {name: (str, type(None)) for name in ("system_prompt", "vocoder", "voice")}
    wrong = [name for name, types in texts.items() if type(found.get(name)) not in types]
    if not isinstance(tags, list) or not tags or not all(isinstance(tag, str) for tag in tags):
        wrong.insert(0, "tags")
    wordings = found.get("wordings")
    if not isinstance(wordings, list) or len(wordings) != len(tags or ()):
        wrong.append("wordings")
    if wrong:
        raise ValueError(
            f"{path} is damaged ({len(wrong)} fields are wrong, first: {wrong[0]}): {NEXT}"
        )
    named = {name: found.get(name) for name in texts}
    return SpeechFacts(tags=tuple(tags), wordings=tuple(wordings), **named)  # type: ignore[arg-type]  # checked above
