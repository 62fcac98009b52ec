"""What the small LLM reads, and by which conversations it is judged."""

from __future__ import annotations

import random

from dialogues import DIALOGUES, chain, sample_dialogue, sample_pair
from follow_ups import follow_up
from world import CATEGORIES, Item, is_train, sample
from written import capitals, sentence_case

SHARES = {  # % of the other conversations: what is hard comes more often than it is spoken
    "fact": 13,
    "opposite": 8,
    "arithmetic": 18,
    "digits": 22,
    "translate": 12,
    "repeat": 6,
    "spell": 6,
    "statement": 13,
    "pair": 4,
}
EARLIER = 0.28  # share of the conversations whose first turn says what to do with the second
MORE_TURNS = 0.3  # share of the others with a second turn, and of these with a third
UNRELATED = 0.25  # share of the second turns that do not need the first
WRITTEN = 0.10  # share of the conversations in sentence case, with stops
CAPITALS = 0.03  # share in capitals


def conversation(rng: random.Random) -> list[Item]:
    """One to three turns without any held-out combination."""
    made = sample_dialogue(rng, train=True) if rng.random() < EARLIER else _talk(rng)
    share = rng.random()
    if share < WRITTEN:
        return list(map(sentence_case, made))
    return list(map(capitals, made)) if share < WRITTEN + CAPITALS else made


def _talk(rng: random.Random) -> list[Item]:
    category = rng.choices(list(SHARES), list(SHARES.values()))[0]
    if category == "pair":
        return [sample_pair(rng)]
    made = [sample(rng, True, category)]
    if rng.random() >= MORE_TURNS:
        return made
    if rng.random() < UNRELATED:
        return [*made, sample(rng, train=True)]
    while len(made) < 3:
        item = follow_up(rng, made[-1])
        if item is None or not is_train(item):
            break
        made.append(item)
        if rng.random() >= MORE_TURNS:
            break
    return made


def held_out_chats(rng: random.Random, num: int) -> dict[str, list[list[Item]]]:
    """Conversations to be judged by, each with a held-out combination in its last turn."""
    chats: dict[str, list[list[Item]]] = {name: [] for name in (*CATEGORIES, "follow_up")}
    for _ in range(num):
        item = sample(rng, train=False)
        chats[item.category].append([item])
    chats["follow_up"] = [_held_out_chain(rng, 2) for _ in range(num // 2)]
    few = max(1, num // 5)
    for name in DIALOGUES:
        chats[name] = [sample_dialogue(rng, False, name) for _ in range(few)]
    chats["third_turn"] = [_held_out_chain(rng, 3) for _ in range(few)]
    for name, form in (("sentence_case", sentence_case), ("capitals", capitals)):
        chats[name] = [[form(sample(rng, train=False))] for _ in range(few)]
    return chats


def _held_out_chain(rng: random.Random, turns: int) -> list[Item]:
    while True:
        made = chain(rng, sample(rng, train=True), turns)
        if made and all(map(is_train, made[:-1])) and not is_train(made[-1]):
            return made
