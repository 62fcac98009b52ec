"""A small closed world to talk about: what is asked, and what a good answer is.

The vocabulary is closed (some 250 spoken words) and the world compositional: a request is a
phrasing and its content, so that a model can answer what it never saw, if it learned the parts.
An item names the combinations it is made of (`Item.keys`). A hash of each decides, once and for
all, whether it is held out: training, of the recogniser, the audio LLM and the text LLM alike,
has only items without a held-out combination; every test item has at least one.

Answers depend on the content words, most of them by repeating some: a wrong word in a transcript
then makes a wrong answer, as it does at full size.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field

HELD_OUT = 18  # % of the combinations

COUNTRIES = {  # country: (capital, language, continent)
    "spain": ("madrid", "spanish", "europe"),
    "france": ("paris", "french", "europe"),
    "italy": ("rome", "italian", "europe"),
    "germany": ("berlin", "german", "europe"),
    "greece": ("athens", "greek", "europe"),
    "norway": ("oslo", "norwegian", "europe"),
    "poland": ("warsaw", "polish", "europe"),
    "ireland": ("dublin", "irish", "europe"),
    "portugal": ("lisbon", "portuguese", "europe"),
    "russia": ("moscow", "russian", "europe"),
    "japan": ("tokyo", "japanese", "asia"),
    "china": ("beijing", "chinese", "asia"),
    "turkey": ("ankara", "turkish", "asia"),
    "egypt": ("cairo", "arabic", "africa"),
    "kenya": ("nairobi", "swahili", "africa"),
    "cuba": ("havana", "spanish", "america"),
    "peru": ("lima", "spanish", "america"),
    "chile": ("santiago", "spanish", "america"),
}
CITIES = {capital: country for country, (capital, _, _) in COUNTRIES.items()}
OPPOSITES = {
    "hot": "cold",
    "big": "small",
    "old": "young",
    "long": "short",
    "fast": "slow",
    "good": "bad",
    "hard": "soft",
    "early": "late",
    "happy": "sad",
    "rich": "poor",
    "full": "empty",
    "clean": "dirty",
    "strong": "weak",
    "dark": "bright",
    "open": "closed",
    "left": "right",
}
OPPOSITES |= {second: first for first, second in OPPOSITES.items()}
ADJECTIVES = {  # Spanish, masculine and feminine (ASCII spelling)
    "red": ("rojo", "roja"),
    "black": ("negro", "negra"),
    "white": ("blanco", "blanca"),
    "yellow": ("amarillo", "amarilla"),
    "green": ("verde", "verde"),
    "blue": ("azul", "azul"),
    "small": ("pequeno", "pequena"),
    "big": ("grande", "grande"),
    "old": ("viejo", "vieja"),
    "new": ("nuevo", "nueva"),
    "clean": ("limpio", "limpia"),
    "expensive": ("caro", "cara"),
}
NOUNS = {  # Spanish, feminine?
    "dog": ("perro", False),
    "cat": ("gato", False),
    "horse": ("caballo", False),
    "cow": ("vaca", True),
    "bird": ("pajaro", False),
    "house": ("casa", True),
    "table": ("mesa", True),
    "chair": ("silla", True),
    "door": ("puerta", True),
    "window": ("ventana", True),
    "book": ("libro", False),
    "boat": ("barco", False),
    "car": ("coche", False),
    "flower": ("flor", True),
    "shirt": ("camisa", True),
    "shoe": ("zapato", False),
    "key": ("llave", True),
    "hat": ("sombrero", False),
    "apple": ("manzana", True),
    "bed": ("cama", True),
    "clock": ("reloj", False),
    "bicycle": ("bicicleta", True),
}
NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
).split()
DIGITS = NUMBERS[:10]
PEOPLE = {  # as the user says it: as the answer says it
    "my brother": "your brother",
    "my sister": "your sister",
    "my mother": "your mother",
    "my father": "your father",
    "my friend": "your friend",
    "our neighbor": "your neighbor",
    "the farmer": "the farmer",
    "the doctor": "the doctor",
    "the teacher": "the teacher",
    "the king": "the king",
    "the boy": "the boy",
    "the girl": "the girl",
}
DEEDS = {  # what was done to a thing: what a chatty model says
    "bought": "i hope {who} likes the {what} .",
    "lost": "i am sorry that {who} lost the {what} .",
    "found": "how lucky that {who} found the {what} .",
    "sold": "why did {who} sell the {what} ?",
    "broke": "oh no , {who} broke the {what} .",
    "painted": "i am sure that {who} painted the {what} well .",
    "wants": "maybe {who} gets a {what} soon .",
    "saw": "i see , {who} saw a {what} .",
}
FEELINGS = {
    "happy": "i am glad that {who} is happy .",
    "sad": "i am sorry that {who} is sad .",
    "hungry": "give {who} some bread .",
    "thirsty": "give {who} some water .",
    "tired": "let {who} sleep .",
    "sick": "i hope {who} gets well soon .",
    "angry": "what made {who} angry ?",
    "late": "call {who} now .",
}
WEATHER = {
    "hot": "it is hot in {where} , so drink water .",
    "cold": "it is cold in {where} , so take a coat .",
    "raining": "it is raining in {where} , so stay at home .",
    "snowing": "it is snowing in {where} , so drive slowly .",
    "dark": "it is dark in {where} , so take a lamp .",
}


@dataclass(frozen=True)
class Item:
    """One turn of the user and the answer to it."""

    prompt: str  # lower case, no punctuation, as a recogniser writes
    response: str
    category: str
    answers: tuple[str, ...]  # any one of these in a response makes it a success
    keys: tuple[str, ...]  # the combinations it is made of
    about: tuple[str, ...] = field(default=())  # what a follow-up needs to know of it
    sentences: tuple[str, ...] = field(default=())  # of the prompt. (): it is one


def held_out(key: str) -> bool:
    """Is this combination kept for the test? The same on every machine and in every run."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % 100 < HELD_OUT


