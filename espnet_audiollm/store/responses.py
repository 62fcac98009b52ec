"""The response store: what the frozen LLM answers to each transcript.

    store.json           which LLM, template, decoding and prompts; a store of others is refused
    shard.NNNNN.jsonl    the answers, in order of ids (see store/shards.py)
    response_ids         "id 12 5 2" for training, in the order of ids; written last
    prompt_ids           of a store with behaviours: the prompt of each example, -1 for an audio
    utterances           of such a store: the utterances that stand there, in order

A store is refused and not made anew when it was made otherwise: it may be weeks of an LLM's work.
Nothing here holds an object for each of the prompts, of which there may be millions.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..types import Response
from .atomic import remove_asides
from .json_files import read_object, write_json
from .shards import Record, Shards
from .tables import Row, write_table

INDEX = "response_ids"
ASKED = ("prompt_ids", "utterances")  # of an example with behaviours: fields, and tables of these
STAGE = 7
NEXT = "delete the directory and rerun stage 7"
MOST_PROMPTS = 1 << 32  # of a store
FIELDS = tuple(field.name for field in fields(Response))


@dataclass(frozen=True)
class Prompts:
    """All prompts of a store: how many, and the sha256 of their ids and texts."""

    num: int
    hash: str


@dataclass(frozen=True)
class Settings:
    """What the answers depend on. Two runs with equal settings may share a store."""

    fingerprint: str  # of the LLM's weights
    chat_template_hash: str
    system_prompt: str | None  # None: no system turn
    max_tokens_factor: float  # an answer has at most this times its prompt's tokens (the paper: 4)
    beam: int  # 1: greedy
    shard_size: int
    num_prompts: int
    prompts_hash: str
    prompt_casing: str  # how transcripts become prompts (text/casing.py)
    behaviours: str = ""  # of the contexts that are asked (data/behaviours.py). "": transcripts
    engine: str = "transformers"  # what decoded (infer/engines.py)

    @property
    def fields(self) -> tuple[str, ...]:
        """Of every record."""
        return FIELDS + (ASKED if self.behaviours else ())

    def spell(self) -> dict:
        """For store.json; what is not used is not there, as before there was such a thing."""
        found = asdict(self).items()
        return {name: value for name, value in found if value != _DEFAULTS.get(name, self)}


_CHANGED = {
    "fingerprint": "another LLM",
    "chat_template_hash": "another chat template",
    "system_prompt": "another system prompt",
    "max_tokens_factor": "another --max_tokens_factor",
    "beam": "another beam",
    "shard_size": "another shard size",
    "num_prompts": "another number of prompts",
    "prompts_hash": "other prompts",
    "prompt_casing": "another --prompt_casing",
    "behaviours": "other --behaviours, --behaviours_per_utterance or --seed",
    "engine": "another --llm_engine",
}
_DEFAULTS = {"behaviours": "", "engine": "transformers"}  # of settings that older stores lack
_NEEDED = tuple(name for name in _CHANGED if name not in _DEFAULTS)


# --- prompts ------------------------------------------------------------------------------------


def survey(rows: Iterable[Row]) -> Prompts:
    """Count and hash the transcripts (id, text), in order of ids.

    Errors (ValueError): no transcripts, empty transcripts."""
    total, num, empty, first = hashlib.sha256(), 0, 0, ""
    for id_, text in rows:
        num += 1
        if not text.strip():
            empty, first = empty + 1, first or id_
        total.update(f"{id_}\n{text}\n".encode())
    if not num:
        raise ValueError("there are no transcripts to answer: run stages 1 and 2 first")
    if empty:
        raise ValueError(
            f"{empty} of {num} transcripts are empty (first: {first}); "
            "run utils/data/fix.py on the directory to remove these utterances, or write "
            "their transcripts"
        )
    return Prompts(num, total.hexdigest())


# --- reading ------------------------------------------------------------------------------------


def to_record(response: Response) -> Record:
    """A line of a shard or of a system's responses.jsonl."""
    return {name: getattr(response, name) for name in FIELDS}


def from_record(record: Record) -> Response:
    """The response of a line; the inverse of `to_record`."""
    found = {name: record[name] for name in FIELDS}
    return Response(**{**found, "response_ids": tuple(found["response_ids"])})


def iter_responses(directory: str | Path) -> Iterator[Response]:
    """All answers of a finished store in order of ids, streamed.

    Errors (ValueError): no store, an unfinished one, damaged shards."""
    return map(from_record, open_shards(directory).records())


# --- writing ------------------------------------------------------------------------------------


