"""Strings of digits: what is spoken, and the answer to it.

The user says two to five digits and nothing else; the answer says which they were and what they
add up to, so one digit misheard makes two wrong words. A hash decides which strings are held out:
training, of the LLM on text and of the encoder on audio, has none of them; tests have no others.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field

HELD_OUT = 20  # % of the strings
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LENGTHS = {2: 1, 3: 3, 4: 3, 5: 3}  # digits in a string: how often (there are few short ones)


@dataclass(frozen=True)
class Item:
    """One turn of the user and the answer to it."""

    prompt: str
    response: str
    category: str
    answers: tuple[str, ...]  # any one of these in a response makes it a success
    keys: tuple[str, ...]  # what is held out or not
    about: tuple[str, ...] = field(default=())  # what a follow-up needs to know of it


def is_train(item: Item) -> bool:
    return not any(_held_out(key) for key in item.keys)


def _held_out(key: str) -> bool:
    return int(hashlib.sha256(f"digits {key}".encode()).hexdigest()[:8], 16) % 100 < HELD_OUT


def digit_string(digits: list[int]) -> Item:
    """What a string is answered with: "the digits are 3 1 4 and their sum is 8 ."."""
    listed = " ".join(map(str, digits))
    core = f"are {listed} and their sum is {sum(digits)}"
    return Item(
        prompt=" ".join(WORDS[digit] for digit in digits),
        response=f"the digits {core} .",
        category=f"{len(digits)}_digits",
        answers=(core,),
        keys=(listed,),
        about=tuple(map(str, digits)),
    )


def _make(rng: random.Random, length: int) -> Item:
    return digit_string([rng.randrange(10) for _ in range(length)])


CATEGORIES = {f"{length}_digits": (length, share) for length, share in LENGTHS.items()}


def sample(rng: random.Random, train: bool, category: str | None = None) -> Item:
    """A random string; `train`: one that is not (True) or that is (False) held out."""
    if category is None:
        names = list(CATEGORIES)
        category = rng.choices(names, [CATEGORIES[name][1] for name in names])[0]
    while True:
        item = _make(rng, CATEGORIES[category][0])
        if is_train(item) == train:
            return item


def follow_up(rng: random.Random, before: Item) -> Item | None:
    """A question about the string before it."""
    if not before.about:
        return None
    digits = list(map(int, before.about))
    prompt, answer = rng.choice(
        (
            ("how many digits was that", f"that was {len(digits)} digits"),
            ("and what was the first", f"the first was {digits[0]}"),
            ("and what was the last", f"the last was {digits[-1]}"),
        )
    )
    key = f"{prompt} {' '.join(before.about)}"
    return Item(prompt, f"{answer} .", "follow_up", (answer,), (key,))