def is_train(item: Item) -> bool:
    return not any(held_out(key) for key in item.keys)


def noun_phrase(rng: random.Random) -> tuple[str, tuple[str, ...]]:
    """("red boat", its keys). The same pair is held out wherever it occurs."""
    adjective, noun = rng.choice(list(ADJECTIVES)), rng.choice(list(NOUNS))
    return f"{adjective} {noun}", (f"phrase {adjective} {noun}",)


def spanish(phrase: str) -> str:
    """Spanish of a noun or of "adjective noun": the adjective follows and agrees."""
    *adjective, noun = phrase.split()
    word, feminine = NOUNS[noun]
    return " ".join([word] + [ADJECTIVES[a][feminine] for a in adjective])


FACTS = {  # what is asked: (phrasings, the answer)
    "capital": (
        (
            "what is the capital of {}",
            "tell me the capital of {}",
            "which city is the capital of {}",
            "do you know the capital of {}",
            "name the capital of {} please",
        ),
        "the capital of {} is {} .",
    ),
    "language": (
        (
            "what language do people speak in {}",
            "which language is spoken in {}",
            "tell me the language of {}",
            "what do they speak in {}",
        ),
        "people in {} speak {} .",
    ),
    "continent": (
        (
            "where is {}",
            "tell me where {} is",
            "what part of the world is {} in",
            "do you know where {} is",
        ),
        "{} is in {} .",
    ),
    "city": (
        (
            "which country is {} in",
            "tell me the country of {}",
            "where do i find {}",
            "what country has the city of {}",
        ),
        "{} is a city in {} .",
    ),
}


def fact_value(attribute: str, name: str) -> str:
    if attribute == "city":
        return CITIES[name]
    return COUNTRIES[name][("capital", "language", "continent").index(attribute)]


def fact_response(attribute: str, name: str) -> str:
    return FACTS[attribute][1].format(name, fact_value(attribute, name))


def fact(rng: random.Random) -> Item:
    attribute = rng.choice(list(FACTS))
    name = rng.choice(list(CITIES if attribute == "city" else COUNTRIES))
    return _fact(attribute, name, rng.choice(FACTS[attribute][0]))


def _fact(attribute: str, name: str, phrasing: str) -> Item:
    prompt = phrasing.format(name)
    return Item(
        prompt=prompt,
        response=fact_response(attribute, name),
        category="fact",
        answers=(fact_value(attribute, name),),
        keys=(prompt,),
        about=("fact", attribute, name),
    )


