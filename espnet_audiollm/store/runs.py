"""A run: what one system answered to one set of dialogues. Stage 10 writes it, stage 11 reads it.

run.json         which system, set, LLM and references (`RunInfo`); written after those below
answers.jsonl    "id", "response", "response_ids", "finish_reason", and "turns" where there are
                 several
nats             "id nats num_tokens": what the reference response costs under its prompt
token_nats       "id nats nats ...": what each token of it costs
hyp              cascade: "recording transcript" (`types.Dialogue.recordings`)
similarity       audio: how its embeddings align with those of the transcripts (score/alignment)
embeddings.npz   audio: audio and text embeddings of a few recordings (Figure 3)
last_turn/       a run of the same dialogues without what comes before their last turns
judge/           what a judge model says of the responses (`Judged`)
inputs.json      what all this was made from (store/parts.py)
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..types import FinishReason, Nats, Response
from .atomic import atomic_write
from .json_files import parse_json, write_json
from .kinds import KINDS, Kind
from .parts import made_from
from .series import Series, read_series
from .shards import Record, to_line
from .tables import check_same_ids, read_table, write_table

T = TypeVar("T")

RUN = "run.json"
ANSWERS = "answers.jsonl"
EMBEDDINGS = "embeddings.npz"
LAST_TURN = "last_turn"  # directory of the run without context
FULL = "full"  # context: all turns
CONTEXTS = (FULL, LAST_TURN)
FIELDS = ("id", *CONTEXTS, "recordings")  # of a record of stage 10's shards
NOT_ANSWERED: FinishReason = "context"  # finish_reason of a dialogue that did not fit
STEP = "rerun stage 10"
# Of the answers: another number when they are made or kept otherwise (2: the limit of an answer is
# that of the prompt in text; dialogues that do not fit the context are not answered).
FORMAT = 2


@dataclass(frozen=True)
class RunInfo:
    """What a run says of itself; written as run.json."""

    kind: str  # a name in KINDS
    label: str  # row of the tables
    model: str  # the experiment's name. "": the kind needs none
    set: str  # name of the set of dialogues
    context: str  # one of CONTEXTS
    beam: int
    llm_fingerprint: str
    chat_template_hash: str
    system_prompt: str | None  # None: no system turn
    prompt_casing: str
    references: str  # sha256 of the ids of the reference responses, see `references_hash`

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"the kind of system '{self.kind}' is not one of {', '.join(KINDS)}")
        if self.context not in CONTEXTS:
            raise ValueError(f"the context '{self.context}' is not one of {', '.join(CONTEXTS)}")


@dataclass(frozen=True)
class Judged:
    """What a judge model says of a run's responses."""

    llm: str
    prompt: str  # the question that it was asked, with its places in braces
    verdicts: dict[str, bool | None]  # None: its reply is neither yes nor no

    @property
    def unparsable(self) -> int:
        """How many replies are neither yes nor no."""
        return sum(verdict is None for verdict in self.verdicts.values())

    @property
    def successes(self) -> dict[str, bool]:
        """{id: success}; a reply that could not be parsed is no success."""
        return {id: bool(verdict) for id, verdict in self.verdicts.items()}


@dataclass(frozen=True)
class Similarity:
    """How audio and text embeddings align (score/alignment): numbers of N recordings."""

    ids: tuple[str, ...]
    columns: dict[str, np.ndarray]  # {name of the number: (N,)}


@dataclass(frozen=True)
class Run:
    """A run as it is scored; all tables have the same ids."""

    info: RunInfo
    directory: Path
    nats: dict[str, Nats]  # of the reference responses
    tokens: dict[str, int]  # of the reference responses
    token_nats: Series
    responses: dict[str, str]
    response_ids: Series
    finish_reasons: dict[str, str]
    turns: dict[str, list[dict]]  # of dialogues of several turns: role, text, audio
    hyp: dict[str, str] | None  # by recording. None: not a cascade
    similarity: Similarity | None  # None: takes no audio
    judged: Judged | None  # None: no judge model was asked

    @property
    def kind(self) -> Kind:
        """The kind of system."""
        return KINDS[self.info.kind]

    @property
    def checkpoint(self) -> str | None:
        """The file of its model's weights, --checkpoint of stage 10. None: there is no such file,
        or it is not known."""
        options = made_from(self.directory).get("options")
        found = options.get("checkpoint") if isinstance(options, dict) else None
        has_file = self.info.model and self.kind.input in ("hypothesis", "audio")
        return found if has_file and isinstance(found, str) else None

    @property
    def unanswered(self) -> list[str]:
        """Ids of dialogues that the LLM's context did not hold."""
        return [id for id, reason in self.finish_reasons.items() if reason == NOT_ANSWERED]

    @property
    def embeddings(self) -> Path | None:
        """The file of kept embeddings. None: there is none."""
        path = self.directory / EMBEDDINGS
        return path if path.is_file() else None


# --- writing ------------------------------------------------------------------------------------


