"""Reading what stage 10 left of each system, and checking that all were asked the same.

A system directory holds `system.json`, `nats` ("id nats num_tokens"), `responses.jsonl`, and
sometimes `hyp` (a cascade's transcripts) and `embeddings.npz` (see `similarity`)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .tables import check_same_ids, read_table

NAMES = ("reference", "cascade", "audiollm", "no_prompt")  # the order of the table


@dataclass(frozen=True)
class References:
    """The responses that every system is scored on; ids, responses and tokens in one order."""

    ids: tuple[str, ...]
    responses: dict[str, str]
    tokens_N: np.ndarray


@dataclass(frozen=True)
class System:
    name: str  # one of NAMES
    label: str
    directory: Path
    prompt_wer: float | None  # %; None: it has no text prompt
    test_set: str
    nats: dict[str, float]
    tokens: dict[str, int]
    responses: dict[str, str] | None  # None: it answered nothing, its nats alone were measured
    hyp: dict[str, str] | None  # None: not a cascade

    @property
    def embeddings(self) -> Path | None:
        path = self.directory / "embeddings.npz"
        return path if path.is_file() else None


def read_references(store: str | Path) -> References:
    """The response store of stage 7. ValueError if it is not whole."""
    store = Path(store)
    if not (store / "response_ids").is_file():
        raise ValueError(f"{store}: there is no response_ids, so it is not whole; rerun stage 7")
    tokens = {id: len(line.split()) for id, line in read_table(store / "response_ids").items()}
    if not tokens:
        raise ValueError(f"{store}/response_ids is empty; rerun stage 7")
    empty = [id for id, n in tokens.items() if n == 0]
    if empty:
        raise ValueError(
            f"{store}: {len(empty)} of {len(tokens)} responses have no token (first: {empty[0]}); "
            "rerun stage 7"
        )
    responses: dict[str, str] = {}
    for shard in sorted(store.glob("shard.*.jsonl")):
        responses.update(read_responses(shard))
    check_same_ids(tokens, responses, f"{store}: the shards", "rerun stage 7")
    ids = tuple(tokens)
    return References(ids, {id: responses[id] for id in ids}, np.array(list(tokens.values())))


def read_responses(path: Path) -> dict[str, str]:
    """{id: response} of a file with one JSON object a line."""
    responses = {}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                item = json.loads(line)
                responses[item["id"]] = item["response"]
            except (ValueError, KeyError, TypeError):
                raise ValueError(
                    f"{path}: line {number} is not a JSON object with id and response; "
                    "make this file again"
                ) from None
    return responses


def read_system(directory: str | Path, test_sets: Sequence[str]) -> System:
    """A system directory. `test_sets` are those being scored; the system must be of one of them.

    A system.json without "test_set" belongs to the only test set, or to that of its parent
    directory's name, respond_<test set>."""
    directory = Path(directory)
    for needed in ("system.json", "nats"):
        if not (directory / needed).is_file():
            raise ValueError(f"{directory}: there is no {needed}; rerun stage 10")
    about = _read_about(directory / "system.json")
    test_set = about.get("test_set")
    if test_set is None:
        named = directory.resolve().parent.name.removeprefix("respond_")
        test_set = test_sets[0] if len(test_sets) == 1 else named
    if test_set not in test_sets:
        raise ValueError(
            f"{directory}: its test set is {test_set}, not {' or '.join(test_sets)}; "
            "give that set's data directory with --data too, or leave this system out"
        )
    nats, tokens = _read_nats(directory / "nats")
    optional = {"responses.jsonl": read_responses, "hyp": read_table}
    responses, hyp = (
        read(directory / file) if (directory / file).is_file() else None
        for file, read in optional.items()
    )
    return System(
        about["name"],
        about["label"],
        directory,
        about.get("prompt_wer"),
        test_set,
        nats,
        tokens,
        responses,
        hyp,
    )


def _read_about(path: Path) -> dict:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        whole = about["name"] in NAMES and isinstance(about["label"], str)
        wer = about.get("prompt_wer")
        whole = whole and (wer is None or math.isfinite(wer))
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise ValueError(
            f"{path}: not a JSON object with a name ({', '.join(NAMES)}), a label and the "
            "prompt_wer (%, or null); rerun stage 10"
        )
    return about


def _read_nats(path: Path) -> tuple[dict[str, float], dict[str, int]]:
    nats, tokens = {}, {}
    for id, line in read_table(path).items():
        try:
            value, number = line.split()
            nats[id], tokens[id] = float(value), int(number)
            good = math.isfinite(nats[id]) and nats[id] > -1e-3
        except ValueError:
            good = False
        if not good:
            raise ValueError(
                f"{path}: {id}: '{line}' is not a finite number of nats and a number of tokens; "
                "rerun stage 10"
            )
    return nats, tokens


def check_system(system: System, references: References) -> None:
    """ValueError unless the system has these utterances, with the references' token counts."""
    where = f"{system.directory} ({system.label})"
    check_same_ids(references.ids, system.nats, f"{where}: nats", "rerun stage 10")
    differ = [
        (id, system.tokens[id], int(n))
        for id, n in zip(references.ids, references.tokens_N, strict=True)
        if system.tokens[id] != n
    ]
    if differ:
        id, found, expected = differ[0]
        raise ValueError(
            f"{where}: {len(differ)} of {len(references.ids)} utterances were not scored on the "
            f"reference response tokens (first: {id}, {found} tokens, expected {expected}); "
            "rerun stage 10"
        )
    if system.responses is not None:
        check_same_ids(references.ids, system.responses, f"{where}: responses", "rerun stage 10")
