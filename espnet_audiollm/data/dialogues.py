"""Sets of dialogues: what systems answer (AudioChatLlama, section 4.5 and Appendix A).

A set is a formatted data directory, each utterance a dialogue of one spoken turn, or a file with
one JSON object a line, turns of text and of audio:

    {"id": "troy-1", "category": "summary",
     "turns": [{"role": "user", "text": "Summarize what I say next."},
               {"role": "assistant"},
               {"role": "user", "audio": "audio/troy-1.wav", "text": "Troy was an ancient city."}],
     "expected": ["ancient city"], "reference": "Troy was an ancient city."}

The last turn is the user's: what is answered to it is scored. `expected` holds accepted answers,
any one is right; without them a response must equal the reference. Without a `reference` that is
what the LLM answers to the dialogue in text. An assistant's turn without text is what the system
answers itself at that place. An audio path is relative to the file; `text` beside it is its
transcript.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..store.atomic import atomic_write
from ..store.json_files import parse_json
from ..store.tables import CONTROLS, is_table
from ..types import Audio, Content, Dialogue, Turn, Utterance
from . import audio as sound
from . import sources
from .kaldi_dir import count_utterances, iter_utterances, read_table

ROLES = ("system", "user", "assistant")
FIELDS = {"id", "category", "turns", "expected", "reference"}
TURN_FIELDS = {"role", "text", "audio"}
NEXT = "correct the file and run the same command again"


def name_of(path: str | Path) -> str:
    """The name of a set in tables and of its places: the directory's, or the file's stem."""
    path = Path(path).resolve()
    return path.name if path.is_dir() else path.stem


def has_context(path: str | Path) -> bool:
    """Whether dialogues of the set may have several turns."""
    return not Path(path).is_dir()


def has_transcripts(path: str | Path) -> bool:
    """Whether what is said in a set is known; in a file of dialogues it always is."""
    return not Path(path).is_dir() or is_table(Path(path) / "text")


def count(path: str | Path) -> int:
    """How many dialogues a set has. Errors (ValueError): see `iter_dialogues`."""
    return count_utterances(path) if Path(path).is_dir() else len(read_dialogues(path))


def iter_dialogues(path: str | Path) -> Iterator[Dialogue]:
    """The dialogues of a set in order of ids; those of a data directory are streamed.

    Errors (ValueError): those of `read_dialogues` and `kaldi_dir.iter_utterances`; audio whose
    duration cannot be read."""
    if Path(path).is_dir():
        return map(of_utterance, iter_utterances(path))
    return map(_with_duration, read_dialogues(path))


def iter_transcripts(path: str | Path) -> Iterator[Dialogue]:
    """The dialogues of a set without their audio; of a data directory the table `text` is read.

    Errors (ValueError): those of `read_dialogues` and `kaldi_dir.read_table`."""
    if not Path(path).is_dir():
        return iter(read_dialogues(path))
    rows = read_table(Path(path) / "text")
    return (Dialogue(id_, (Turn("user", Audio(text=text)),)) for id_, text in rows)


def spell(dialogue: Dialogue) -> str:
    """What a response depends on, in one line: the text of the only turn, else all turns."""
    if len(dialogue.turns) == 1 and dialogue.reference is None:
        return dialogue.turns[0].text or ""
    turns = [[turn.role, turn.text] for turn in dialogue.turns]
    return json.dumps([turns, dialogue.reference], ensure_ascii=False)


def iter_recordings(path: str | Path) -> Iterator[Utterance]:
    """Every recording of a set as an utterance, in order of ids (`Dialogue.recordings`).

    Errors (ValueError): as for `iter_dialogues`."""
    if Path(path).is_dir():
        return iter_utterances(path)
    found = {i: a for d in read_dialogues(path) for i, a in d.recordings().items()}
    return iter([_utterance(id_, found[id_]) for id_ in sorted(found)])


def recordings_state(path: str | Path) -> str:
    """sha256 of names, sizes and times of change of the recordings in a file of dialogues."""
    digest = hashlib.sha256()
    for dialogue in read_dialogues(path):
        for audio in dialogue.recordings().values():
            try:
                digest.update(sources.parse(audio.path or "").stamp().encode())
            except OSError:
                digest.update(f"{audio.path} cannot be found\n".encode())
    return digest.hexdigest()


def count_recordings(path: str | Path) -> int:
    """How many recordings a set has."""
    if Path(path).is_dir():
        return count_utterances(path)
    return sum(len(dialogue.recordings()) for dialogue in read_dialogues(path))


def of_utterance(utterance: Utterance) -> Dialogue:
    """An utterance as a dialogue of one turn."""
    content = Audio(utterance.audio, utterance.text)
    return Dialogue(utterance.id, (Turn("user", content),), duration=utterance.duration or 0.0)


def _with_duration(dialogue: Dialogue) -> Dialogue:
    found = dialogue.recordings().items()
    return replace(dialogue, duration=sum(_utterance(*each).duration or 0.0 for each in found))


def _utterance(id_: str, audio: Audio) -> Utterance:
    """A recording of a dialogue, its duration measured."""
    assert audio.path is not None  # in a file of dialogues
    try:
        return Utterance(id_, audio.path, "", sound.info(audio.path).duration, audio.text)
    except sound.AudioError as error:
        raise ValueError(f"{id_}: {error}") from error


def read_dialogues(path: str | Path) -> list[Dialogue]:
    """The dialogues of a file, sorted by id, their durations not measured.

    Errors (ValueError), with line and id: no JSON object, unknown or missing fields, roles out of
    turn, no word where one is needed, audio that is missing, an id that comes twice; no dialogue
    at all."""
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
        raise ValueError(f"{path}: there is no dialogue in it; {NEXT}")
    return [found[id_] for id_ in sorted(found)]


def append_dialogue(path: str | Path, dialogue: Dialogue) -> str:
    """Add a dialogue to the file of a set, which may not be there yet; its id.

    Recordings are copied to <set>_audio/ beside the file. An empty id becomes chat-1, chat-2, ...

    Errors (ValueError), with the file as it was: those of `read_dialogues`, and what is no
    dialogue of such a file."""
    path = Path(path)
    known = {each.id for each in read_dialogues(path)} if path.is_file() else set()
    free = (f"chat-{n}" for n in itertools.count(1) if f"chat-{n}" not in known)
    id_ = dialogue.id or next(free)
    if id_ in known:
        raise ValueError(f"{path} has a dialogue {id_} already: give another id")
    turns: list[dict[str, str | None]] = []
    places: dict[Path, Path] = {}
    for number, turn in enumerate(dialogue.turns, 1):
        said: dict[str, str | None] = {"role": turn.role, "text": turn.text}
        if turn.audio is not None:
            source = Path(turn.audio.path or "")
            copy = Path(f"{path.stem}_audio") / f"{id_}-{number}{source.suffix}"
            places[path.parent / copy] = source
            said["audio"] = str(copy)
        turns.append(said)
    item = {"id": id_, "category": dialogue.category, "turns": turns}
    line = json.dumps({**item, "reference": dialogue.reference}, ensure_ascii=False)
    for place, source in places.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)
    try:
        parse(line, path.parent)
    except ValueError:
        for place in places:
            place.unlink()
        raise
    before = path.read_text(encoding="utf-8") if known else ""
    with atomic_write(path) as out:
        out.write(f"{before.rstrip()}\n{line}\n".lstrip("\n"))
    return id_


def parse(line: str, directory: Path) -> Dialogue:
    """One line; its audio paths are relative to `directory`. Errors: see `read_dialogues`."""
    try:
        item = parse_json(line)
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from None
    if not isinstance(item, dict):
        raise ValueError("not a JSON object with id, category, turns and expected")
    id_ = item.get("id")
    if not isinstance(id_, str) or not id_ or len(id_.split()) != 1 or id_ != id_.strip():
        raise ValueError(f"the id {id_!r} is not a word without white space")
    if CONTROLS.search(id_):
        raise ValueError(f"the id {id_!r} has control characters: give it printable letters")
    try:
        return _dialogue(id_, item, directory)
    except ValueError as error:
        raise ValueError(f"{id_}: {error}") from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file or directory; give a data directory, or a file of dialogues "
            "(one JSON object a line)"
        )
    try:
        with open(path, encoding="utf-8") as lines:
            yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}); {NEXT}") from None


def _dialogue(id_: str, item: dict, directory: Path) -> Dialogue:
    check_fields(item, FIELDS, "")
    category, turns = item.get("category"), item.get("turns")
    expected, reference = item.get("expected", []), item.get("reference")
    check_words(category, "category")
    if not isinstance(turns, list) or not turns:
        raise ValueError("turns is no list of turns")
    if not isinstance(expected, list):
        raise ValueError("expected is no list of accepted answers")
    for alias in expected:
        check_words(alias, "expected answer")
    if reference is not None:
        check_words(reference, "reference")
    talk = tuple(_turn(turn, number, directory) for number, turn in enumerate(turns, 1))
    check_roles([turn.role for turn in talk])
    return Dialogue(id_, talk, category, tuple(expected), reference)


def _turn(item: object, number: int, directory: Path) -> Turn:
    where = f"turn {number}: "
    if not isinstance(item, dict):
        raise ValueError(f"{where}not a JSON object with role and text")
    check_fields(item, TURN_FIELDS, where)
    role, text, audio = item.get("role"), item.get("text"), item.get("audio")
    if role not in ROLES:
        raise ValueError(f"{where}the role {role!r} is not one of {', '.join(ROLES)}")
    if audio is not None and role != "user":
        raise ValueError(f"{where}the {role} has audio; only the user's turns may")
    if role == "user" and text is None:
        what = "the audio has no text (what is said in it)" if audio else "no text and no audio"
        raise ValueError(f"{where}{what}")
    if role == "system" and text == "":
        return Turn(role, text)
    if role != "assistant" or text is not None:
        check_words(text, f"{where}text")
    content: Content | None = text
    if audio is not None:
        content = Audio(_find(audio, where, directory), text)
    return Turn(role, content)


def _find(audio: object, where: str, directory: Path) -> str:
    check_words(audio, f"{where}audio")
    path = directory / str(audio)
    if not path.is_file():
        raise ValueError(f"{where}the audio {path} is missing")
    return str(path)


def check_roles(roles: Sequence[str]) -> None:
    """A system turn may open; then user and assistant take turns; the last is the user's (else
    ValueError)."""
    talk = roles[1:] if roles[0] == "system" else roles
    if not talk or talk[-1] != "user":
        raise ValueError(f"the last turn is the {roles[-1]}'s; the user's is to be answered")
    for number, role in enumerate(talk):
        if role != ("user", "assistant")[number % 2]:
            raise ValueError(
                f"the roles are {', '.join(roles)}; user and assistant take turns, the user first, "
                "after a system turn at most"
            )


def check_fields(item: dict, known: set[str], where: str) -> None:
    """Refuse (ValueError) a field that is not one of `known`."""
    unknown = sorted(item.keys() - known, key=str)
    if unknown:
        raise ValueError(
            f"{where}unknown field {unknown[0]!r}; known are {', '.join(sorted(known))}"
        )


def check_words(value: object, what: str) -> None:
    """Refuse (ValueError) what is no text, or has no word."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{what} is {value!r}, and not a text with words in it")
