"""The response store: what the frozen LLM answers to each transcript.

    store.json         which LLM, template, decoding and prompts; a store of others is refused
    .shard.NNNN.part   the journal of a shard in progress, one line an answer, whole batches
    shard.NNNN.jsonl   a finished shard: renamed when its last batch is written
    response_ids       "id 12 5 2" for training, in the order of ids; written last

Prompts are planned into shards by length, so a batch holds prompts of about one length. The plan
depends on the prompts alone: a rerun finds every finished batch and does the others, as before,
so a run that was killed ends with the same bytes. Jobs share a store by taking every n-th shard.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from ..atomic import atomic_write
from ..types import Response
from .kaldi_dir import write_table
from .prompt import encode, user_prompt

SHARD_SIZE = 1000  # answers in a shard
INDEX = "response_ids"


@dataclass(frozen=True)
class Request:
    id: str
    text: str
    num_tokens: int  # of the whole prompt, template included


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
    prompts_hash: str  # ids and texts


_CHANGED = {
    "fingerprint": "another LLM",
    "chat_template_hash": "another chat template",
    "system_prompt": "another system prompt",
    "max_tokens_factor": "another --max_tokens_factor",
    "beam": "another beam",
    "shard_size": "another shard size",
    "num_prompts": "another number of prompts",
    "prompts_hash": "other prompts",
}


# --- prompts ------------------------------------------------------------------------------------


def plan(texts: Mapping[str, str], tokenizer, system_prompt: str | None = None) -> list[Request]:
    """The requests for `texts` {id: transcript}, by length and then id.

    Errors (ValueError): no transcripts, empty transcripts, a prompt the template refuses."""
    if not texts:
        raise ValueError("there are no transcripts to answer: run stages 1 and 2 first")
    empty = sorted(id_ for id_, text in texts.items() if not text.strip())
    if empty:
        raise ValueError(
            f"{len(empty)} of {len(texts)} transcripts are empty (first: {empty[0]}); "
            "run fix_data on the directory to remove these utterances, or write their transcripts"
        )
    requests = [
        Request(id_, text, len(encode(user_prompt(text, system_prompt), tokenizer)))
        for id_, text in texts.items()
    ]
    return sorted(requests, key=lambda request: (request.num_tokens, request.id))


def hash_prompts(texts: Mapping[str, str]) -> str:
    """sha256 of ids and texts, in the order of ids."""
    total = hashlib.sha256()
    for id_ in sorted(texts):
        total.update(json.dumps([id_, texts[id_]]).encode())
    return total.hexdigest()


# --- reading ------------------------------------------------------------------------------------


def to_json(response: Response) -> str:
    """One line of a shard or of a system's responses.jsonl, without its line end."""
    return json.dumps(asdict(response), ensure_ascii=False)


def from_json(line: str) -> Response:
    fields = json.loads(line)
    return Response(**{**fields, "response_ids": tuple(fields["response_ids"])})


def read_jsonl(path: str | Path) -> Iterator[Response]:
    """The answers of one file of lines. Errors (ValueError) name the file and the line."""
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield from_json(line)
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(
                    f"{path}: line {number} is not a response ({error}): delete the file and "
                    "rerun the stage that made it"
                ) from error


def iter_responses(directory: str | Path) -> Iterator[Response]:
    """All answers of a finished store, shard by shard: by length of the prompt."""
    directory = Path(directory)
    settings = _read_settings(directory)
    missing = _missing_shards(directory, settings)
    if missing:
        raise ValueError(_unfinished(directory, missing, _num_shards(settings)))
    for shard in range(_num_shards(settings)):
        yield from read_jsonl(_shard_path(directory, shard))