def answer_record(
    response: Response, nats: Nats, token_nats: Iterable[Nats], turns: list[dict] | None = None
) -> Record:
    """One answer of a record of stage 10's shards. nats, token_nats: of the reference response.
    turns: None where there is only one."""
    return {
        "prompt": response.prompt,
        "response": response.response,
        "response_ids": list(response.response_ids),
        "finish_reason": response.finish_reason,
        "nats": nats,
        "token_nats": [round(each, 6) for each in token_nats],
        "turns": turns,
    }


def files_of(kind: Kind) -> list[str]:
    """The files that a complete run of this kind has."""
    more = {"hypothesis": ["hyp"], "audio": [EMBEDDINGS, "similarity"]}
    return [RUN, ANSWERS, "nats", "token_nats", *more.get(kind.input, [])]


def write_run(directory: Path, info: RunInfo, records: Iterable[Record]) -> list[str]:
    """Write the tables of a run, and run.json after them; the ids that were not answered.

    records: of `FIELDS`, in order of ids; what a context lacks is None and left out."""
    nats, token_nats, lost = [], [], []
    recordings: dict = {}
    with atomic_write(directory / ANSWERS) as out:
        for record in records:
            recordings |= record["recordings"]
            answer = record[info.context]
            if answer is None:
                continue
            total, each = answer.pop("nats"), answer.pop("token_nats")
            lost += [record["id"]] * (answer["finish_reason"] == NOT_ANSWERED)
            out.write(to_line({"id": record["id"], **answer}))
            nats.append((record["id"], f"{total:.6f} {len(each)}"))
            token_nats.append((record["id"], " ".join(f"{x:.6f}" for x in each)))
    write_table(directory / "nats", nats, presorted=True)
    write_table(directory / "token_nats", token_nats, presorted=True)
    if KINDS[info.kind].input == "hypothesis":
        write_table(directory / "hyp", recordings.items())
    if KINDS[info.kind].input == "audio":
        rows = ((id, json.dumps(numbers)) for id, numbers in recordings.items() if numbers)
        write_table(directory / "similarity", rows)
    write_json(directory / RUN, asdict(info))
    return lost


def write_embeddings(directory: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """{"recording/audio": (P, D), "recording/text": (T, D), "recording/tokens": (T,)}."""
    with atomic_write(directory / EMBEDDINGS, "wb") as out:
        np.savez(out, allow_pickle=False, **arrays)


def copy_embeddings(source: Path, directory: Path) -> None:
    """Put the embeddings that job 1 left into a run.

    Errors (ValueError): job 1 has not ended."""
    if not (source / EMBEDDINGS).is_file():
        raise ValueError(f"{source / EMBEDDINGS} is missing, job 1 makes it: {STEP}")
    with (
        open(source / EMBEDDINGS, "rb") as made,
        atomic_write(directory / EMBEDDINGS, "wb") as out,
    ):
        shutil.copyfileobj(made, out)


def write_judged(directory: Path, about: Mapping, records: Iterable[Record]) -> None:
    """The verdicts of a judge model. about: llm, fingerprint, prompt, responses
    (`responses_hash`). records: "id", "verdict", "reply"."""
    write_json(directory / "judge.json", dict(about))
    with atomic_write(directory / "judge.jsonl") as out:
        out.writelines(map(to_line, records))


# --- reading ------------------------------------------------------------------------------------


def find_runs(root: str | Path) -> list[Path]:
    """The complete runs below a directory, those of the last turns included, sorted."""
    return sorted(path.parent for path in Path(root).rglob(RUN))


def read_info(directory: str | Path) -> RunInfo:
    """run.json. Errors (ValueError): there is none, or it is not one."""
    path = Path(directory) / RUN
    if not path.is_file():
        raise ValueError(f"{directory}: there is no {RUN}; {STEP}")
    try:
        about = parse_json(path.read_text(encoding="utf-8"))
        return RunInfo(**{field.name: about[field.name] for field in fields(RunInfo)})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not describe a run ({error}); {STEP}") from None


def read_run(directory: str | Path, judged: bool = True) -> Run:
    """A run. judged: whether a judge's verdicts are read, if there are any.

    Errors (ValueError): a file is missing or damaged, or its ids are not those of the others."""
    directory = Path(directory)
    info = read_info(directory)
    for name in files_of(KINDS[info.kind]):
        if not (directory / name).is_file() and name != EMBEDDINGS:
            raise ValueError(f"{directory}: there is no {name}; {STEP}")
    nats, tokens = _read_nats(directory / "nats")
    run = Run(
        info,
        directory,
        nats,
        tokens,
        read_series(directory / "token_nats", np.float64, STEP),
        **_read_answers(directory / ANSWERS),
        hyp=_optional(directory / "hyp", read_table),
        similarity=_optional(directory / "similarity", _read_similarity),
        judged=read_judged(directory) if judged else None,
    )
    _check(run)
    return run


def read_judged(run: str | Path) -> Judged | None:
    """The verdicts on a run's responses; None where there are none.

    Errors (ValueError): a damaged file; verdicts on other responses than those there."""
    directory = Path(run) / "judge"
    if not (directory / "judge.jsonl").is_file():
        return None
    about = _read_judge(directory / "judge.json")
    if about["responses"] != responses_hash(run):
        raise ValueError(
            f"{directory}: these are verdicts on other responses than those of {run} now; "
            "run judge again, or remove this directory"
        )
    return Judged(about["llm"], about["prompt"], _read_verdicts(directory / "judge.jsonl"))


def responses_hash(run: str | Path) -> str:
    """sha256 of a run's answers."""
    with open(Path(run) / ANSWERS, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def references_hash(responses: Iterable[tuple[str, Iterable[int]]]) -> str:
    """sha256 of (id, token ids) of reference responses, in order of ids."""
    total = hashlib.sha256()
    for id, ids in responses:
        total.update(f"{id} {' '.join(map(str, ids))}\n".encode())
    return total.hexdigest()


def _optional(path: Path, read: Callable[[Path], T]) -> T | None:
    return read(path) if path.is_file() else None


def _lines(path: Path) -> Iterator[tuple[int, dict]]:
    """(line number, object) of a file of JSON objects; None for a line that is not one."""
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                item = parse_json(line)
            except ValueError:
                item = None
            yield number, item if isinstance(item, dict) else {}


def _read_answers(path: Path) -> dict:
    responses: dict[str, str] = {}
    reasons, turns, numbers, lengths = {}, {}, array("i"), []
    for number, item in _lines(path):
        try:
            id, ids = sys.intern(item["id"]), item["response_ids"]
            if id in responses or not isinstance(item["response"], str):
                raise ValueError(f"the id {id} comes twice" if id in responses else "no response")
            numbers.extend(ids)
            lengths.append(len(ids))
            responses[id], reasons[id] = item["response"], sys.intern(item["finish_reason"])
            if item["turns"]:
                turns[id] = item["turns"]
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"{path}: line {number} is not an answer ({error}); {STEP}") from None
    return {
        "responses": responses,
        "response_ids": Series(responses, np.array(numbers, dtype=np.int32), lengths),
        "finish_reasons": reasons,
        "turns": turns,
    }


def _read_nats(path: Path) -> tuple[dict[str, Nats], dict[str, int]]:
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
                f"{STEP}"
            )
    return nats, tokens


