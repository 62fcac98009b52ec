"""Reading what stage 10 left of each system, and checking that all were asked the same.

A system directory holds `system.json`, `nats` ("id nats num_tokens"), `responses.jsonl`, and
sometimes `token_nats` ("id nats nats ...", one of each response token), `hyp` (a cascade's
transcripts), `similarity` (see `alignment`), `embeddings.npz` (see `similarity`), and judge/ (see
`judged`)."""

from __future__ import annotations

import json
import math
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..store.series import Series, read_series
from ..store.tables import check_known_ids, check_same_ids, read_table
from .alignment import AlignmentNumbers, read_alignments
from .judged import Judged, read_judged

NAMES = ("reference", "cascade", "audiollm", "no_prompt")  # the order of the table


@dataclass(frozen=True)
class References:
    """The responses that every system is scored on; ids, responses and tokens in one order."""

    ids: tuple[str, ...]
    responses: dict[str, str]
    tokens_N: np.ndarray
    token_ids: Series | None = None  # None: not read


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
    token_nats: Series | None = None  # None: of an older stage 10
    similarity: dict[str, AlignmentNumbers] | None = None  # None: hears nothing, or older
    judge: Judged | None = None  # None: no judge model was asked
    response_ids: Series | None = None  # None: not kept
    finish_reasons: dict[str, str] | None = None  # None: not kept

    @property
    def judged(self) -> dict[str, bool] | None:
        """{id: success} by the judge model, False where its verdict could not be parsed."""
        return None if self.judge is None else self.judge.successes

    @property
    def embeddings(self) -> Path | None:
        path = self.directory / "embeddings.npz"
        return path if path.is_file() else None


def read_references(store: str | Path) -> References:
    """The response store of stage 7. ValueError if it is not whole."""
    store = Path(store)
    if not (store / "response_ids").is_file():
        raise ValueError(f"{store}: there is no response_ids, so it is not whole; rerun stage 7")
    token_ids = read_series(store / "response_ids", np.int32, "rerun stage 7")
    tokens = {id: len(ids) for id, ids in token_ids.items()}
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
    tokens_N = np.array(list(tokens.values()))
    return References(ids, {id: responses[id] for id in ids}, tokens_N, token_ids)


def read_responses(path: Path) -> dict[str, str]:
    """{id: response} of a file with one JSON object a line."""
    return {item["id"]: item["response"] for item in _iter_responses(path)}


def _iter_responses(path: Path) -> Iterator[dict]:
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                item = json.loads(line)
                whole = isinstance(item["id"], str) and isinstance(item["response"], str)
            except (ValueError, KeyError, TypeError):
                whole = False
            if not whole:
                raise ValueError(
                    f"{path}: line {number} is not a JSON object with id and response; "
                    "make this file again"
                )
            yield item


def read_system(directory: str | Path, test_sets: Sequence[str], judged: bool = True) -> System:
    """A system directory. `test_sets` are those being scored; the system must be of one of them.
    judged: whether a judge's verdicts are read, if there are any.

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
    kept = _read_optional(directory)
    if judged:
        kept["judge"] = read_judged(directory)
    return System(
        about["name"],
        about["label"],
        directory,
        about.get("prompt_wer"),
        test_set,
        nats,
        tokens,
        **kept,
    )


def _read_optional(directory: Path) -> dict:
    """What a system may or may not have left; None for what it has not."""
    kept = {"responses": None, "response_ids": None, "finish_reasons": None}
    if (directory / "responses.jsonl").is_file():
        kept = _read_answers(directory / "responses.jsonl")
    readers = {
        "hyp": read_table,
        "token_nats": lambda path: read_series(path, np.float64, "rerun stage 10"),
        "similarity": read_alignments,
    }
    for name, read in readers.items():
        kept[name] = read(directory / name) if (directory / name).is_file() else None
    return kept


def _read_answers(path: Path) -> dict:
    """The responses; their tokens and how they ended, where every line says it."""
    responses, reasons, numbers, lengths = {}, {}, array("i"), []
    for item in _iter_responses(path):
        id = sys.intern(item["id"])
        if id in responses:
            raise ValueError(f"{path}: the id {id} comes twice; rerun stage 10")
        responses[id] = item["response"]
        if isinstance(item.get("response_ids"), list):
            try:
                numbers.extend(item["response_ids"])
            except (TypeError, OverflowError):
                raise ValueError(
                    f"{path}: {id}: response_ids are not token ids; rerun stage 10"
                ) from None
            lengths.append(len(item["response_ids"]))
        if isinstance(item.get("finish_reason"), str):
            reasons[id] = sys.intern(item["finish_reason"])
    ids = None
    if len(lengths) == len(responses):
        ids = Series(responses, np.array(numbers, dtype=np.int32), lengths)
    return {
        "responses": responses,
        "response_ids": ids,
        "finish_reasons": reasons if len(reasons) == len(responses) else None,
    }


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
    for name in ("responses", "token_nats", "judged"):
        table = getattr(system, name)
        if table is not None:
            step = "run judge again" if name == "judged" else "rerun stage 10"
            check_same_ids(references.ids, table, f"{where}: {name}", step)
    if system.similarity is not None:
        check_known_ids(references.ids, system.similarity, f"{where}: similarity", "rerun stage 10")
    _check_token_nats(system, where)


def _check_token_nats(system: System, where: str) -> None:
    """token_nats must be the parts of nats: as many, and the same in sum."""
    differ = [
        (id, nats_X)
        for id, nats_X in (system.token_nats or {}).items()
        if len(nats_X) != system.tokens[id] or abs(nats_X.sum() - system.nats[id]) > 1e-3
    ]
    if differ:
        id, nats_X = differ[0]
        raise ValueError(
            f"{where}: token_nats do not add up to nats in {len(differ)} of {len(system.nats)} "
            f"utterances (first: {id}, {len(nats_X)} tokens of {nats_X.sum():.4f} nats in all, "
            f"expected {system.tokens[id]} of {system.nats[id]:.4f}); rerun stage 10"
        )
