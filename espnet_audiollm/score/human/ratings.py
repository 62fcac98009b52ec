"""Reading what comes back: the key of a study, and the file that each rater exported.

Raters' files come by mail from anybody's browser, so nothing in them is taken on trust."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...store.json_files import parse_json
from ...types import Seconds
from .study import Study, study_from_dict

FORMAT = "audiollm human ratings"
VERSION = 1
LARGEST = 20_000_000  # bytes; a thousand items with long comments are a tenth of it


@dataclass(frozen=True)
class Rated:
    """One rater on one item."""

    answers: tuple[bool | None, ...]  # does it agree with the reference? None: not rated
    comment: str
    seconds: Seconds


@dataclass(frozen=True)
class Ratings:
    """One rater on a page; items that were never opened are absent."""

    rater: str
    items: dict[int, Rated]  # by index into Study.items

    def verdict(self, item: int, answer: int) -> bool | None:
        """Of an answer; None where it was not rated."""
        return self.items[item].answers[answer] if item in self.items else None


def read_study(path: str | Path) -> Study:
    """The key. ValueError if it is not one, or damaged."""
    found: Any = _read_json(path, "give the key.json that was written with the page")
    try:
        return study_from_dict(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: not the key of a human evaluation, or of another version ({_brief(error)}); "
            "give the key.json that was written with the page"
        ) from None


def read_raters(paths: Sequence[str | Path], study: Study) -> tuple[Ratings, ...]:
    """Every rater's file, in the order given.

    Raises ValueError for a file that is damaged, of another page, or of a rater who came before."""
    raters: dict[str, tuple[Path, Ratings]] = {}
    for path in map(Path, paths):
        ratings = read_ratings(path, study)
        known = raters.setdefault(_same_name(ratings.rater), (path, ratings))
        if known[1] is not ratings:
            raise ValueError(
                f"{path}: {ratings.rater} rated in {known[0]} already; keep the newer export "
                "of the two, or, if they are two persons, give one another name in the file"
            )
    return tuple(ratings for _, ratings in raters.values())


def read_ratings(path: str | Path, study: Study) -> Ratings:
    """One rater's file. ValueError for another page's, another version's, or a damaged one."""
    again = "ask the rater to export again"
    found: Any = _read_json(path, again)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"{path}: not an export of a rating page; {again}")
    if found.get("version") != VERSION:
        raise ValueError(
            f"{path}: its version is {found.get('version')}, and {VERSION} is read; score it with "
            "the version of this program that made the page"
        )
    if found.get("page") != study.page:
        raise ValueError(
            f"{path}: these are ratings of the page {str(found.get('page'))[:20]}, and the key is "
            f"of {study.page}; give the key.json that was written with that page"
        )
    try:
        rater = " ".join(found["rater"].split())
        if not rater or not rater.isprintable():
            raise ValueError("the rater has no name")
        items: dict[int, Rated] = {}
        for rated in found["ratings"]:
            index = _index(rated["item"], len(study.items), items)
            items[index] = _rated(rated, len(study.items[index].answers))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: damaged ({_brief(error)}); {again}") from None
    return Ratings(rater, items)


def _index(number: object, num_items: int, taken: dict[int, Rated]) -> int:
    if type(number) is not int or not 1 <= number <= num_items:
        raise ValueError(f"the page has no item {str(number)[:20]}")
    if number - 1 in taken:
        raise ValueError(f"item {number} comes twice")
    return number - 1


def _rated(found: dict, num_answers: int) -> Rated:
    number, answers = found["item"], found["answers"]
    if not isinstance(answers, list) or len(answers) != num_answers:
        raise ValueError(f"item {number} does not have {num_answers} ratings")
    if any(not isinstance(answer, bool | None) for answer in answers):
        raise ValueError(f"item {number}: a rating is true, false or null")
    seconds, comment = found.get("seconds", 0), found.get("comment", "")
    if not isinstance(comment, str):
        raise ValueError(f"item {number}: its comment is not text")
    if type(seconds) not in (int, float) or not 0 <= seconds < 1e9:
        raise ValueError(f"item {number}: its seconds are not a number of seconds")
    return Rated(tuple(answers), comment.strip(), float(seconds))


def _read_json(path: str | Path, next_step: str) -> object:
    path = Path(path)
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path}: larger than {LARGEST // 1_000_000} MB; {next_step}")
    try:
        return parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not complete JSON ({_brief(error)}); {next_step}") from None


def _same_name(rater: str) -> str:
    return unicodedata.normalize("NFKC", rater).casefold()


def _brief(error: Exception) -> str:
    text = f"no {error}" if isinstance(error, KeyError) else str(error)
    return " ".join(text.split())[:120]
