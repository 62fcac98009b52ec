"""A system directory: what stage 10 leaves of one system on one test set, for stage 11 to score.

nats              "id nats num_tokens": what the reference response costs under its prompt
responses.jsonl   what it answered itself
hyp               a cascade's transcripts
embeddings.npz    AudioLLM: audio and text embeddings of a few utterances (Figure 3)
system.json       name, label, word error rate of its prompts; written last
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..atomic import atomic_write
from ..data.kaldi_dir import write_table
from ..data.responses import to_json
from ..model.audiollm import AudioLLMESPnetModel
from ..types import Utterance
from .respond import Answer, audio_and_text_embeddings


@dataclass(frozen=True)
class About:
    name: str  # reference | cascade | audiollm | no_prompt
    label: str  # row of the table
    prompt_wer: float | None  # %; None: its prompt is no text
    test_set: str
    beam: int


def begin(directory: Path) -> None:
    """Make the directory incomplete: system.json is there only when all else is."""
    (directory / "system.json").unlink(missing_ok=True)


def write_answers(directory: Path, answers: Iterable[Answer]) -> None:
    ordered = sorted(answers, key=lambda answer: answer.response.id)
    with atomic_write(directory / "responses.jsonl") as out:
        out.writelines(to_json(answer.response) + "\n" for answer in ordered)
    rows = ((a.response.id, f"{a.reference_nats:.6f} {a.reference_tokens}") for a in ordered)
    write_table(directory / "nats", rows)


def write_transcripts(directory: Path, texts: Mapping[str, str]) -> None:
    write_table(directory / "hyp", texts.items())


def write_embeddings(
    directory: Path,
    model: AudioLLMESPnetModel,
    utterances: Iterable[Utterance],
    system_prompt: str | None,
    device: str,
) -> None:
    arrays = {}
    for utt in utterances:
        audio_PD, text_TD, tokens = audio_and_text_embeddings(model, utt, system_prompt, device)
        arrays[f"{utt.id}/audio"] = audio_PD.float().cpu().numpy()
        arrays[f"{utt.id}/text"] = text_TD.float().cpu().numpy()
        arrays[f"{utt.id}/tokens"] = np.array(tokens)
    with atomic_write(directory / "embeddings.npz", "wb") as out:
        np.savez(out, **arrays)


def finish(directory: Path, about: About) -> None:
    with atomic_write(directory / "system.json") as out:
        json.dump(asdict(about), out, indent=2)