def open_store(directory: str | Path, settings: Settings, about: Mapping | None = None) -> Shards:
    """The shards of a store that is to be filled; writes store.json, or checks the one there.

    about: notes for the reader of store.json (the LLM's name, its number format); not compared.

    Errors (ValueError): the directory holds a store made with other settings, or other files."""
    directory = Path(directory)
    listed = sorted(os.listdir(directory)) if directory.is_dir() else []  # see jobs/state.py
    if "store.json" in listed:
        check_settings(directory, settings)
        return _shards(directory, settings)
    leftover = [directory / name for name in listed if "shard." in name]
    if leftover:
        raise ValueError(
            f"{directory} has {len(leftover)} shards (first: {leftover[0].name}) but no "
            "store.json that says what made them: delete them or choose another directory"
        )
    write_json(directory / "store.json", {**(about or {}), **settings.spell()})
    return _shards(directory, settings)


def open_shards(directory: str | Path) -> Shards:
    """The shards of a store that is there. Errors (ValueError): no store, a damaged store.json."""
    return _shards(directory, read_settings(directory))


def _shards(directory: str | Path, settings: Settings) -> Shards:
    return Shards(
        Path(directory), settings.num_prompts, settings.shard_size, settings.fields, STAGE
    )


def merge(directory: str | Path, num_jobs: int = 1) -> int:
    """Write `response_ids` from the finished shards, unless it is newer than all of them, and
    with behaviours `prompt_ids` and `utterances` before it; the number of answers.

    Errors (ValueError): missing shards (and whose they are), damaged ones."""
    directory = Path(directory)
    shards = open_shards(directory)
    shards.check_whole(num_jobs)
    if not _is_newest(directory / INDEX, shards):
        for name in (*(name for name in ASKED if name in shards.fields), INDEX):
            rows = ((r["id"], " ".join(map(str, r[name]))) for r in shards.records())
            write_table(directory / name, rows, presorted=True)
    shards.sweep()
    remove_asides(directory, INDEX, *ASKED, "store.json")
    return shards.num_items


def _is_newest(index: Path, shards: Shards) -> bool:
    if not index.exists():
        return False
    made = index.stat().st_mtime_ns
    return all(shards.path(n).stat().st_mtime_ns <= made for n in range(len(shards)))


def check_settings(directory: str | Path, settings: Settings) -> None:
    """Refuse a store that was made otherwise (ValueError)."""
    old = read_settings(directory)
    changed = [
        word for name, word in _CHANGED.items() if getattr(old, name) != getattr(settings, name)
    ]
    if changed:
        raise ValueError(
            f"the responses in {directory} were made with {', '.join(changed)}: "
            "delete the directory or choose another one"
        )


def check_origin(
    directory: str | Path,
    fingerprint: str,
    chat_template_hash: str,
    system_prompt: str | None,
    prompt_casing: str | None = None,
) -> None:
    """Refuse (ValueError) a store whose answers are not those of this LLM to this form of prompt.

    Training on them, or measuring their perplexity, would mean nothing. prompt_casing: None for
    what has no text as a prompt."""
    about = read_about(directory)
    ours = {
        "fingerprint": fingerprint,
        "chat_template_hash": chat_template_hash,
        "system_prompt": system_prompt,
    }
    if prompt_casing is not None:
        ours["prompt_casing"] = prompt_casing
    changed = [_CHANGED[name] for name, value in ours.items() if about.get(name) != value]
    if changed:
        raise ValueError(
            f"the responses in {directory} were made with {', '.join(changed)}: "
            "give the same --llm, --chat_template, --system_prompt and --prompt_casing, or rerun "
            "stage 7"
        )


def read_about(directory: str | Path) -> dict:
    """store.json as it is: the settings and the notes.

    Errors (ValueError): there is none, or it is damaged."""
    path = Path(directory) / "store.json"
    if not path.is_file():
        raise ValueError(f"{directory} is not a response store (no store.json): run stage 7 first")
    return read_object(path, NEXT)


def read_settings(directory: str | Path) -> Settings:
    """What the answers of a store depend on.

    Errors (ValueError): no store, a damaged store.json."""
    about = read_about(directory)
    try:
        known = {name: about[name] for name in _NEEDED}
        newer = {name: about.get(name, value) for name, value in _DEFAULTS.items()}
        settings = Settings(**known, **newer)
    except KeyError as error:
        raise ValueError(f"{directory}/store.json lacks {error}: {NEXT}") from error
    for name in ("num_prompts", "shard_size"):
        number = getattr(settings, name)
        if type(number) is not int or not 1 <= number < MOST_PROMPTS:
            raise ValueError(f"{directory}/store.json: {name} is not a number of prompts: {NEXT}")
    return settings