def read_responses(
    directory: str | Path, ids: Collection[str] | None = None
) -> dict[str, Response]:
    """All answers of a finished store by id, in the order of ids.

    ids: the utterances that must have an answer; others are left out.

    Errors (ValueError): no store, an unfinished one, ids without an answer."""
    found = {response.id: response for response in iter_responses(directory)}
    if ids is None:
        return dict(sorted(found.items()))
    missing = sorted(set(ids) - found.keys())
    if missing:
        raise ValueError(
            f"{directory}: {len(missing)} of {len(ids)} utterances have no response "
            f"(first: {missing[0]}); rerun stage 7"
        )
    return {id_: found[id_] for id_ in sorted(ids)}


# --- writing ------------------------------------------------------------------------------------


class ResponseStore:
    """A store that is being filled. Opening it writes store.json, or checks the one there.

    about: notes for the reader of store.json (the LLM's name, its number format); not compared.

    Errors (ValueError): the directory holds a store made with other settings, or other files."""

    def __init__(self, directory: str | Path, settings: Settings, about: Mapping | None = None):
        self.directory = Path(directory)
        self.settings = settings
        if (self.directory / "store.json").exists():
            check_settings(self.directory, settings)
            return
        leftover = sorted(self.directory.glob("*shard.*"))
        if leftover:
            raise ValueError(
                f"{self.directory} has {len(leftover)} shards (first: {leftover[0].name}) but no "
                "store.json that says what made them: delete them or choose another directory"
            )
        with atomic_write(self.directory / "store.json") as out:
            json.dump({**(about or {}), **asdict(settings)}, out, indent=2, ensure_ascii=False)
            out.write("\n")

    def shards(self, requests: list[Request], job: int = 1, num_jobs: int = 1) -> list[Shard]:
        """The unfinished shards of job 1 ... num_jobs, of `requests` as `plan` ordered them."""
        size = self.settings.shard_size
        mine = range(job - 1, _num_shards(self.settings), num_jobs)
        shards = [
            Shard(_shard_path(self.directory, i), requests[i * size : (i + 1) * size]) for i in mine
        ]
        return [shard for shard in shards if not shard.path.exists()]

    def finish(self) -> bool:
        """Write the index if all shards are there. Returns whether the store is finished.

        Jobs that end together write the same index: whoever is last, it is whole."""
        if _missing_shards(self.directory, self.settings):
            return False
        if not (self.directory / INDEX).exists():
            merge(self.directory)
        return True


@dataclass(frozen=True)
class Shard:
    path: Path
    requests: list[Request]

    @property
    def journal(self) -> Path:
        return self.path.with_name(f".{self.path.stem}.part")

    def fill(
        self, answer: Callable[[list[Request]], list[Response]], batch_size: int
    ) -> Iterator[tuple[list[Request], list[Response]]]:
        """Answer what the journal lacks, a batch at a time; yield each batch once it is written.

        The journal becomes the shard when the last batch is in it. Batches start at multiples of
        batch_size, so they do not depend on where an earlier run was killed."""
        if self.path.exists():
            return  # another process was faster
        with _open_journal(self.journal) as journal:
            done = self._recover(journal, batch_size)
            for start in range(done, len(self.requests), batch_size):
                batch = self.requests[start : start + batch_size]
                responses = answer(batch)
                assert [r.id for r in responses] == [r.id for r in batch]
                self._append(journal, "".join(to_json(r) + "\n" for r in responses))
                yield batch, responses
            os.fsync(journal.fileno())
            os.replace(self.journal, self.path)

    def _recover(self, journal: IO[bytes], batch_size: int) -> int:
        """Cut the journal after its last whole batch; the number of answers it keeps."""
        ends = [0]
        lines = journal.read().split(b"\n")[:-1]  # what follows the last line end is half a line
        for line, request in zip(lines, self.requests, strict=False):
            if not _answers(line, request):
                break
            ends.append(ends[-1] + len(line) + 1)
        done = len(ends) - 1
        if done < len(self.requests):
            done -= done % batch_size
        journal.truncate(ends[done])
        return done

    def _append(self, journal: IO[bytes], lines: str) -> None:
        left = memoryview(lines.encode())
        try:
            while left:
                left = left[journal.write(left) :]
        except OSError as error:
            raise ValueError(
                f"cannot write {self.journal} ({error.strerror}): make room and run the same "
                "command again, it goes on from there"
            ) from error


