"""The one normalisation of text before it is compared: word error rate and success rule alike."""

from __future__ import annotations

import unicodedata


def normalize(text: str) -> str:
    """Lower case, without punctuation, single spaces: the form in which texts are compared.

    Every punctuation mark and symbol becomes a space ("well-known" is two words, "$5" is "5",
    "-3" is "3"), except an apostrophe between two letters or digits ("don't"), which stays; a curly
    one becomes straight. Apostrophes at the edge of a word are quotation marks and go. Accents
    and digits stay; numbers are not spelled out. Compatibility forms are folded (NFKC).
    """
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'").lower()
    kept = [char if _stays(text, i, char) else " " for i, char in enumerate(text)]
    return " ".join("".join(kept).split())


def words(text: str) -> list[str]:
    """The words of a normalised text."""
    return normalize(text).split()


def _stays(text: str, i: int, char: str) -> bool:
    if char == "'":
        return 0 < i < len(text) - 1 and text[i - 1].isalnum() and text[i + 1].isalnum()
    return unicodedata.category(char)[0] in "LMN"  # letters, marks (accents), numbers
