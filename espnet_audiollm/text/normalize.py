"""The one place where texts are brought into the form in which they are compared.

`normalize` is the form for any language; `normalizer(NAME)` gives a stated one, which the recipe
chooses: "basic", a language ("de", whose rules are in languages.py), or a language whose numbers
are spelled out ("de+numbers", numbers.py), or Whisper's own ("whisper", and for English
"whisper:FILE" with the normalizer.json of a Whisper checkpoint). It is named in wer.json, in the
logs and the results.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..store.json_files import read_object
from .languages import KEPT, LANGUAGES, PLAIN, Language, by_code
from .numbers import can_spell, spell_out

NO_WORD = re.compile(r"[^a-zA-Z0-9']|(?<![a-zA-Z0-9])'|'(?![a-zA-Z0-9])")  # `_stays`, for ASCII
BASIC = "lower case; punctuation and symbols away, but for apostrophes within a word; NFKC"


def normalize(text: str) -> str:
    """Lower case, without punctuation, single spaces: the form in which texts are compared.

    Every punctuation mark and symbol becomes a space ("well-known" is two words, "$5" is "5",
    "-3" is "3"), except an apostrophe between two letters or digits ("don't"), which stays; a curly
    one becomes straight. Apostrophes at the edge of a word are quotation marks and go. Accents
    and digits stay; numbers are not spelled out. Compatibility forms are folded (NFKC).
    """
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'").lower()
    return _only_words(text)


def words(text: str) -> list[str]:
    """The words of a normalised text."""
    return normalize(text).split()


@dataclass(frozen=True)
class Normalizer:
    """A stated normalisation: call it with a text."""

    name: str
    language: Language | None  # None: the form for any language
    numbers: bool  # whether numbers are spelled out

    def __call__(self, text: str) -> str:
        if self.language is None:
            return normalize(text)
        if self.numbers:
            text = spell_out(text, self.language.code)
        text = self.language.fold(unicodedata.normalize("NFKC", text))
        return self.language.part(_only_words(text)).replace(KEPT, "'")

    @property
    def spaced(self) -> bool:
        """Whether blanks part the words. Without them, every character counts as a word."""
        return self.language is None or self.language.spaced

    @property
    def sentence(self) -> str:
        """What it does, for people."""
        about = [BASIC]
        if self.language is not None:
            about = [f"{self.language.name}: {BASIC}", *self.language.about]
        return "; ".join(about + ["numbers spelled out"] * self.numbers)


class WhisperNormalizer(Normalizer):
    """Whisper's own form (Radford et al. 2022, appendix C), as transformers has it.

    For English it needs the table of spellings that lies beside Whisper's checkpoints."""

    @property
    def spellings(self) -> str:
        """The file normalizer.json; "": the form for other languages than English."""
        return self.name.partition(":")[2]

    def __call__(self, text: str) -> str:
        return _whisper(self.spellings)(text).strip()

    @property
    def sentence(self) -> str:
        """What it does, for people."""
        form = "English, with its table of spellings" if self.spellings else "basic"
        return f"Whisper's normaliser ({form})"


@functools.cache
def _whisper(spellings: str) -> Callable[[str], str]:
    from transformers.models.whisper import english_normalizer

    if not spellings:
        return english_normalizer.BasicTextNormalizer()
    table = read_object(spellings, "give the table of spellings that Whisper has")
    return english_normalizer.EnglishTextNormalizer(table)


def normalizer(name: str) -> Normalizer:
    """The normalisation of this name; a region is let pass ("zh-CN" is "zh").

    Raises ValueError, with all names, for one that is none."""
    if name.partition(":")[0] == "whisper":
        form = WhisperNormalizer(name, None, False)
        if form.spellings and not Path(form.spellings).is_file():
            raise ValueError(
                f"{name}: there is no such file; give the normalizer.json from the directory of a "
                "Whisper checkpoint"
            )
        return form
    code, *options = name.split("+")
    code = code.split("-")[0]
    language = by_code(code)
    if code != "basic" and language is None:
        raise ValueError(
            f"there is no normaliser '{name}': give basic or whisper (any language) or one of "
            f"{' '.join(sorted([*LANGUAGES, *PLAIN]))}, with +numbers to have numbers spelled out"
        )
    if any(option != "numbers" for option in options) or len(options) > 1:
        raise ValueError(f"the normaliser '{name}': after '{code}' only +numbers may follow")
    if options and code == "basic":
        raise ValueError("basic+numbers: numbers are spelled in a language, such as en+numbers")
    if options and not can_spell(code):
        raise ValueError(f"{name}: the library num2words cannot spell the numbers of '{code}'")
    return Normalizer(name, language, bool(options))


def _only_words(text: str) -> str:
    if text.isascii():
        return " ".join(NO_WORD.sub(" ", text).split())
    kept = [char if _stays(text, i, char) else " " for i, char in enumerate(text)]
    return " ".join("".join(kept).split())


def _stays(text: str, i: int, char: str) -> bool:
    if char == "'":
        return 0 < i < len(text) - 1 and text[i - 1].isalnum() and text[i + 1].isalnum()
    if char == KEPT:
        return True
    return unicodedata.category(char)[0] in "LMN"  # letters, marks (accents), numbers