def merge(directory: str | Path) -> int:
    """Write `response_ids` from the finished shards; the number of answers.

    Errors (ValueError): shards are missing, or hold fewer answers than there were prompts."""
    directory = Path(directory)
    settings = _read_settings(directory)
    rows = [(r.id, " ".join(map(str, r.response_ids))) for r in iter_responses(directory)]
    if len(rows) != settings.num_prompts:
        raise ValueError(
            f"{directory}: the shards hold {len(rows)} answers to {settings.num_prompts} prompts: "
            "delete the directory and rerun stage 7"
        )
    return write_table(directory / INDEX, rows)


def check_settings(directory: str | Path, settings: Settings) -> None:
    """Refuse a store that was made otherwise (ValueError)."""
    old = _read_settings(directory)
    changed = [
        word for name, word in _CHANGED.items() if getattr(old, name) != getattr(settings, name)
    ]
    if changed:
        raise ValueError(
            f"the responses in {directory} were made with {', '.join(changed)}: "
            "delete the directory or choose another one"
        )


def check_origin(
    directory: str | Path, fingerprint: str, chat_template_hash: str, system_prompt: str | None
) -> None:
    """Refuse (ValueError) a store whose answers are not those of this LLM to this form of prompt.

    Training on them, or measuring their perplexity, would mean nothing."""
    about = read_about(directory)
    ours = {
        "fingerprint": fingerprint,
        "chat_template_hash": chat_template_hash,
        "system_prompt": system_prompt,
    }
    changed = [_CHANGED[name] for name, value in ours.items() if about.get(name) != value]
    if changed:
        raise ValueError(
            f"the responses in {directory} were made with {', '.join(changed)}: "
            "give the same --llm, --chat_template and --system_prompt, or rerun stage 7"
        )


def read_about(directory: str | Path) -> dict:
    """store.json as it is: the settings and the notes.

    Errors (ValueError): there is none, or it is damaged."""
    path = Path(directory) / "store.json"
    if not path.is_file():
        raise ValueError(f"{directory} is not a response store (no store.json): run stage 7 first")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}): delete the directory and rerun stage 7"
        ) from error


def _read_settings(directory: str | Path) -> Settings:
    fields = read_about(directory)
    try:
        return Settings(**{name: fields[name] for name in _CHANGED})
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{directory}/store.json lacks {error}: delete the directory and rerun stage 7"
        ) from error


def _num_shards(settings: Settings) -> int:
    return -(-settings.num_prompts // settings.shard_size)


def _shard_path(directory: Path, shard: int) -> Path:
    return directory / f"shard.{shard:04d}.jsonl"


def _missing_shards(directory: Path, settings: Settings) -> list[Path]:
    paths = (_shard_path(directory, shard) for shard in range(_num_shards(settings)))
    return [path for path in paths if not path.exists()]


def _unfinished(directory: Path, missing: list[Path], num_shards: int) -> str:
    return (
        f"{directory}: {len(missing)} of {num_shards} shards are missing "
        f"(first: {missing[0].name}); rerun stage 7"
    )


def _answers(line: bytes, request: Request) -> bool:
    try:
        response = from_json(line.decode())
    except (ValueError, TypeError, KeyError):
        return False
    return response.id == request.id and response.prompt == request.text


@contextmanager
def _open_journal(path: Path) -> Iterator[IO[bytes]]:
    """The journal for reading and appending, held by this process alone."""
    import fcntl

    with open(path, "a+b", buffering=0) as journal:  # unbuffered: what is written is in the file
        try:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another process is writing {path}: wait for it, or end it and run again"
            ) from None
        except OSError:
            pass  # a file system without locks
        journal.seek(0)
        yield journal
