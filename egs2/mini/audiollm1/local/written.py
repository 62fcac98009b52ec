"""The same prompts as people write them: sentence case with stops, or all in capitals.

A recogniser's transcripts have neither; what that does to an LLM can be measured only with one
that knows both. The answers stay as they are.
"""

from __future__ import annotations

from dataclasses import replace

from dialogues import RARE_NAMES
from world import CITIES, COUNTRIES, Item

LANGUAGES = {language for _, language, _ in COUNTRIES.values()}
CONTINENTS = {continent for _, _, continent in COUNTRIES.values()}
PROPER = {*CITIES, *COUNTRIES, *LANGUAGES, *CONTINENTS, *RARE_NAMES, "i"}
ASKING = {"what", "which", "where", "how", "do", "can", "and", "now"}


def sentence_case(item: Item) -> Item:
    """ "What is the capital of Spain?" """
    sentences = item.sentences or (item.prompt,)
    return replace(item, prompt=" ".join(map(_sentence, sentences)))


def capitals(item: Item) -> Item:
    """ "WHAT IS THE CAPITAL OF SPAIN" """
    return replace(item, prompt=item.prompt.upper())


def _sentence(text: str) -> str:
    words = [word.capitalize() if word in PROPER else word for word in text.split()]
    words[0] = words[0].capitalize()
    stop = "?" if text.split()[0] in ASKING else "."
    return " ".join(words) + stop
