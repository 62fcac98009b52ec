"""Behaviours: the contexts in which stage 7 asks what an utterance says (AudioChatLlama, 4.5).

An alignment only on answers learns what an answer needs, in a first turn. A file of contexts lets
an utterance be repeated, translated, asked about later, spoken after other turns. YAML, a list, or
one such object a line (.jsonl):

    - name: answer                  # goes into the ids of its examples
      weight: 4                     # how often it is drawn, relative to the others
    - name: repeat
      weight: 1
      system: You are a parrot.     # optional
      turns:                        # without them: one turn, "{speech}"
        - {role: user, text: "{other}"}       # another utterance of the corpus, as audio
        - {role: assistant}                   # the LLM's own answer; with a text: that text
        - {role: user, text: ["Repeat this: {speech}", "{speech} Now say that again."]}
      fits: "^(the|my) "            # optional: only utterances whose transcript has this pattern
      other_fits: "^what "          # optional: only such an utterance is {other}

Of several texts of a turn one is drawn. Just one turn has {speech}, the utterance itself; a turn
has at most one of {speech} and {other}. Each utterance draws contexts that fit it, none twice.
Everything follows from the seed and the utterance's id.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..store.json_files import parse_json
from ..store.yaml_files import read_yaml
from ..types import Audio, Content, Dialogue, Part, Role, Turn
from .dialogues import NEXT, check_fields, check_roles, check_words
from .index import Table
from .kaldi_dir import read_table

FIELDS = {"name", "weight", "system", "turns", "fits", "other_fits"}
TURN_FIELDS = {"role", "text"}
ROLES = ("user", "assistant")
SPEECH, OTHER = "{speech}", "{other}"
MARK = "!"  # between the utterance's id and the context's name: before all letters in order
HEAVIEST = 1e9  # weight
TRIES = 1000  # random utterances, until one fits

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_PLACE = re.compile(r"(\{\w+\})")


@dataclass(frozen=True)
class Line:
    """A turn of a context."""

    role: Role
    texts: tuple[str, ...]  # one is drawn. (): the LLM answers here itself


@dataclass(frozen=True)
class Context:
    """One way to ask what an utterance says."""

    name: str
    weight: float
    lines: tuple[Line, ...]
    fits: re.Pattern[str] | None = None  # in the transcript. None: it fits all utterances
    other_fits: re.Pattern[str] | None = None


@dataclass(frozen=True)
class Behaviours:
    """The contexts of a file, and how many of them an utterance draws."""

    contexts: tuple[Context, ...]
    per_utterance: int
    seed: int
    hash: str  # of the contexts; comments and layout do not count

    def __str__(self) -> str:
        """What a response store is compared by."""
        return f"{self.hash[:16]}, {self.per_utterance} an utterance, seed {self.seed}"

    def draw(self, id_: str, text: str) -> list[Context]:
        """The contexts of an utterance, in order of their names."""
        rng = random.Random(f"{self.seed} {id_}")
        left = [each for each in self.contexts if each.fits is None or each.fits.search(text)]
        drawn: list[Context] = []
        while left and len(drawn) < self.per_utterance:
            drawn += rng.choices(left, [each.weight for each in left])
            left.remove(drawn[-1])
        return sorted(drawn, key=lambda each: each.name)


@dataclass(frozen=True)
class Corpus:
    """A data directory whose utterances are asked."""

    directory: Path

    @cached_property
    def texts(self) -> Table:
        """The transcripts, to take any of them."""
        return Table(self.directory / "text")

    def examples(self, behaviours: Behaviours) -> Iterator[Dialogue]:
        """What stage 7 answers: each utterance in its contexts, in order of ids, streamed.

        The example of the utterance `u` in the context `c` has the id "u!c".

        Errors (ValueError): no table `text`, or a damaged one; an id with the mark in it; no
        utterance found to be {other}."""
        for id_, text in read_table(self.directory / "text"):
            if MARK in id_:
                raise ValueError(
                    f"{self.directory}/text: the id {id_} has a '{MARK}', which ends the id of an "
                    "utterance in those of its examples: rename it, or leave --behaviours out"
                )
            for context in behaviours.draw(id_, text):
                rng = random.Random(f"{behaviours.seed} {id_} {context.name}")
                speech = Audio(text=text, utterance=id_)
                turns = tuple(
                    Turn(line.role, self._content(line, context, speech, rng))
                    for line in context.lines
                )
                yield Dialogue(f"{id_}{MARK}{context.name}", turns)

    def _content(
        self, line: Line, context: Context, speech: Audio, rng: random.Random
    ) -> Content | None:
        if not line.texts:
            return None
        parts: list[Part] = []
        for piece in _PLACE.split(rng.choice(line.texts)):
            if piece == SPEECH:
                parts.append(speech)
            elif piece == OTHER:
                parts.append(self._other(context, speech, rng))
            elif piece:
                parts.append(piece)
        if len(parts) > 1:
            return tuple(parts)
        return parts[0] if parts else ""

    def _other(self, context: Context, speech: Audio, rng: random.Random) -> Audio:
        for _ in range(TRIES):
            id_, text = self.texts[rng.randrange(len(self.texts))]
            fits = context.other_fits is None or context.other_fits.search(text)
            if fits and text and id_ != speech.utterance:
                return Audio(text=text, utterance=id_)
        raise ValueError(
            f"{self.directory}/text: none of {TRIES} utterances taken at random can be {OTHER} in "
            f"the context {context.name}: let its other_fits fit more, or remove it"
        )


# --- reading ------------------------------------------------------------------------------------


def read_behaviours(path: str | Path, per_utterance: int = 1, seed: int = 0) -> Behaviours:
    """The contexts of a file.

    Errors (ValueError), each with the number and the name of the context: unknown fields, no
    weight, {speech} in no turn or in several, roles out of turn, patterns that are none, a name
    that comes twice; no context that fits all utterances; more contexts asked for than there are.
    """
    items = _items(Path(path))
    contexts: dict[str, Context] = {}
    for number, item in enumerate(items, 1):
        name = item.get("name") if isinstance(item, dict) else None
        try:
            context = _context(item)
            json.dumps(item, ensure_ascii=False).encode()  # an escape may be half a character
            if context.name in contexts:
                raise ValueError("this name comes twice")
        except ValueError as error:
            raise ValueError(
                f"{path}: context {number} ({str(name)[:60]}): {error}; {NEXT}"
            ) from None
        contexts[context.name] = context
    if all(context.fits for context in contexts.values()):
        raise ValueError(
            f"{path}: all of its {len(contexts)} contexts say what they fit, so that some "
            f"utterances may have none: add one without fits; {NEXT}"
        )
    if not 1 <= per_utterance <= len(contexts):
        raise ValueError(
            f"--behaviours_per_utterance {per_utterance}: {path} has {len(contexts)} contexts, and "
            "an utterance is asked in each at most once: give 1 to that number"
        )
    spelled = json.dumps(items, sort_keys=True, ensure_ascii=False).encode()
    digest = hashlib.sha256(spelled).hexdigest()
    return Behaviours(tuple(contexts.values()), per_utterance, seed, digest)


def _items(path: Path) -> list:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file of behaviours; conf/behaviours has some")
    if path.suffix == ".jsonl":
        lines = path.read_bytes().split(b"\n")
        found = [_json(path, *each) for each in enumerate(lines, 1) if each[1].strip()]
    else:
        found = read_yaml(path, NEXT)
    if not isinstance(found, list) or not found:
        raise ValueError(f"{path} holds no list of contexts ('- name: ...'); {NEXT}")
    return found


def _json(path: Path, number: int, line: bytes) -> object:
    try:
        return parse_json(line.decode())
    except ValueError as error:
        raise ValueError(f"{path}: line {number} is not JSON ({error}); {NEXT}") from None


def _context(item: object) -> Context:
    if not isinstance(item, dict):
        raise ValueError("not an object with name and weight")
    check_fields(item, FIELDS, "")
    name, weight, turns = item.get("name"), item.get("weight"), item.get("turns")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"the name {str(name)[:60]!r} is no word of letters, digits, '_', '-' and '.'"
        )
    if not isinstance(weight, int | float) or weight is True or not 0 < weight <= HEAVIEST:
        raise ValueError(
            f"the weight {str(weight)[:20]!r} is no number above 0, up to {HEAVIEST:g}"
        )
    if turns is None:
        turns = [{"role": "user", "text": SPEECH}]
    if not isinstance(turns, list) or not turns:
        raise ValueError("turns is no list of turns")
    lines = [_line(turn, number) for number, turn in enumerate(turns, 1)]
    check_roles([line.role for line in lines])
    _check_speech(lines)
    if "system" in item:
        if item["system"] != "":  # an empty system turn is one, too
            check_words(item["system"], "system")
        lines.insert(0, Line("system", (item["system"],)))
    patterns = (_pattern(item, field) for field in ("fits", "other_fits"))
    return Context(name, weight, tuple(lines), *patterns)


def _line(item: object, number: int) -> Line:
    where = f"turn {number}: "
    if not isinstance(item, dict):
        raise ValueError(f"{where}not an object with role and text")
    check_fields(item, TURN_FIELDS, where)
    role, text = item.get("role"), item.get("text")
    if role not in ROLES:
        raise ValueError(
            f"{where}the role {role!r} is not one of {', '.join(ROLES)} (system is a field of the "
            "context)"
        )
    if role == "assistant" and text is None:
        return Line(role, ())
    texts: list = text if isinstance(text, list) and text else [text]
    for each in texts:
        check_words(each, f"{where}text")
        _check_places(each, role, where)
    if len({tuple(_PLACE.findall(each)) for each in texts}) > 1:
        raise ValueError(f"{where}some of its {len(texts)} texts have {SPEECH} and others not")
    return Line(role, tuple(texts))


def _check_places(text: str, role: str, where: str) -> None:
    places = _PLACE.findall(text)
    unknown = [place for place in places if place not in (SPEECH, OTHER)]
    if unknown:
        raise ValueError(f"{where}{unknown[0]} is neither {SPEECH} nor {OTHER}")
    if places and role != "user":
        raise ValueError(f"{where}the {role} has {places[0]}; only the user's turns may")
    if len(places) > 1:
        raise ValueError(f"{where}{len(places)} recordings ({', '.join(places)}); one is possible")


def _check_speech(lines: Sequence[Line]) -> None:
    count = sum(SPEECH in line.texts[0] for line in lines if line.texts)
    if count != 1:
        raise ValueError(f"{count} turns have {SPEECH}; exactly one is to have it")


def _pattern(item: dict, field: str) -> re.Pattern[str] | None:
    if field not in item:
        return None
    check_words(item[field], field)
    try:
        return re.compile(item[field])
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{field}: {item[field][:60]!r} is no pattern ({error})") from None
