"""What systems are scored against: a data directory or a file of dialogues, with the reference
responses (stage 7) that all systems are measured on.

N dialogues
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..data.dialogues import name_of, read_dialogues
from ..data.kaldi_dir import read_dict, seconds
from ..store.responses import INDEX, open_shards, read_about
from ..store.runs import Run, references_hash
from ..store.series import Series, read_series
from ..store.tables import check_known_ids, check_none_empty, check_same_ids, is_table
from ..text.normalize import Normalizer, normalizer
from ..types import Dialogue, Seconds
from .noisy import NoisyCopy, read_noisy
from .success import normalize_all, rule_named, split_answers

T = TypeVar("T")

STAGES = "prepare and format this test set again (stages 1, 2)"
TABLES = {  # of a data directory, by the field of TestSet
    "texts": "text",
    "categories": "category",
    "speakers": "utt2spk",
    "seconds": "utt2dur",
    "translations": "translation",
    "summaries": "summary",
}


@dataclass(frozen=True)
class References:
    """The responses that every system is scored on; ids, responses and tokens in one order."""

    ids: tuple[str, ...]
    responses: dict[str, str]
    tokens_N: np.ndarray
    token_ids: Series
    about: Mapping = field(default_factory=dict)  # store.json: which LLM answered, and how

    @cached_property
    def hash(self) -> str:
        """What runs that were measured on them say in run.json."""
        return references_hash((id, ids_T.tolist()) for id, ids_T in self.token_ids.items())


@dataclass(frozen=True)
class TestSet:
    """A set of dialogues, each utterance of a data directory one of them."""

    __test__ = False  # not a test case of pytest

    name: str
    references: References
    texts: dict[str, str] | None = None  # transcripts by recording. None: there are none
    accepted: dict[str, tuple[str, ...]] | None = None  # answers. None: success is not judged
    categories: dict[str, str] | None = None
    speakers: dict[str, str] | None = None
    seconds: dict[str, Seconds] | None = None
    translations: dict[str, str] | None = None  # of some utterances, to compare responses with
    summaries: dict[str, str] | None = None  # likewise
    target_lang: str | None = None  # of translations and summaries. None: one with spaces
    rule: str = "contains"  # of success, one of success.RULES
    normalize: Normalizer = normalizer("basic")  # of transcripts
    noisy: NoisyCopy | None = None  # None: no noise was added
    dialogues: dict[str, Dialogue] | None = None  # of a file. None: utterances of a directory
    resample_by: str | None = None  # the table of `units`. None: each dialogue by itself
    units: dict[str, str] | None = None  # what the bootstrap draws together. None: see above

    @cached_property
    def aliases(self) -> dict[str, tuple[str, ...]]:
        """The accepted answers in the form in which the rule looks for them."""
        return normalize_all(self.accepted or {}, self.rule)

    def units_of(self, ids: Iterable[str]) -> list[str] | None:
        """What the bootstrap draws together, of each id. None: each by itself."""
        return None if self.units is None else [self.units[id] for id in ids]

    def counts(self, found: Mapping[str, tuple[int, int]]) -> np.ndarray:
        """(N, 2) errors and sizes of dialogues in the order of the references; none: 0."""
        return np.array([found.get(id, (0, 0)) for id in self.references.ids], dtype=np.float64)

    def by_dialogue(
        self, found: Mapping[str, T], total: Callable[[Iterable[T]], T]
    ) -> dict[str, T]:
        """What was counted by recording, summed by dialogue; dialogues without any left out."""
        if self.dialogues is None:
            return dict(found)
        return {
            id: total([found[recording] for recording in recordings])
            for id in self.dialogues
            if (recordings := self.recordings(id))
        }

    def recordings(self, id: str) -> list[str]:
        """The ids of a dialogue's recordings."""
        return [id] if self.dialogues is None else [*self.dialogues[id].recordings()]

    def question(self, id: str) -> str:
        """What is asked in the last turn, in words. Errors (ValueError): no transcript."""
        if self.dialogues is not None:
            return self.dialogues[id].turns[-1].text or ""
        if self.texts is None:
            raise ValueError(f"{self.name}: there is no text; run stages 1 and 2 first")
        return self.texts[id]


def read_references(store: str | Path) -> References:
    """The response store of stage 7. Errors (ValueError): it is not complete."""
    store = Path(store)
    about = read_about(store)
    if not (store / INDEX).is_file():
        raise ValueError(f"{store}: there is no {INDEX}, so it is not complete; rerun stage 7")
    token_ids = read_series(store / INDEX, np.int32, "rerun stage 7")
    empty = [id for id, ids_T in token_ids.items() if not len(ids_T)]
    check_none_empty(empty, len(token_ids), f"responses in {store} have no token", "rerun stage 7")
    responses = {sys.intern(r["id"]): r["response"] for r in open_shards(store).records()}
    check_same_ids(token_ids, responses, f"{store}: the shards", "rerun stage 7")
    tokens_N = np.array([len(ids_T) for ids_T in token_ids.values()])
    return References(tuple(token_ids), responses, tokens_N, token_ids, about)


