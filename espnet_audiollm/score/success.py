"""Success rate: does a response answer what was asked? A stated, automatic rule.

The rule: an utterance with accepted answers succeeds when at least one of them occurs in the
response as a sequence of whole words. An utterance without (a statement) succeeds when the
response equals the reference response. Both sides are normalised first: lower case, punctuation
away except apostrophes, white space folded. The reference therefore succeeds on every statement
by construction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..text.normalize import normalize
from .tables import check_known_ids, check_same_ids

RULE = (
    "An utterance with accepted answers succeeds when at least one of them occurs in the response "
    "as a sequence of whole words; an utterance without (a statement) succeeds when the response "
    "equals the reference response, so there the reference succeeds by construction. Both sides "
    "are normalised first (lower case, no punctuation except apostrophes, white space folded)."
)
Z95 = 1.959963984540054  # standard normal quantile of 0.975


@dataclass(frozen=True)
class SuccessCount:
    successes: int
    total: int

    @property
    def rate(self) -> float:
        """%"""
        return 100.0 * self.successes / self.total

    @property
    def ci95(self) -> tuple[float, float]:
        """Wilson's 95 % interval, %."""
        return wilson95(self.successes, self.total)


def wilson95(successes: float, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate, %: stays within 0 and 100, unlike the normal one."""
    n, p = total, successes / total
    centre = p + Z95**2 / (2 * n)
    half = Z95 * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n**2))
    scale = 100.0 / (1 + Z95**2 / n)
    return max(0.0, scale * (centre - half)), min(100.0, scale * (centre + half))


def parse_answers(line: str) -> tuple[str, ...]:
    """The aliases of an `answers` line, "Paris | the city of Paris"; () for an empty one.

    Raises ValueError if an alias has no words: it would be found in every response."""
    if not line.strip():
        return ()
    aliases = tuple(normalize(alias) for alias in line.split("|"))
    if not all(aliases):
        raise ValueError(f"an accepted answer without words in '{line}'")
    return aliases


def read_answers(lines: Mapping[str, str], ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """{id: normalised aliases} of an `answers` table. ValueError for an id not among `ids`."""
    check_known_ids(ids, lines, "answers", "prepare and format this test set again (stages 1, 2)")
    answers = {}
    for id, line in lines.items():
        try:
            answers[id] = parse_answers(line)
        except ValueError as error:
            raise ValueError(f"answers: {id}: {error}; correct the answers file") from None
    return answers


def succeeds(response: str, reference: str, aliases: Sequence[str]) -> bool:
    """The rule above, for one utterance; `aliases` are normalised already, () for a statement."""
    words = normalize(response)
    if not aliases:
        return words == normalize(reference)
    return any(f" {alias} " in f" {words} " for alias in aliases)


def judge(
    responses: Mapping[str, str],
    references: Mapping[str, str],
    answers: Mapping[str, Sequence[str]],
) -> dict[str, bool]:
    """{id: success}. ValueError when responses and references are not of the same utterances."""
    check_same_ids(references, responses, "the responses", "rerun stage 10")
    return {
        id: succeeds(responses[id], reference, answers.get(id, ()))
        for id, reference in references.items()
    }


def count(verdicts: Mapping[str, bool]) -> SuccessCount:
    return SuccessCount(sum(verdicts.values()), len(verdicts))


def count_by_category(
    verdicts: Mapping[str, bool], categories: Mapping[str, str]
) -> dict[str, SuccessCount]:
    """{category: count}, categories in alphabetical order."""
    groups: dict[str, dict[str, bool]] = {}
    for id, verdict in verdicts.items():
        groups.setdefault(categories[id], {})[id] = verdict
    return {name: count(groups[name]) for name in sorted(groups)}
