#!/usr/bin/env python3
"""Write conf/behaviours/mini.yaml: contexts in which the small LLM knows what to answer.

They are those of its own training (chats.py): a question after another, in text or audio; what is
to be done with the next turn, said before; and a turn in text about what was spoken. No combination
of them is held out for the test: a question about an utterance fits only those with which it makes
a training combination (`held_out` of the key that follow_ups.py gives it)."""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import yaml
from dialogues import COUNTRY, SUMMARIZE, TRANSLATE, WHERE, sample_dialogue
from world import (
    ADJECTIVES,
    CATEGORIES,
    CITIES,
    COUNTRIES,
    DEEDS,
    FACTS,
    FEELINGS,
    NOUNS,
    OPPOSITES,
    PEOPLE,
    WEATHER,
    held_out,
    noun_phrase,
    sample,
)

HEADER = "# Contexts of the small world. Made by local/write_behaviours.py, which says how.\n"
OWN = {"role": "assistant"}
THERE = {
    "capital": "and what is the capital there",
    "language": "and what do they speak there",
    "continent": "and where is that",
}
FOLLOWED = 3  # words that are asked after a spelling or an opposite
PEOPLE_DO = "(my|our|the) [a-z]+"
STATEMENT = "^(my|our|the|it) "
QUESTIONS = [category for category in CATEGORIES if category != "statement"]
PAIR = f"{STATEMENT}.*({PEOPLE_DO} (is|{'|'.join(DEEDS)})|it is) "  # two statements
DEED = f"{PEOPLE_DO} ({'|'.join(DEEDS)}) an? [a-z]+ [a-z]+( today| yesterday)?"
FEELING = f"{PEOPLE_DO} is ({'|'.join(FEELINGS)})( today| again)?"


class Plain(yaml.SafeDumper):
    """Writes equal turns out, each time."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def user(text: str | list[str]) -> dict:
    return {"role": "user", "text": text}


def contexts(seed: int = 1) -> list[dict]:
    """All contexts of the file."""
    rng = random.Random(f"behaviours {seed}")
    asked = sorted({sample(rng, True, each).prompt for each in QUESTIONS for _ in range(4)})
    return [
        {"name": "answer", "weight": 10},
        later("after_text", 5, [user(asked)]),
        later("after_audio", 5, [user("{other}")]) | {"other_fits": f"^(?!{STATEMENT[1:]})"},
        third("language", 2),
        place(rng, 10),
        before("translation", 12, TRANSLATE, f"^({DEED}|{FEELING})$"),
        before("summary", 30, SUMMARIZE, PAIR),
        *(about(f"there_{other}", 16, [THERE[other]], country_questions(other)) for other in THERE),
        about("and_spanish", 12, and_phrases(rng), "(in|into) spanish$|spanish for"),
        follow(rng, "spell", 16, NOUNS | ADJECTIVES, "spell (the word )?{}( for me)?"),
        follow(rng, "opposite", 16, OPPOSITES, "opposite of {}( please)?"),
        about("say_again", 30, ["say that again"], f"^(repeat after me|please say) {phrases()}$"),
        about("what_did_you_say", 16, ["what did you say"], f"^({feelings()}|{weathers()})$"),
    ]


def later(name: str, weight: float, before: list[dict]) -> dict:
    """The utterance stands for itself after others; not two sentences: they have no context."""
    turns = [each for turn in before for each in (turn, OWN)]
    fits = f"^(?!{PAIR[1:]})"
    return {"name": name, "weight": weight, "turns": [*turns, user("{speech}")], "fits": fits}


def third(other: str, weight: float) -> dict:
    """The same after a question about a country that was spoken, and one that goes on from it."""
    made = later("third", weight, [user("{other}"), user(THERE[other])])
    return made | {"other_fits": country_questions(other)}


def place(rng: random.Random, weight: float) -> dict:
    """A place with a rare name, then a question with another name: the LLM answers of the place, as
    it does where it does not understand the name (`dialogues.unclear`)."""
    requests = sorted({sample_dialogue(rng, True, "rare_word")[0].prompt for _ in range(30)})
    asked = either(phrasing.format("[a-z]+") for phrasing in (*WHERE, *COUNTRY))
    return before("place", weight, requests, f"^{asked}$", "i see .")


def before(
    name: str, weight: float, requests: Iterable[str], fits: str, reply: str = "ok ."
) -> dict:
    """What is to be done with the utterance is said before it."""
    turns = [user(list(requests)), {**OWN, "text": reply}, user("{speech}")]
    return {"name": name, "weight": weight, "turns": turns, "fits": fits}


def about(name: str, weight: float, texts: list[str], fits: str) -> dict:
    """The utterance is asked about afterwards, in text."""
    turns = [user("{speech}"), OWN, user(texts)]
    return {"name": name, "weight": weight, "turns": turns, "fits": fits}


def either(words: Iterable[str]) -> str:
    """A pattern for one of the words."""
    return f"({'|'.join(words)})"


def free(words: Iterable[str], key: Callable[[str], str]) -> list[str]:
    """The words whose combination is not held out."""
    return [word for word in words if not held_out(key(word))]


def country_questions(other: str) -> str:
    """Questions about a country after which something else of it may be asked."""
    found = []
    for attribute in THERE.keys() - {other}:
        names = free(COUNTRIES, lambda name: f"follow {attribute} {name} {other}")  # noqa: B023
        found += [phrasing.format(either(names)) for phrasing in FACTS[attribute][0]]
    return f"^{either(sorted(found))}$"


def and_phrases(rng: random.Random) -> list[str]:
    """ "and red boat": another phrase to be translated."""
    drawn = [noun_phrase(rng) for _ in range(16)]
    return [f"and {phrase}" for phrase, (key,) in drawn if not held_out(key)]


def follow(rng: random.Random, kind: str, weight: float, words: Iterable[str], form: str) -> dict:
    """ "and cat" after the spelling of another word; likewise opposites."""
    words = sorted(words)
    others = rng.sample(words, FOLLOWED)
    asked = [w for w in words if w not in others]
    for other in others:
        asked = free(asked, lambda word: f"follow {kind} {word} {other}")  # noqa: B023
    texts = [f"and {other}" for other in others]
    return about(f"and_{kind}", weight, texts, f"{form.format(either(asked))}$")


def phrases() -> str:
    """Noun phrases that may be said again."""
    return either(
        f"{adjective} {either(free(NOUNS, lambda noun: f'again {adjective} {noun}'))}"  # noqa: B023
        for adjective in ADJECTIVES
    )


def feelings() -> str:
    """Statements of feelings whose answer may be asked for once more."""

    def answer(feeling: str, person: str) -> str:
        return f"again {FEELINGS[feeling].format(who=PEOPLE[person])}"

    pairs = ((each, free(PEOPLE, lambda who: answer(each, who))) for each in FEELINGS)  # noqa: B023
    return either(f"{either(who)} is {each}( today| again)?" for each, who in pairs)


def weathers() -> str:
    """The same of the weather."""

    def answer(weather: str, city: str) -> str:
        return f"again {WEATHER[weather].format(where=city)}"

    pairs = ((each, free(CITIES, lambda city: answer(each, city))) for each in WEATHER)  # noqa: B023
    return either(f"it is {each} in {either(where)}( today| again)?" for each, where in pairs)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="the file to write")
    args = parser.parse_args(argv)
    for context in (found := contexts()):
        re.compile(context.get("fits", ""))
    text = yaml.dump(found, Dumper=Plain, sort_keys=False, width=100)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(HEADER + text, encoding="utf-8")


if __name__ == "__main__":
    main()
