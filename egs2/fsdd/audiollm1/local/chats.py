"""What the small LLM reads about strings of digits, and by which conversations it is judged."""

from __future__ import annotations

import random

from world import CATEGORIES, Item, follow_up, is_train, sample

TWO_TURNS = 0.3  # share of the conversations with a second turn
UNRELATED = 0.25  # share of the second turns that do not need the first


def conversation(rng: random.Random) -> list[Item]:
    """One or two turns without any held-out string."""
    first = sample(rng, train=True)
    if rng.random() >= TWO_TURNS:
        return [first]
    if rng.random() < UNRELATED:
        return [first, sample(rng, train=True)]
    second = follow_up(rng, first)
    return [first, second] if second and is_train(second) else [first]


def held_out_chats(rng: random.Random, num: int) -> dict[str, list[list[Item]]]:
    """Conversations to be judged by, each about a string that is held out."""
    chats: dict[str, list[list[Item]]] = {name: [] for name in (*CATEGORIES, "follow_up")}
    for _ in range(num):
        item = sample(rng, train=False)
        chats[item.category].append([item])
    while len(chats["follow_up"]) < num // 2:
        first = sample(rng, train=False)
        second = follow_up(rng, first)
        if second:
            chats["follow_up"].append([first, second])
    return chats