def opposite(rng: random.Random) -> Item:
    word = rng.choice(list(OPPOSITES))
    phrasing = rng.choice(
        (
            "what is the opposite of {}",
            "tell me the opposite of {}",
            "which word is the opposite of {}",
            "what do you call something that is not {}",
            "give me the opposite of {} please",
        )
    )
    prompt = phrasing.format(word)
    return Item(
        prompt=prompt,
        response=f"the opposite of {word} is {OPPOSITES[word]} .",
        category="opposite",
        answers=(f"is {OPPOSITES[word]}",),
        keys=(prompt,),
        about=("opposite", word),
    )


def sum_response(a: int, operation: str, b: int) -> tuple[str, int]:
    result = a + b if operation == "plus" else a - b
    return f"{NUMBERS[a]} {operation} {NUMBERS[b]} is {NUMBERS[result]} .", result


def arithmetic(rng: random.Random) -> Item:
    return neighbor_number(rng) if rng.random() < 0.2 else addition(rng)


def addition(rng: random.Random) -> Item:
    operation = rng.choice(("plus", "minus"))
    a, b = rng.randrange(0, 11), rng.randrange(0, 6)
    if operation == "minus":
        a = max(a, b)
    response, result = sum_response(a, operation, b)
    phrasing = rng.choice(
        (
            "what is {a} {op} {b}",
            "how much is {a} {op} {b}",
            "tell me what {a} {op} {b} is",
            "can you work out {a} {op} {b}",
            "add {b} to {a}" if operation == "plus" else "take {b} from {a}",
        )
    )
    prompt = phrasing.format(a=NUMBERS[a], b=NUMBERS[b], op=operation)
    return Item(
        prompt=prompt,
        response=response,
        category="arithmetic",
        answers=(f"is {NUMBERS[result]}",),
        keys=(prompt,),
        about=("arithmetic", str(result)),
    )


def neighbor_number(rng: random.Random) -> Item:
    side, step = rng.choice((("after", 1), ("before", -1)))
    number = rng.randrange(1, 15)
    phrasing = rng.choice(
        ("what number comes {} {}", "which number is just {} {}", "tell me the number {} {}")
    )
    prompt = phrasing.format(side, NUMBERS[number])
    return Item(
        prompt=prompt,
        response=f"{NUMBERS[number + step]} comes {side} {NUMBERS[number]} .",
        category="arithmetic",
        answers=(f"{NUMBERS[number + step]} comes",),
        keys=(prompt,),
    )


DIGIT_TASKS: dict[str, tuple[tuple[str, ...], Callable[[list[str]], str]]] = {
    "say": (
        ("say the digits {}", "repeat the digits {}", "give me the digits {}"),
        " ".join,
    ),
    "reverse": (
        ("say {} backwards", "reverse the digits {}", "what is {} backwards"),
        lambda digits: " ".join(reversed(digits)),
    ),
    "last": (
        ("what is the last digit of {}", "which digit is the last of {}"),
        lambda digits: f"the last digit of {' '.join(digits)} is {digits[-1]}",
    ),
}


def digits(rng: random.Random) -> Item:
    task = rng.choice(list(DIGIT_TASKS))
    phrasings, work = DIGIT_TASKS[task]
    string = rng.sample(DIGITS, rng.choice((3, 3, 4)))
    spoken = " ".join(string)
    answer = work(string)
    return Item(
        prompt=rng.choice(phrasings).format(spoken),
        response=f"{answer} .",
        category="digits",
        answers=(answer,),
        keys=(f"digits {spoken}",),
        about=("repeat", spoken) if task == "say" else (),
    )


def translate(rng: random.Random) -> Item:
    phrasing = rng.choice(
        (
            "how do you say {} in spanish",
            "translate {} into spanish",
            "what is {} in spanish",
            "what is the spanish for {}",
        )
    )
    if rng.random() < 0.25:
        phrase = rng.choice(list(NOUNS))
        prompt = phrasing.format(phrase)
        keys: tuple[str, ...] = (prompt,)
    else:
        phrase, keys = noun_phrase(rng)
        prompt = phrasing.format(phrase)
    return Item(
        prompt=prompt,
        response=translation_response(phrase),
        category="translate",
        answers=(spanish(phrase),),
        keys=keys,
        about=("translate", phrase),
    )


def translation_response(phrase: str) -> str:
    return f"{phrase} in spanish is {spanish(phrase)} ."


