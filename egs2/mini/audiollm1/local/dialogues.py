"""Conversations in which an earlier turn says what is to be done with a later one.

The paper's extended capabilities (AudioChatLlama, section 4.5 and Appendix A) at the small world's
size: translation and summaries asked for beforehand, questions that go on from the turn before,
and places with a name that is never spoken in training, so that only the turn before tells it.
What is said in the later turn is, but for that name, what single turns are made of. Summaries are
of two or three sentences; training has single turns of two (`pair`), to hear so long a turn.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace

from follow_ups import follow_up
from world import (
    ADJECTIVES,
    CITIES,
    DEEDS,
    FEELINGS,
    NOUNS,
    PEOPLE,
    Item,
    is_train,
    sample,
    spanish,
)

Dialogue = list[Item]

TRANSLATE = (
    "translate what i say next into spanish",
    "please say the next thing in spanish",
    "tell me in spanish what i say now",
    "put my next words into spanish",
)
SUMMARIZE = (
    "summarize what i say next",
    "please make it short",
    "give me a summary of my next words",
    "tell me the main points of what i say now",
)
SPANISH_PEOPLE = {  # feminine?
    "my brother": ("mi hermano", False),
    "my sister": ("mi hermana", True),
    "my mother": ("mi madre", True),
    "my father": ("mi padre", False),
    "my friend": ("mi amigo", False),
    "our neighbor": ("nuestro vecino", False),
    "the farmer": ("el granjero", False),
    "the doctor": ("el doctor", False),
    "the teacher": ("la maestra", True),
    "the king": ("el rey", False),
    "the boy": ("el nino", False),
    "the girl": ("la nina", True),
}
SPANISH_DEEDS = {
    "bought": "compro",
    "lost": "perdio",
    "found": "encontro",
    "sold": "vendio",
    "broke": "rompio",
    "painted": "pinto",
    "wants": "quiere",
    "saw": "vio",
}
SPANISH_FEELINGS = {  # masculine, feminine
    "happy": ("esta contento", "esta contenta"),
    "sad": ("esta triste", "esta triste"),
    "hungry": ("tiene hambre", "tiene hambre"),
    "thirsty": ("tiene sed", "tiene sed"),
    "tired": ("esta cansado", "esta cansada"),
    "sick": ("esta enfermo", "esta enferma"),
    "angry": ("esta enojado", "esta enojada"),
    "late": ("llega tarde", "llega tarde"),
}
SPANISH_TIMES = {"today": "hoy", "yesterday": "ayer", "again": "otra vez"}
RARE_NAMES = tuple(
    "".join(parts)
    for parts in itertools.product(
        ("jok", "skor", "thin", "vatn", "hol"),
        ("ul", "ager", "ivel", "osar"),
        ("lon", "fossa", "nir"),
    )
)
PLACES = ("lake", "river", "castle", "village", "valley", "church")
ABOUT_PLACE = (
    "{name} is a {kind} near {city}",
    "i read about {name} a {kind} near {city}",
    "there is a {kind} near {city} and its name is {name}",
    "my friend lives in {name} near {city}",
)
WHERE = ("where is {}", "tell me where {} is", "do you know where {} is")
COUNTRY = ("which country is {} in", "tell me the country of {}")
KINDS = ("deed", "deed", "feeling", "weather", "travel")  # of statements, as often as here
UNCLEAR = 0.35  # share of training's questions whose rare name is not what was said


def request(rng: random.Random, phrasings: tuple[str, ...]) -> Item:
    return Item(rng.choice(phrasings), "ok .", "request", ("ok",), ())


def translation(rng: random.Random) -> Dialogue:
    said = _statement(rng, ("deed", "deed", "feeling"))
    response = f"{_spanish_statement(said.prompt)} ."
    return [request(rng, TRANSLATE), _reply(said, response, "translation")]


def summary(rng: random.Random) -> Dialogue:
    """Two sentences, or three: the answer keeps who did what, not which or when."""
    number = rng.choice((2, 2, 3))
    said = [_statement(rng, KINDS) for _ in range(number)]
    *first, last = (gist(item.prompt) for item in said)
    item = Item(
        prompt=" ".join(each.prompt for each in said),
        response=f"{' , '.join(first)} and {last} .",
        category="summary",
        answers=(f"{' , '.join(first)} and {last}",),
        keys=tuple(key for each in said for key in each.keys),
        sentences=tuple(each.prompt for each in said),
    )
    return [request(rng, SUMMARIZE), item]


def pair(rng: random.Random) -> Item:
    """Two statements in one turn, and what is said to each: for training to hear longer turns."""
    said = [_statement(rng, KINDS) for _ in range(2)]
    response = " ".join(each.response for each in said)
    return Item(
        prompt=" ".join(each.prompt for each in said),
        response=response,
        category="pair",
        answers=(response.rstrip(" .?"),),
        keys=tuple(key for each in said for key in each.keys),
        sentences=tuple(each.prompt for each in said),
    )


def sample_pair(rng: random.Random) -> Item:
    """A `pair` without a held-out combination."""
    while True:
        item = pair(rng)
        if is_train(item):
            return item


def rare(rng: random.Random) -> Dialogue:
    """A place with a rare name, then a question about it."""
    name, city = rng.choice(RARE_NAMES), rng.choice(list(CITIES))
    about_place = rng.choice(ABOUT_PLACE).format(name=name, kind=rng.choice(PLACES), city=city)
    phrasings, where = rng.choice(((WHERE, f"near {city}"), (COUNTRY, f"in {CITIES[city]}")))
    prompt, answer = rng.choice(phrasings).format(name), f"{name} is {where}"
    key = f"{name} near {city}"
    item = Item(prompt, f"{answer} .", "rare_word", (answer,), (key,), ("name", name))
    return [Item(about_place, "i see .", "request", ("i see",), (key,)), item]


def unclear(rng: random.Random, dialogue: Dialogue) -> Dialogue:
    """A `rare` one in which the question's name is not understood: other words, or noise."""
    *before, question = dialogue
    name = question.about[1]
    words = [*ADJECTIVES, *NOUNS, *PLACES, "a", "i", "on", "some", "well"]
    if rng.random() < 0.5:
        recognised = " ".join(rng.choice(words) for _ in range(rng.choice((1, 2, 2, 3))))
    else:
        letters = "".join(rng.choice("bdfghjklmnprstvw") + rng.choice("aeiou") for _ in range(4))
        recognised = letters[: rng.randint(3, 8)]
    prompt = question.prompt.replace(name, recognised)
    return [*before, replace(question, prompt=prompt, category="unclear")]


