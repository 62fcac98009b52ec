"""Numbers spelled out, by num2words (LGPL 2.1, used as it comes).

What is spelled: whole numbers, decimal fractions (with the word for the mark where we know it) and
English ordinals (1st). A number that begins with 0 or is very long is read digit by digit.
What is not: signs, currencies, per cent, dates, fractions; years are read as numbers. A number
within a word (mp3) stays; among Japanese, Korean, Thai or Chinese letters it is a word of its own.
num2words' spelling of the language is taken as it is.
"""

from __future__ import annotations

import re
from functools import cache

LONGEST = 15  # digits read as one number; longer ones are telephone numbers and the like
ALIASES = {"kk": "kz"}  # num2words' own names of languages

BESIDE_LETTERS = {"ja", "ko", "th", "zh"}  # numbers stand among letters, without blanks
DECIMAL_POINT = {"en", "he", "hi", "ja", "ko", "th", "zh"}  # 3.5; the others write 3,5
MARK = {
    "ca": "coma",
    "cs": "celá",
    "da": "komma",
    "de": "komma",
    "en": "point",
    "es": "coma",
    "fi": "pilkku",
    "fr": "virgule",
    "it": "virgola",
    "ja": "点",
    "nl": "komma",
    "no": "komma",
    "pl": "przecinek",
    "pt": "vírgula",
    "ro": "virgulă",
    "sv": "komma",
    "th": "จุด",
    "tr": "virgül",
}


def can_spell(code: str) -> bool:
    """Whether num2words knows this language."""
    import num2words

    return ALIASES.get(code, code) in num2words.CONVERTER_CLASSES


def spell_out(text: str, code: str) -> str:
    """The text with its numbers in words of this language (ISO 639)."""
    if not any(char.isdigit() for char in text):
        return text
    return _pattern(code).sub(lambda match: _spell(match, code), text)


@cache
def _pattern(code: str) -> re.Pattern:
    point, groups = (r"\.", ",") if code in DECIMAL_POINT else (",", ". ")
    integer = rf"\d{{1,3}}(?:[{groups}\u00a0\u202f]\d{{3}})+(?!\d)|\d+"
    ordinal = "(?P<ordinal>st|nd|rd|th)?" if code == "en" else "(?P<ordinal>(?!))?"
    word = "[A-Za-z0-9_]" if code in BESIDE_LETTERS else r"\w"
    return re.compile(
        rf"(?<!{word})(?P<integer>{integer})(?:{point}(?P<part>\d+))?{ordinal}(?!{word})",
        re.IGNORECASE,
    )


def _spell(match: re.Match, code: str) -> str:
    digits = re.sub(r"\D", "", match["integer"])
    if match["ordinal"]:
        return f" {_words(digits, code, 'ordinal')} "
    if match["part"] is None:
        return f" {_whole(digits, code)} "
    words = [_whole(digits, code), MARK.get(code, ""), *_singly(match["part"], code)]
    return f" {' '.join(words)} "


def _whole(digits: str, code: str) -> str:
    if len(digits) > LONGEST or (len(digits) > 1 and digits.startswith("0")):
        return " ".join(_singly(digits, code))
    return _words(digits, code)


def _singly(digits: str, code: str) -> list[str]:
    return [_words(digit, code) for digit in digits]


@cache
def _words(digits: str, code: str, to: str = "cardinal") -> str:
    from num2words import num2words

    return num2words(int(digits), lang=ALIASES.get(code, code), to=to)
