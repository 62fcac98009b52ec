"""Conversation sets: one JSON object a line, turns of text and of audio (AudioChatLlama, section
4.5 and Appendix A).

    {"id": "troy-1", "category": "summary",
     "turns": [{"role": "user", "text": "Summarize what I say next."},
               {"role": "assistant"},
               {"role": "user", "audio": "audio/troy-1.wav", "text": "Troy was an ancient city."}],
     "expected": ["ancient city"], "reference": "Troy was an ancient city."}

The last turn is the user's: what is answered to it is scored. `expected` holds accepted answers,
any one is right; without them a response must equal the reference. Without a `reference` that is
what the LLM answers to the conversation in text. An assistant's turn without text is what the
system asked has answered itself at that place. An audio path is relative to the file; `text` beside
it is what is said there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..types import Role

ROLES = ("system", "user", "assistant")
FIELDS = {"id", "category", "turns", "expected", "reference"}
TURN_FIELDS = {"role", "text", "audio"}
NEXT = "correct the file and run the same command again"


@dataclass(frozen=True)
class SpokenTurn:
    role: Role
    text: str | None  # a transcript where there is audio. None: the system answers here itself
    audio: str | None = None  # path. None: the turn is read, not heard


@dataclass(frozen=True)
class Dialogue:
    """One conversation to be continued, and what is expected of that."""

    id: str
    category: str
    turns: tuple[SpokenTurn, ...]
    expected: tuple[str, ...] = ()  # (): the response must equal the reference
    reference: str | None = None  # None: what the LLM answers to the conversation in text

    @property
    def audios(self) -> list[SpokenTurn]:
        return [turn for turn in self.turns if turn.audio]

    def without_context(self) -> Dialogue:
        """The last turn alone, and a system turn where there is one."""
        system = tuple(turn for turn in self.turns[:1] if turn.role == "system")
        turns = (*system, self.turns[-1])
        return Dialogue(self.id, self.category, turns, self.expected, self.reference)


def read_conversations(path: str | Path) -> list[Dialogue]:
    """The conversations of a file, sorted by id.

    Errors (ValueError), with line and id: no JSON object, unknown or missing fields, roles out of
    turn, no word where one is needed, audio that is missing, an id that comes twice; no
    conversation at all."""
    path = Path(path)
    found: dict[str, Dialogue] = {}
    for number, line in _lines(path):
        try:
            dialogue = parse(line, path.parent)
            if dialogue.id in found:
                raise ValueError(f"{dialogue.id}: this id comes twice")
        except ValueError as error:
            raise ValueError(f"{path}: line {number}: {error}; {NEXT}") from None
        found[dialogue.id] = dialogue
    if not found:
        raise ValueError(f"{path}: there is no conversation in it; {NEXT}")
    return [found[id_] for id_ in sorted(found)]


def parse(line: str, directory: Path) -> Dialogue:
    """One line; its audio paths are relative to `directory`. Errors: see `read_conversations`."""
    try:
        item = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error})") from None
    if not isinstance(item, dict):
        raise ValueError("not a JSON object with id, category, turns and expected")
    id_ = item.get("id")
    if not isinstance(id_, str) or not id_ or len(id_.split()) != 1 or id_ != id_.strip():
        raise ValueError(f"the id {id_!r} is not a word without white space")
    try:
        return _dialogue(id_, item, directory)
    except ValueError as error:
        raise ValueError(f"{id_}: {error}") from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give a conversation set (one JSON object a line)")
    try:
        with open(path, encoding="utf-8") as lines:
            yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}); {NEXT}") from None


def _dialogue(id_: str, item: dict, directory: Path) -> Dialogue:
    _check_fields(item, FIELDS, "")
    category, turns = item.get("category"), item.get("turns")
    expected, reference = item.get("expected", []), item.get("reference")
    _check_words(category, "category")
    if not isinstance(turns, list) or not turns:
        raise ValueError("turns is no list of turns")
    if not isinstance(expected, list):
        raise ValueError("expected is no list of accepted answers")
    for alias in expected:
        _check_words(alias, "expected answer")
    if reference is not None:
        _check_words(reference, "reference")
    spoken = tuple(_turn(turn, number, directory) for number, turn in enumerate(turns, 1))
    _check_roles(spoken)
    return Dialogue(id_, category, spoken, tuple(expected), reference)


def _turn(item: object, number: int, directory: Path) -> SpokenTurn:
    where = f"turn {number}: "
    if not isinstance(item, dict):
        raise ValueError(f"{where}not a JSON object with role and text")
    _check_fields(item, TURN_FIELDS, where)
    role, text, audio = item.get("role"), item.get("text"), item.get("audio")
    if role not in ROLES:
        raise ValueError(f"{where}the role {role!r} is not one of {', '.join(ROLES)}")
    if audio is not None and role != "user":
        raise ValueError(f"{where}the {role} has audio; only the user is heard")
    if role == "user" and text is None:
        what = "the audio has no text (what is said in it)" if audio else "no text and no audio"
        raise ValueError(f"{where}{what}")
    if role == "system" and text == "":
        return SpokenTurn(role, text)
    if role != "assistant" or text is not None:
        _check_words(text, f"{where}text")
    return SpokenTurn(role, text, None if audio is None else _find(audio, where, directory))


def _find(audio: object, where: str, directory: Path) -> str:
    _check_words(audio, f"{where}audio")
    path = directory / str(audio)
    if not path.is_file():
        raise ValueError(f"{where}the audio {path} is missing")
    return str(path)


def _check_roles(turns: tuple[SpokenTurn, ...]) -> None:
    """A system turn may open; then user and assistant take turns; the last is the user's."""
    roles = [turn.role for turn in turns]
    talk = roles[1:] if roles[0] == "system" else roles
    if not talk or talk[-1] != "user":
        raise ValueError(f"the last turn is the {roles[-1]}'s; the user's is to be answered")
    for number, role in enumerate(talk):
        if role != ("user", "assistant")[number % 2]:
            raise ValueError(
                f"the roles are {', '.join(roles)}; user and assistant take turns, the user first, "
                "after a system turn at most"
            )


def _check_fields(item: dict, known: set[str], where: str) -> None:
    unknown = sorted(item.keys() - known)
    if unknown:
        raise ValueError(
            f"{where}unknown field {unknown[0]!r}; known are {', '.join(sorted(known))}"
        )


def _check_words(value: object, what: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{what} is {value!r}, and not a text with words in it")