def repeat(rng: random.Random) -> Item:
    phrase, keys = noun_phrase(rng)
    if rng.random() < 0.3:
        other, more = noun_phrase(rng)
        phrase, keys = f"{phrase} and {other}", keys + more
        phrasing, answer = rng.choice(("repeat after me {}", "please say {}")), phrase
    else:
        phrasing, answer = rng.choice(
            (
                ("repeat after me {}", phrase),
                ("please say {}", phrase),
                ("say {} twice", f"{phrase} {phrase}"),
                ("say the words {} again and again", f"{phrase} {phrase} {phrase}"),
            )
        )
    return Item(
        prompt=phrasing.format(phrase),
        response=f"{answer} .",
        category="repeat",
        answers=(answer,),
        keys=keys,
        about=("repeat", answer),
    )


def spell(rng: random.Random) -> Item:
    word = rng.choice([*NOUNS, *ADJECTIVES])
    phrasing = rng.choice(
        (
            "how do you spell {}",
            "spell the word {}",
            "please spell {} for me",
            "which letters are in the word {}",
        )
    )
    prompt = phrasing.format(word)
    return Item(
        prompt=prompt,
        response=f"{word} is spelled {' '.join(word)} .",
        category="spell",
        answers=(" ".join(word),),
        keys=(prompt,),
        about=("spell", word),
    )


def statement(rng: random.Random) -> Item:
    """Not a question at all: the answer is what a chatty model says to it."""
    return rng.choice((_deed, _deed, _deed, _feeling, _weather, _travel))(rng)


def _deed(rng: random.Random) -> Item:
    person, verb = rng.choice(list(PEOPLE)), rng.choice(list(DEEDS))
    what, keys = noun_phrase(rng)
    end = rng.choice(("", "", " today", " yesterday")) if verb != "wants" else ""
    return _statement(
        f"{person} {verb} a{'n' if what[0] in 'aeiou' else ''} {what}{end}",
        DEEDS[verb].format(who=PEOPLE[person], what=what),
        keys + (f"{person} {verb}",),
        what,
    )


def _feeling(rng: random.Random) -> Item:
    person, feeling = rng.choice(list(PEOPLE)), rng.choice(list(FEELINGS))
    end = rng.choice(("", " today", " again"))
    return _statement(
        f"{person} is {feeling}{end}",
        FEELINGS[feeling].format(who=PEOPLE[person]),
        (f"{person} is {feeling}",),
        FEELINGS[feeling].format(who=PEOPLE[person]).rstrip(" .?"),
    )


def _weather(rng: random.Random) -> Item:
    weather, where = rng.choice(list(WEATHER)), rng.choice(list(CITIES))
    end = rng.choice(("", " today", " again"))
    return _statement(
        f"it is {weather} in {where}{end}",
        WEATHER[weather].format(where=where),
        (f"it is {weather} in {where}",),
        f"{weather} in {where}",
    )


def _travel(rng: random.Random) -> Item:
    person, where = rng.choice(list(PEOPLE)), rng.choice(list(COUNTRIES))
    when = rng.choice(("today", "tomorrow"))
    return _statement(
        f"{person} is going to {where} {when}",
        f"{where} is nice , does {PEOPLE[person]} speak {COUNTRIES[where][1]} ?",
        (f"{person} going to {where}",),
        f"speak {COUNTRIES[where][1]}",
    )


def _statement(prompt: str, response: str, keys: tuple[str, ...], answer: str) -> Item:
    return Item(prompt, response, "statement", (answer,), keys, ("statement", response))


CATEGORIES: dict[str, tuple[Callable[[random.Random], Item], float]] = {  # maker, share
    "fact": (fact, 0.17),
    "opposite": (opposite, 0.08),
    "arithmetic": (arithmetic, 0.13),
    "digits": (digits, 0.12),
    "translate": (translate, 0.16),
    "repeat": (repeat, 0.06),
    "spell": (spell, 0.06),
    "statement": (statement, 0.22),
}


def sample(rng: random.Random, train: bool, category: str | None = None) -> Item:
    """A random item; `train`: without (True) or with (False) a held-out combination."""
    if category is None:
        names = list(CATEGORIES)
        category = rng.choices(names, [CATEGORIES[name][1] for name in names])[0]
    make = CATEGORIES[category][0]
    while True:
        item = make(rng)
        if is_train(item) == train:
            return item
