"""Success rate: does a response answer what was asked? A stated, automatic rule.

An utterance with accepted answers succeeds when at least one of them is found in the response; how
it is looked for is a rule of `RULES`, chosen by name. An utterance without (a statement) succeeds
when the response equals the reference response, so there the reference succeeds by construction.
Both sides are normalised first, by the rule's own normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..store.tables import check_same_ids
from ..text.normalize import normalize
from .numbers import numbers
from .triviaqa import normalize_answer

Z95 = 1.959963984540054  # standard normal quantile of 0.975
TOLERANCE = 1e-6  # of the numeric rule, relative to the accepted number
STATEMENTS = (
    "an utterance without (a statement) succeeds when the response equals the reference response, "
    "so there the reference succeeds by construction."
)
PLAIN = (
    "Both sides are normalised first (lower case, no punctuation except apostrophes, white space "
    "folded)."
)
TRIVIAQA = (
    "Both sides are normalised as TriviaQA's own script does (lower case, punctuation and "
    "underscores to spaces, the articles a, an, the away)."
)


@dataclass(frozen=True)
class Rule:
    """How an accepted answer is looked for."""

    name: str
    sentence: str  # for the notes of a report
    normalize: Callable[[str], str]
    finds: Callable[[str, str], bool]  # (normalised response, normalised answer)
    some_wordless: bool = False  # an accepted answer may be nothing once normalised


def _contains(words: str, alias: str) -> bool:
    return f" {alias} " in f" {words} "


def _equals(words: str, alias: str) -> bool:
    return words == alias


def _has_number(words: str, alias: str) -> bool:
    wanted = numbers(alias)
    if len(wanted) != 1:
        return _contains(normalize(words), normalize(alias))
    return any(abs(found - wanted[0]) <= TOLERANCE * abs(wanted[0]) for found in numbers(words))


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


def _rule(name: str, how: str, form: str, *functions: Any) -> Rule:
    sentence = f"An utterance with accepted answers succeeds when at least one of them {how}; "
    return Rule(name, f"{sentence}{STATEMENTS} {form}", *functions)


WITHIN = "occurs in the response as a sequence of whole words"
RULES = {
    rule.name: rule
    for rule in (
        _rule("contains", WITHIN, PLAIN, normalize, _contains),
        _rule("exact", "equals the response", PLAIN, normalize, _equals),
        _rule("triviaqa", WITHIN, TRIVIAQA, normalize_answer, _contains, True),
        _rule("triviaqa_exact", "equals the response", TRIVIAQA, normalize_answer, _equals, True),
        _rule(
            "numeric",
            "is among the numbers of the response, in digits or English words (21 is twenty-one), "
            f"to a relative {TOLERANCE:g}; an accepted answer that is not one number "
            f"{WITHIN}",
            "Case, punctuation and white space do not count.",
            _folded,
            _has_number,
        ),
    )
}


@dataclass(frozen=True)
class SuccessCount:
    """How many responses succeed."""

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


def rule_named(name: str) -> Rule:
    """The rule of this name. ValueError where there is none."""
    if name not in RULES:
        raise ValueError(f"no success rule is called {name}; there are {', '.join(RULES)}")
    return RULES[name]


def split_answers(line: str) -> tuple[str, ...]:
    """ "Paris | the city of Paris": the accepted answers of a line of the table `answers`."""
    return tuple(alias.strip() for alias in line.split("|")) if line.strip() else ()


def normalize_answers(answers: Sequence[str], rule: str = "contains") -> tuple[str, ...]:
    """Accepted answers in the form in which the rule looks for them.

    Errors (ValueError): one without words: it would be found in every response. TriviaQA's
    normalisation may leave nothing of one ("The The"), but not of all."""
    how = rule_named(rule)
    aliases = tuple(map(how.normalize, answers))
    worded = tuple(alias for alias in aliases if normalize(alias))
    if worded == aliases or (worded and how.some_wordless):
        return worded
    raise ValueError(f"an accepted answer without words in '{' | '.join(answers)}'")


def normalize_all(
    accepted: Mapping[str, Sequence[str]], rule: str = "contains"
) -> dict[str, tuple[str, ...]]:
    """`normalize_answers` of each dialogue by id. Errors (ValueError), with the id: see there."""
    found = {}
    for id, answers in accepted.items():
        try:
            found[id] = normalize_answers(answers, rule)
        except ValueError as error:
            raise ValueError(f"answers: {id}: {error}; correct the accepted answers") from None
    return found


def succeeds(response: str, reference: str, aliases: Sequence[str], rule: str = "contains") -> bool:
    """The rule, for one utterance; `aliases` are normalised already, () for a statement."""
    how = rule_named(rule)
    words = how.normalize(response)
    if not aliases:
        return words == how.normalize(reference)
    return any(how.finds(words, alias) for alias in aliases)


def judge(
    responses: Mapping[str, str],
    references: Mapping[str, str],
    answers: Mapping[str, Sequence[str]],
    rule: str = "contains",
) -> dict[str, bool]:
    """{id: success}. ValueError when responses and references are not of the same utterances."""
    check_same_ids(references, responses, "the responses", "rerun stage 10")
    return {
        id: succeeds(responses[id], reference, answers.get(id, ()), rule)
        for id, reference in references.items()
    }


def p_value(a: Mapping[str, bool], b: Mapping[str, bool]) -> float:
    """Two-sided p-value of the difference of two systems' success: McNemar's exact test, on the
    utterances where one of them succeeds and the other does not."""
    only_a, only_b = only(a, b)
    n, rarer = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(n, k) for k in range(rarer + 1))
    return min(1.0, 2 * tail / 2**n)


def only(a: Mapping[str, bool], b: Mapping[str, bool]) -> tuple[int, int]:
    """How often only `a` succeeds, and how often only `b`, over the same utterances."""
    return sum(a[id] and not b[id] for id in a), sum(b[id] and not a[id] for id in a)


def count(verdicts: Mapping[str, bool]) -> SuccessCount:
    """Successes out of all verdicts."""
    return SuccessCount(sum(verdicts.values()), len(verdicts))


def count_by_category(
    verdicts: Mapping[str, bool], categories: Mapping[str, str]
) -> dict[str, SuccessCount]:
    """{category: count}, categories in alphabetical order."""
    groups: dict[str, dict[str, bool]] = {}
    for id, verdict in verdicts.items():
        groups.setdefault(categories[id], {})[id] = verdict
    return {name: count(groups[name]) for name in sorted(groups)}
