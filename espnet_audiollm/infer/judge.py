"""An LLM as judge: does a response agree with the accepted answer? Greedy, one word asked for.

A judge has views of its own: state which it was, and see by hand what it does with a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..data.prompt import decode, encode, user_prompt
from ..model.llm import LLM
from ..store.shards import Record
from ..text.normalize import words
from ..types import Turns
from .generate import Generate, generate

PROMPT = (
    "Question: {question}\n"
    "Correct answer: {accepted}\n"
    "Given answer: {response}\n\n"
    "Does the given answer agree with the correct answer? Reply with one word, yes or no."
)
FIELDS = ("id", "verdict", "reply")  # of a record
MAX_TOKENS = 8  # of a reply


@dataclass(frozen=True)
class Case:
    """What the judge is asked about one response."""

    id: str
    question: str
    accepted: str  # accepted answers, "Paris or the city of Paris", or the reference response
    response: str


def prompt(case: Case) -> Turns:
    """The question that the judge model is asked."""
    said = PROMPT.format(
        question=case.question, accepted=case.accepted, response=case.response or "(nothing)"
    )
    return user_prompt(said)


def verdicts(llm: LLM, batch: Sequence[Case], engine: Generate = generate) -> list[Record]:
    """One record a case. Errors (ValueError): a prompt that the LLM's context does not hold."""
    prompts = [encode(prompt(case), llm.tokenizer) for case in batch]
    replies = engine(llm, prompts, MAX_TOKENS, names=[case.id for case in batch])
    texts = [decode(reply.ids, llm.tokenizer) for reply in replies]
    return [
        {"id": case.id, "verdict": verdict(text), "reply": text}
        for case, text in zip(batch, texts, strict=True)
    ]


def verdict(reply: str) -> bool | None:
    """True where "yes" is among the words of the reply and "no" is not, False the other way round,
    else None."""
    said = {"yes", "no"} & set(words(reply))
    return None if len(said) != 1 else "yes" in said