def chain(rng: random.Random, first: Item, turns: int) -> Dialogue | None:
    """`first` and what goes on from it; None where so many turns cannot be made."""
    made = [first]
    while len(made) < turns:
        item = follow_up(rng, made[-1])
        if item is None:
            return None
        made.append(item)
    return made


DIALOGUES: dict[str, tuple[Callable[[random.Random], Dialogue], float]] = {  # maker, share
    "translation": (translation, 0.25),
    "summary": (summary, 0.5),
    "rare_word": (rare, 0.25),
}


def sample_dialogue(rng: random.Random, train: bool, category: str | None = None) -> Dialogue:
    """Like `world.sample`: all turns of a training dialogue without a held-out combination, at
    least one of the last turn of another held out. Only in training is a rare name unclear."""
    if category is None:
        names = list(DIALOGUES)
        category = rng.choices(names, [DIALOGUES[name][1] for name in names])[0]
    while True:
        made = DIALOGUES[category][0](rng)
        if is_train(made[-1]) == train:
            break
    if train and category == "rare_word" and rng.random() < UNCLEAR:
        return unclear(rng, made)
    return made


def _statement(rng: random.Random, kinds: tuple[str, ...]) -> Item:
    """A random statement of the world, of one of the kinds."""
    kind = rng.choice(kinds)
    while True:
        item = sample(rng, train=rng.random() < 0.5, category="statement")
        if _parse(item.prompt)[0] == kind:
            return item


def _parse(prompt: str) -> tuple[str, str, list[str]]:
    """(kind, who, the other words) of a statement."""
    if prompt.startswith("it is "):
        return "weather", "", prompt.split()[2:]
    one, two, *rest = prompt.split()
    if rest[0] in DEEDS:
        return "deed", f"{one} {two}", rest
    return ("travel" if rest[1] == "going" else "feeling"), f"{one} {two}", rest


def _reply(said: Item, response: str, category: str) -> Item:
    return Item(said.prompt, response, category, (response.rstrip(" ."),), said.keys)


def _spanish_statement(prompt: str) -> str:
    kind, who, words = _parse(prompt)
    person, feminine = SPANISH_PEOPLE[who]
    when = [SPANISH_TIMES[words.pop()]] if words[-1] in SPANISH_TIMES else []
    if kind == "feeling":
        return " ".join([person, SPANISH_FEELINGS[words[1]][feminine], *when])
    verb, _, adjective, noun = words
    article = "una" if NOUNS[noun][1] else "un"
    return " ".join([person, SPANISH_DEEDS[verb], article, spanish(f"{adjective} {noun}"), *when])


def gist(prompt: str) -> str:
    """What is said, without which one and when."""
    kind, who, words = _parse(prompt)
    if kind == "weather":
        return f"it is {words[0]} in {words[2]}"
    if kind == "feeling":
        assert words[1] in FEELINGS, prompt
        return f"{PEOPLE[who]} is {words[1]}"
    if kind == "travel":
        return f"{PEOPLE[who]} is going to {words[3]}"
    article = "an" if words[3][0] in "aeiou" else "a"
    return f"{PEOPLE[who]} {words[0]} {article} {words[3]}"
