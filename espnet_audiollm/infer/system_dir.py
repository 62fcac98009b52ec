"""A system directory: what stage 10 leaves of one system on one test set, for stage 11 to score.

nats              "id nats num_tokens": what the reference response costs under its prompt
token_nats        "id nats nats ...": what each token of it costs
responses.jsonl   what it answered itself
hyp               a cascade's transcripts
similarity        AudioLLM: how its audio goes along with the transcript, where there is one
embeddings.npz    AudioLLM: audio and text embeddings of a few utterances (Figure 3)
system.json       name, label, word error rate of its prompts; written after these
inputs.json       what all this was made from (see store/parts.py)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..data import responses
from ..data.kaldi_dir import Row, write_table
from ..store.atomic import atomic_write
from ..store.parts import Parts
from ..store.shards import Record, to_line
from ..types import Utterance

if TYPE_CHECKING:  # the merge of a system needs no torch
    from ..model.audiollm import AudioLLMESPnetModel
    from .respond import Answer

EMBEDDINGS = "embeddings.npz"


@dataclass(frozen=True)
class About:
    name: str  # reference | cascade | audiollm | no_prompt
    label: str  # row of the table
    prompt_wer: float | None  # %; None: its prompt is no text
    test_set: str
    beam: int


def to_record(answer: Answer, similarity: Record | None = None) -> Record:
    """similarity: numbers by name; None: the system hears nothing, or there is no transcript."""
    return {
        **responses.to_record(answer.response),
        "reference_nats": answer.reference_nats,
        "token_nats": [round(nats, 6) for nats in answer.token_nats],
        "similarity": similarity,
    }


def write_answers(directory: Path, parts: Parts) -> None:
    """Put nats, token_nats and responses.jsonl together from the shards."""
    with atomic_write(directory / "responses.jsonl") as out:
        for record in parts.shards.records():
            out.write(to_line({name: record[name] for name in responses.FIELDS}))
    rows = (
        (r["id"], f"{r['reference_nats']:.6f} {len(r['token_nats'])}")
        for r in parts.shards.records()
    )
    write_table(directory / "nats", rows, presorted=True)
    rows = (
        (r["id"], " ".join(f"{nats:.6f}" for nats in r["token_nats"]))
        for r in parts.shards.records()
    )
    write_table(directory / "token_nats", rows, presorted=True)


def write_similarity(directory: Path, parts: Parts) -> None:
    found = (r for r in parts.shards.records() if r["similarity"] is not None)
    rows = ((r["id"], json.dumps(r["similarity"])) for r in found)
    write_table(directory / "similarity", rows, presorted=True)


def write_transcripts(directory: Path, rows: Iterable[Row]) -> None:
    write_table(directory / "hyp", rows, presorted=True)


def write_embeddings(
    directory: Path,
    model: AudioLLMESPnetModel,
    utterances: Iterable[Utterance],
    system_prompt: str | None,
    device: str,
) -> None:
    from .respond import audio_and_text_embeddings

    arrays = {}
    for utt in utterances:
        audio_PD, text_TD, tokens = audio_and_text_embeddings(model, utt, system_prompt, device)
        arrays[f"{utt.id}/audio"] = audio_PD.float().cpu().numpy()
        arrays[f"{utt.id}/text"] = text_TD.float().cpu().numpy()
        arrays[f"{utt.id}/tokens"] = np.array(tokens)
    with atomic_write(directory / EMBEDDINGS, "wb") as out:
        np.savez(out, **arrays)


def copy_embeddings(directory: Path, parts: Parts) -> None:
    """Errors (ValueError): job 1, which makes them, has not ended."""
    source = parts.directory / EMBEDDINGS
    if not source.is_file():
        raise ValueError(f"{source} is missing, job 1 makes it: rerun stage 10")
    with open(source, "rb") as made, atomic_write(directory / EMBEDDINGS, "wb") as out:
        shutil.copyfileobj(made, out)


def finish(directory: Path, about: About) -> None:
    """Write system.json, unless it says this already."""
    path, text = directory / "system.json", json.dumps(asdict(about), indent=2)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with atomic_write(path) as out:
            out.write(text)
