"""Second and third turns about the small world: not to be answered without the turns before."""

from __future__ import annotations

import random
from collections.abc import Callable

from world import (
    ADJECTIVES,
    CITIES,
    COUNTRIES,
    NOUNS,
    NUMBERS,
    OPPOSITES,
    Item,
    fact_response,
    fact_value,
    noun_phrase,
    spanish,
    sum_response,
    translation_response,
)


def follow_up(rng: random.Random, before: Item) -> Item | None:
    """A second turn that cannot be answered without the first; None where there is none."""
    if not before.about:
        return None
    kind, *about = before.about
    return _FOLLOW_UPS[kind](rng, *about)


def _follow_fact(rng: random.Random, attribute: str, name: str) -> Item:
    if attribute != "city" and rng.random() < 0.4:  # the same country, something else
        other = rng.choice([a for a in ("capital", "language", "continent") if a != attribute])
        prompt = {
            "capital": "and what is the capital there",
            "language": "and what do they speak there",
            "continent": "and where is that",
        }[other]
        key = f"follow {attribute} {name} {other}"
        about = ("fact", other, name)
        return _follow(prompt, fact_response(other, name), fact_value(other, name), key, about)
    other = rng.choice([n for n in (CITIES if attribute == "city" else COUNTRIES) if n != name])
    prompt = _and(rng).format(other)
    key = f"follow {attribute} {name} {other}"
    value, about = fact_value(attribute, other), ("fact", attribute, other)
    return _follow(prompt, fact_response(attribute, other), value, key, about)


def _follow_opposite(rng: random.Random, word: str) -> Item:
    other = rng.choice([w for w in OPPOSITES if w != word])
    response = f"the opposite of {other} is {OPPOSITES[other]} ."
    key = f"follow opposite {word} {other}"
    about = ("opposite", other)
    return _follow(_and(rng).format(other), response, f"is {OPPOSITES[other]}", key, about)


def _follow_arithmetic(rng: random.Random, result: str) -> Item:
    a = int(result)
    if a > 10:
        return _follow("what was it", f"it was {NUMBERS[a]} .", NUMBERS[a], "what was it")
    operation = rng.choice(("plus", "minus"))
    b = rng.randrange(0, 6 if operation == "plus" else min(a, 5) + 1)
    response, after = sum_response(a, operation, b)
    prompt = rng.choice(("and {} {}", "now {} {}")).format(operation, NUMBERS[b])
    about = ("arithmetic", str(after))
    return _follow(prompt, response, f"is {NUMBERS[after]}", f"{prompt} after {a}", about)


def _follow_translate(rng: random.Random, before: str) -> Item:
    phrase, (key,) = noun_phrase(rng)
    prompt, response, about = _and(rng).format(phrase), translation_response(phrase), "translate"
    return _follow(prompt, response, spanish(phrase), key, (about, phrase))


def _follow_spell(rng: random.Random, before: str) -> Item:
    word = rng.choice([w for w in [*NOUNS, *ADJECTIVES] if w != before])
    response = f"{word} is spelled {' '.join(word)} ."
    key = f"follow spell {before} {word}"
    return _follow(_and(rng).format(word), response, " ".join(word), key, ("spell", word))


def _follow_repeat(rng: random.Random, said: str) -> Item:
    return _follow("say that again", f"{said} .", said, f"again {said}")


def _follow_statement(rng: random.Random, response: str) -> Item:
    return _follow("what did you say", response, response.rstrip(" .?"), f"again {response}")


def _and(rng: random.Random) -> str:
    return rng.choice(("and {}", "and of {}", "what about {}", "and what about {}"))


def _follow(prompt: str, response: str, answer: str, key: str, about: tuple[str, ...] = ()) -> Item:
    return Item(prompt, response, "follow_up", (answer,), (key,), about)


_FOLLOW_UPS: dict[str, Callable[..., Item]] = {
    "fact": _follow_fact,
    "opposite": _follow_opposite,
    "arithmetic": _follow_arithmetic,
    "translate": _follow_translate,
    "spell": _follow_spell,
    "repeat": _follow_repeat,
    "statement": _follow_statement,
}
