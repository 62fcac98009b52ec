"""The verdicts of a judge model on a system's responses (bin/judge).

judge/judge.jsonl    {"id", "verdict": true | false | null, "reply"} a line; null: not parsable
judge/judge.json     the judge's name, its prompt, and the sha256 of the responses it read
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

DIRECTORY = "judge"


@dataclass(frozen=True)
class Judged:
    llm: str
    prompt: str  # the question that the judge was asked, with its places in braces
    verdicts: dict[str, bool | None]  # None: what it said is neither yes nor no

    @property
    def unparsable(self) -> int:
        return sum(verdict is None for verdict in self.verdicts.values())

    @property
    def successes(self) -> dict[str, bool]:
        """{id: success}; what could not be parsed is no success."""
        return {id: bool(verdict) for id, verdict in self.verdicts.items()}


def read_judged(system: str | Path) -> Judged | None:
    """The verdicts on a system's responses; None where there are none.

    Raises ValueError for a damaged file, and for verdicts on other responses than those there."""
    directory = Path(system) / DIRECTORY
    if not (directory / "judge.jsonl").is_file():
        return None
    about = _read_about(directory / "judge.json")
    if about["responses"] != hash_of(Path(system) / "responses.jsonl"):
        raise ValueError(
            f"{directory}: these are verdicts on other responses than those of {system} now; "
            "run judge again, or remove this directory"
        )
    verdicts = _read_verdicts(directory / "judge.jsonl")
    return Judged(about["llm"], about["prompt"], verdicts)


def hash_of(path: Path) -> str | None:
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_about(path: Path) -> dict:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        whole = all(isinstance(about[name], str) for name in ("llm", "prompt", "responses"))
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise ValueError(
            f"{path}: not a JSON object with llm, prompt and responses; run judge again"
        )
    return about


def _read_verdicts(path: Path) -> dict[str, bool | None]:
    verdicts: dict[str, bool | None] = {}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                item = json.loads(line)
                id, verdict = item["id"], item["verdict"]
                whole = isinstance(id, str) and (verdict is None or isinstance(verdict, bool))
            except (ValueError, KeyError, TypeError):
                whole = False
            if not whole or id in verdicts:
                raise ValueError(
                    f"{path}: line {number} is not a JSON object with an id of its own and a "
                    "verdict (true, false or null); run judge again"
                )
            verdicts[id] = verdict
    return verdicts