def _read_similarity(path: Path) -> Similarity:
    names: tuple[str, ...] = ()
    table, numbers = read_table(path), array("d")
    for id, line in table.items():
        try:
            item = parse_json(line)
            names = names or tuple(item)
            numbers.extend(item[name] for name in names)
            good = len(item) == len(names) and all(map(math.isfinite, numbers[-len(names) :]))
        except (ValueError, TypeError, KeyError):
            good = False
        if not good:
            raise ValueError(f"{path}: {id}: not a JSON object of the same numbers; {STEP}")
    columns = np.array(numbers).reshape(len(table), len(names)).T
    return Similarity(tuple(table), dict(zip(names, columns, strict=True)))


def _read_judge(path: Path) -> dict:
    try:
        about = parse_json(path.read_text(encoding="utf-8"))
        good = all(isinstance(about[name], str) for name in ("llm", "prompt", "responses"))
    except (OSError, ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise ValueError(
            f"{path}: not a JSON object with llm, prompt and responses; run judge again"
        )
    return about


def _read_verdicts(path: Path) -> dict[str, bool | None]:
    verdicts: dict[str, bool | None] = {}
    for number, item in _lines(path):
        id, verdict = item.get("id"), item.get("verdict", "")
        if not isinstance(id, str) or id in verdicts or verdict not in (True, False, None):
            raise ValueError(
                f"{path}: line {number} is not a JSON object with an id of its own and a "
                "verdict (true, false or null); run judge again"
            )
        verdicts[id] = verdict
    return verdicts


def _check(run: Run) -> None:
    """Errors (ValueError): tables of other ids than `nats`; token_nats that are not its parts."""
    for name in ("responses", "token_nats"):
        check_same_ids(run.nats, getattr(run, name), f"{run.directory}: {name}", STEP)
    if run.judged is not None:
        step = "run judge again"
        check_same_ids(run.nats, run.judged.verdicts, f"{run.directory}: judge", step)
    differ = [
        (id, nats_X)
        for id, nats_X in run.token_nats.items()
        if len(nats_X) != run.tokens[id] or abs(nats_X.sum() - run.nats[id]) > 1e-3
    ]
    if differ:
        id, nats_X = differ[0]
        raise ValueError(
            f"{run.directory}: token_nats do not add up to nats in {len(differ)} of "
            f"{len(run.nats)} dialogues (first: {id}, {len(nats_X)} tokens of {nats_X.sum():.4f} "
            f"nats in all, expected {run.tokens[id]} of {run.nats[id]:.4f}); {STEP}"
        )
