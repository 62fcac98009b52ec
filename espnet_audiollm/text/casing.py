"""Transcripts as prompts: casing and punctuation that an LLM is used to.

A transcript of LibriSpeech is in capitals without punctuation, and a recogniser's hypotheses are
no better. An LLM has read few questions of that form. A recipe may therefore have every prompt
brought into one form, chosen by name; stages 7 and 10 must agree, so the name is kept in the store.

    asis      nothing is changed
    lower     small letters
    upper     capitals (to measure what they do)
    sentence  English: a capital at the start, "I", and a full stop or question mark at the end
    truecase  sentence, with each word as a text of yours writes it most often (names, acronyms)

`sentence` keeps the letters of a text that has both cases already. All forms are stable: of a text
in that form, nothing is changed.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

AS_IS = "asis"
CASINGS = (AS_IS, "lower", "upper", "sentence", "truecase")

_WORD = re.compile(r"\w[\w'\u2019]*")
_I = re.compile(r"\bi(?=(?:['\u2019](?:m|ll|ve|d|re|s))?\b(?!['\u2019]))")
_ENDS = ".!?:;\u2026"
_BEFORE = '(?:^|[.!?:"\u201c\u2018(]\\s*)$'  # what a sentence may begin after


@dataclass(frozen=True)
class Caser:
    """A form of prompts: call it with a text."""

    name: str  # as the response store keeps it; of truecase, with a hash of what was learned
    forms: Mapping[str, str] = field(default_factory=dict)  # truecase: small letters to usual form

    def __call__(self, text: str) -> str:
        kind = self.name.split(":")[0]
        if kind == AS_IS:
            return text
        if kind == "lower":
            return text.lower()
        if kind == "upper":
            return text.upper()
        return sentence(text, self.forms)


def caser(name: str, cased_text: str | Path | None = None) -> Caser:
    """The form of this name. cased_text: truecase's lines of text as people write it.

    Raises ValueError for a name that is none, and for truecase without text to learn from."""
    if name not in CASINGS:
        raise ValueError(f"there is no casing '{name}': give one of {', '.join(CASINGS)}")
    if name != "truecase":
        return Caser(name)
    if not cased_text or not Path(cased_text).is_file():
        raise ValueError(
            f"truecase learns how words are written from --casing_text FILE, a text with capitals "
            f"and small letters, and there is {cased_text or 'none'}"
        )
    forms = _learned(cased_text, Path(cased_text).stat().st_mtime_ns)
    if not forms:
        raise ValueError(
            f"{cased_text} shows no word in capitals within a sentence: truecase needs text as "
            "people write it; give such a text, or --prompt_casing sentence"
        )
    digest = hashlib.sha256(repr(sorted(forms.items())).encode()).hexdigest()
    return Caser(f"truecase:{digest[:12]}", forms)


@cache
def _learned(path: str | Path, changed: int) -> Mapping[str, str]:
    with open(path, encoding="utf-8") as lines:
        return learn_forms(lines)


def learn_forms(lines: Iterable[str]) -> dict[str, str]:
    """{word in small letters: the form it has most often}, of words that are not all small.

    Words at the start of a sentence and lines in capitals say nothing. Of two forms that are
    equally frequent the one with fewer capitals is taken."""
    counts: dict[str, Counter[str]] = {}
    for line in lines:
        if line.isupper():
            continue
        for match in _WORD.finditer(line):
            if not re.search(_BEFORE, line[: match.start()].strip()):
                counts.setdefault(match[0].lower(), Counter())[match[0]] += 1
    usual = {word: max(forms, key=lambda f: (forms[f], f)) for word, forms in counts.items()}
    return {word: form for word, form in usual.items() if form != word}


def sentence(text: str, forms: Mapping[str, str] | None = None) -> str:
    """One sentence, written as such. White space is folded."""
    text = " ".join(text.split())
    if not any(char.isalnum() for char in text):
        return text
    if text.isupper() or text.islower():
        text = _I.sub("I", text.lower())
        text = _WORD.sub(lambda match: (forms or {}).get(match[0], match[0]), text)
    start = next(i for i, char in enumerate(text) if char.isalnum() or char == "_")
    text = text[:start] + text[start].upper() + text[start + 1 :]
    if text.rstrip("\"'\u201d\u2019)")[-1:] in _ENDS:
        return text
    return text.rstrip(",-\u2013\u2014 ") + ("?" if is_question(text) else ".")


# --- questions ----------------------------------------------------------------------------------

LONGEST = 15  # words of a question
_ASK = set("what who whom whose where why how which when what's who's where's how's".split())
_AUXILIARY = set(
    "is are was were am do does did can could will would shall should may might must has have had "
    "isn't aren't wasn't weren't don't doesn't didn't can't couldn't won't wouldn't shouldn't "
    "hasn't haven't hadn't".split()
)
_PRONOUN = set("i you he she it we they".split())
_SUBJECT = _PRONOUN | set(
    "this that these those there the a an my your his her its our their any anyone anybody "
    "anything some someone somebody something everyone everybody all one".split()
)
_NAMES = set("will may".split())  # before a name they are one: "will Smith"
_COMMANDS = set("do don't have".split())  # "have a seat" is none, "have you" is one
_CLAUSE = set("when which".split())  # "when he came" is none, "when did he" is one


def is_question(text: str) -> bool:
    """Whether an English sentence without its mark reads as a question, by its first two words.

    A guess: it knows no questions that begin with their condition, and none by tone. What is
    long is rarely one: there, transcripts run several sentences together."""
    words = [word.replace("\u2019", "'") for word in _WORD.findall(text)]
    if len(words) > LONGEST:
        return False
    named = text[:1].isupper() and not text.isupper() and words[1:] and words[1][0].isupper()
    first, second = (*map(str.lower, words[:2]), "", "")[:2]
    if first in _AUXILIARY and named:
        return first not in _NAMES
    if first in _AUXILIARY:
        return second in (_PRONOUN if first in _COMMANDS else _SUBJECT)
    if first in _CLAUSE:
        return second in _AUXILIARY or (first == "which" and second not in _SUBJECT | {""})
    return first in _ASK and (first.endswith("'s") or second not in _PRONOUN | {"the", "a", "an"})