def read_test_set(
    path: str | Path,
    store: str | Path | None = None,
    rule: str = "contains",
    normalize: str = "basic",
    target_lang: str | None = None,
    resample_by: str | None = None,
) -> TestSet:
    """A data directory, or a file of dialogues.

    Args:
        store: its reference responses. None: DIR/responses.
        rule: of success, see success.RULES. normalize: see text/normalize.
        resample_by: a table of the directory (utt2spk), or its path, whose values the bootstrap
            draws; None: utterances. The dialogues of a file are drawn by themselves.

    Errors (ValueError): nothing there, tables of other ids than the references, an unknown rule,
    normaliser, or damaged file."""
    path = Path(path)
    how: dict = {"target_lang": target_lang, "rule": rule_named(rule).name}
    how["normalize"] = normalizer(normalize)
    if path.is_dir():
        tables = _read_directory(path)
    elif path.suffix == ".jsonl":
        tables = _of_dialogues(read_dialogues(path))
    else:
        raise ValueError(
            f"{path}: there is no such data directory; run stages 1 and 2 first, or give a file "
            "of dialogues (.jsonl)"
        )
    references = read_references(store or path / "responses")
    if resample_by and path.is_dir():
        how |= {
            "resample_by": Path(resample_by).name,
            "units": _units(path, resample_by, references),
        }
    test_set = TestSet(name_of(path), references, **tables, **how)
    _check(test_set)
    return test_set


def check_run(run: Run, test_set: TestSet) -> None:
    """Errors (ValueError): the run is not of these dialogues and references."""
    where, references = f"{run.directory} ({run.info.label})", test_set.references
    check_same_ids(references.ids, run.nats, f"{where}: nats", "rerun stage 10")
    pairs = zip(references.ids, references.tokens_N.tolist(), strict=True)
    differ = [(id, n) for id, n in pairs if run.tokens[id] != n]
    if differ:
        id, expected = differ[0]
        raise ValueError(
            f"{where}: {len(differ)} of {len(references.ids)} utterances were not scored on the "
            f"reference response tokens (first: {id}, {run.tokens[id]} tokens, expected "
            f"{expected}); rerun stage 10"
        )
    if run.similarity is not None:
        known, found = test_set.texts or {}, dict.fromkeys(run.similarity.ids)
        check_known_ids(known, found, f"{where}: similarity", "rerun stage 10")


def _read_directory(data: Path) -> dict:
    tables: dict = {name: _read(data / file) for name, file in TABLES.items()}
    if tables["seconds"] is not None:
        tables["seconds"] = {
            id: seconds(data, id, value) for id, value in tables["seconds"].items()
        }
    answers = _read(data / "answers")
    if answers is not None:
        tables["accepted"] = {id: split_answers(line) for id, line in answers.items()}
    return {**tables, "noisy": read_noisy(data)}


def _read(path: Path) -> dict[str, str] | None:
    """A table; None: there is none."""
    if not is_table(path):
        return None
    return {sys.intern(id): value for id, value in read_dict(path).items()}


def _units(data: Path, table: str, references: References) -> dict[str, str]:
    found = _read(data / table) or _read(Path(table))
    if found is None:
        raise ValueError(
            f"--resample_by {table}: there is no such table in {data}; give one that is there "
            "(utt2spk), or the path of a table of its utterances"
        )
    missing = [id for id in references.ids if id not in found]
    if missing:
        raise ValueError(
            f"--resample_by {table}: {len(missing)} of {len(references.ids)} utterances of {data} "
            f"have no line in it (first: {missing[0]}); complete it, or choose another table"
        )
    return found


def _of_dialogues(dialogues: Sequence[Dialogue]) -> dict:
    recordings = (item for dialogue in dialogues for item in dialogue.recordings().items())
    return {
        "texts": {id: audio.text or "" for id, audio in recordings} or None,
        "accepted": {d.id: d.accepted for d in dialogues},
        "categories": {d.id: d.category or "" for d in dialogues},
        "dialogues": {d.id: d for d in dialogues},
    }


def _check(test_set: TestSet) -> None:
    ids = test_set.references.ids
    same: dict[str, Mapping | None] = {
        "category": test_set.categories,
        "utt2spk": test_set.speakers,
    }
    same |= {"utt2dur": test_set.seconds, "dialogues": test_set.dialogues}
    some: dict[str, Mapping | None] = {"answers": test_set.accepted}
    some |= {"translation": test_set.translations, "summary": test_set.summaries}
    if test_set.dialogues is None:
        same["text"] = test_set.texts
    for what, table in same.items():
        if table is not None:
            check_same_ids(ids, table, f"{test_set.name}: {what}", STAGES)
    for what, table in some.items():
        check_known_ids(ids, table or {}, f"{test_set.name}: {what}", STAGES)
