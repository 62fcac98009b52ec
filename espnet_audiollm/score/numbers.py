"""The numbers that a text says, in digits or in English words.

"twenty-one", "21", "21.0" and "21st" are 21; "one hundred and five" is 105; "two point five" and
"2.5" are 2.5; "1,250,000" and "1.25 million" are 1250000; "minus three" and "-3" are -3. Numbers
said one after the other are several ("two three"), so a year in words is two ("nineteen
sixty-nine"). Ordinals in words and fractions are no numbers.
"""

from __future__ import annotations

import re

_ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
_ONES += "fifteen sixteen seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
ONES = {word: value for value, word in enumerate(_ONES.split())}
TENS = {word: 10 * value for value, word in enumerate(_TENS.split(), 2)}
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
SIGNS = ("minus", "negative")
_TOKEN = re.compile(
    r"(?<!\w)(?<!\d\.)(?P<sign>[-\u2212])?(?P<digits>(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)"
    r"(?:st|nd|rd|th)?(?![\w])|[^\W\d_]+|[.,;:!?]",
    re.IGNORECASE,
)


def numbers(text: str) -> list[float]:
    """The numbers of `text`, in order."""
    tokens = [_token(match) for match in _TOKEN.finditer(text.lower())]
    found, at = [], 0
    while at < len(tokens):
        negative = tokens[at] in SIGNS
        value, end = _number(tokens, at + negative)
        if value is None:
            at += 1
            continue
        found.append(-value if negative else value)
        at = end
    return found


def _token(match: re.Match) -> str | float:
    if match["digits"] is None:
        return match[0]
    value = float(match["digits"].replace(",", ""))
    return -value if match["sign"] else value


def _number(tokens: list, at: int) -> tuple[float | None, int]:
    """The number that begins at token `at` and the token after it; (None, at) if there is none."""
    total, limit, start = 0.0, float("inf"), at
    while True:
        skip = at > start and at < len(tokens) and tokens[at] == "and"
        value, end = _below_thousand(tokens, at + skip)
        scale = SCALES.get(tokens[end], 1) if end < len(tokens) else 1
        if value is None or scale >= limit or (at > start and isinstance(tokens[at], float)):
            break
        total, limit, at = total + value * scale, scale, end + (scale > 1)
        if scale == 1:
            break
    if at == start:
        return None, start
    return _point(tokens, at, total)


def _below_thousand(tokens: list, at: int) -> tuple[float | None, int]:
    word = tokens[at] if at < len(tokens) else ""
    if isinstance(word, float):
        return word, at + 1
    value, at = _below_hundred(tokens, at)
    if word == "a" and at + 1 < len(tokens) and tokens[at + 1] in ("hundred", *SCALES):
        value, at = 1, at + 1
    if value is None or at >= len(tokens) or tokens[at] != "hundred" or not 0 < value < 100:
        return value, at
    skip = at + 1 < len(tokens) and tokens[at + 1] == "and"
    rest, end = _below_hundred(tokens, at + 1 + skip)
    return (100 * value, at + 1) if rest is None else (100 * value + rest, end)


def _below_hundred(tokens: list, at: int) -> tuple[int | None, int]:
    word = tokens[at] if at < len(tokens) else ""
    if word in ONES:
        return ONES[word], at + 1
    if word not in TENS:
        return None, at
    one = ONES.get(tokens[at + 1], 0) if at + 1 < len(tokens) else 0
    return (TENS[word] + one, at + 2) if 0 < one < 10 else (TENS[word], at + 1)


def _point(tokens: list, at: int, value: float) -> tuple[float, int]:
    """`value` with the digits that follow a spoken "point"."""
    end = at + 1
    while at < len(tokens) and tokens[at] == "point" and end < len(tokens):
        digit = ONES.get(tokens[end], 10)
        if digit > 9:
            break
        value += digit / 10 ** (end - at)
        end += 1
    return (value, end) if end > at + 1 else (value, at)
