"""What is odd about a system's responses, by stated rules.

empty      a response without any character but white space
refusal    one of `REFUSALS` occurs in it (English; case does not count)
loop       a stretch of at most 8 words comes at least 3 times in a row, at least 8 words in all
length     generation ended at the limit of tokens, not with the end of the turn
unanswered the LLM's context had no room for the dialogue with an answer
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ..store.runs import Run
from .test_set import References

REFUSALS = (
    "as an ai",
    "as a language model",
    "i am sorry",
    "i'm sorry",
    "i apologize",
    "i am unable to",
    "i'm unable to",
    "i am not able to",
    "i'm not able to",
    "i cannot",
    "i can't",
    "i can not",
    "i do not understand",
    "i don't understand",
    "i do not have access",
    "i don't have access",
    "i won't",
    "i will not",
)
LONGEST_LOOP = 8  # words of the stretch that is repeated
LOOP_REPEATS = 3
LOOP_WORDS = 8  # of all repeats together
_REFUSAL = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, REFUSALS))})(?!\w)")


@dataclass(frozen=True)
class Diagnostics:
    """Counts of responses, out of `total`."""

    total: int
    empty: int
    refusals: int
    loops: int
    length: int
    unanswered: int
    same_as_reference: int  # token by token
    unit: str  # of what follows and precedes
    size: int  # of all responses
    reference_size: int
    first_difference_mean: float | None  # position from 0; None: all are the same
    first_difference_median: float | None

    @property
    def length_ratio(self) -> float:
        """Response tokens for each token of the reference responses, over the corpus."""
        return self.size / self.reference_size

    def rate(self, name: str) -> float:
        """% of the responses."""
        return 100.0 * getattr(self, name) / self.total

    def as_dict(self) -> dict:
        """For results.json."""
        return {**asdict(self), "length_ratio": self.length_ratio}


def diagnose(run: Run, references: References) -> Diagnostics:
    """The counts of a run's responses."""
    texts = [run.responses[id] for id in references.ids]
    pairs = [(run.response_ids[id], references.token_ids[id]) for id in references.ids]
    differences = [first_difference(ours.tolist(), theirs.tolist()) for ours, theirs in pairs]
    places = [place for place in differences if place is not None]
    return Diagnostics(
        total=len(texts),
        empty=sum(not text.strip() for text in texts),
        refusals=sum(map(refuses, texts)),
        loops=sum(map(loops, texts)),
        length=sum(reason == "length" for reason in run.finish_reasons.values()),
        unanswered=len(run.unanswered),
        same_as_reference=len(differences) - len(places),
        unit="tokens",
        size=sum(len(ours) for ours, _ in pairs),
        reference_size=sum(len(theirs) for _, theirs in pairs),
        first_difference_mean=float(np.mean(places)) if places else None,
        first_difference_median=float(np.median(places)) if places else None,
    )


def first_difference(ours: Sequence, theirs: Sequence) -> int | None:
    """The first position (from 0) where they differ, if only in that one has ended; or None."""
    if ours == theirs:
        return None
    same = zip(ours, theirs, strict=False)
    shorter = min(len(ours), len(theirs))
    return next((i for i, (a, b) in enumerate(same) if a != b), shorter)


def refuses(text: str) -> bool:
    """Whether a response declines to answer."""
    text = text.replace("\u2019", "'").lower()
    return any(phrase in text for phrase in REFUSALS) and _REFUSAL.search(text) is not None


def loops(text: str) -> bool:
    """Whether a response repeats itself to its end."""
    words = text.lower().split()
    fewest = LOOP_WORDS - LOOP_WORDS // LOOP_REPEATS  # words that another one repeats
    if len(words) - len(set(words)) < fewest:
        return False
    return any(_repeats(words, n) for n in range(1, LONGEST_LOOP + 1))


def _repeats(words: Sequence[str], n: int) -> bool:
    """Whether some stretch of n words is repeated as the rule says."""
    needed = max(LOOP_REPEATS * n, LOOP_WORDS) - n  # words equal to that n before, in a row
    run = 0
    for before, word in zip(words, words[n:], strict=False):
        run = run + 1 if before == word else 0
        if run >= needed:
            return True
    return False
