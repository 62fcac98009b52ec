"""Language models of n-grams, estimated from sentences.

Smoothed after Witten and Bell (1991), interpolated: what was never seen after a context has the
share of the context's different successors, and is given out by the model of the context without
its first word. Kneser-Ney's discounts need words that were seen once, twice, three and four times;
a recogniser's few tokens, or a corpus made of templates, have none, and this needs none.
"""

# S places in the text: all sentences, each with BEGIN and END; V words; N n-grams of one length

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from .arpa import BEGIN, END, NEVER, Level, NGrams


def witten_bell(
    sentences: Iterable[Sequence[str]], order: int, vocabulary: Collection[str] | None = None
) -> NGrams:
    """The model of sentences of words; empty ones do not count.

    order: words of the longest n-grams.
    vocabulary: words that the model has, in the text or not; the text's others are added.
    None: the text's words, of which each has its share, and none is kept for others.

    Errors (ValueError): the order is below 1, or longer than all sentences; there are no words;
    one of them is BEGIN or END, or has a space in it."""
    if order < 1:
        raise ValueError(f"an n-gram model of the order {order} cannot be: give 1 or more")
    words, text_S = _laid_out(sentences, vocabulary or ())
    end = words.index(END)
    count_V = np.bincount(text_S, minlength=len(words))
    count_V[0] = 0  # BEGIN never comes
    share_V = _shares(count_V, vocabulary is not None)
    zeros_V = np.zeros(len(words), dtype=np.int64)
    levels = [Level(zeros_V, np.arange(len(words)), _log10(share_V), np.zeros(len(words)))]
    place_S, share_N, start_S = text_S, share_V, np.arange(len(text_S))
    for n in range(2, order + 1):
        start_S = start_S[text_S[start_S + n - 2] != end]
        if not len(start_S):
            raise ValueError(
                f"an n-gram model of the order {order} needs sentences of {order - 2} words or "
                f"more, and the longest has {n - 3}: give an order of {n - 1} or less, or more text"
            )
        key_S = place_S[start_S] * len(words) + text_S[start_S + n - 1]
        key_N, first_N, place_of_S, count_N = np.unique(
            key_S, return_index=True, return_inverse=True, return_counts=True
        )
        parent_N, word_N = np.divmod(key_N, len(words))
        kinds = np.bincount(parent_N, minlength=len(share_N))
        total = np.bincount(parent_N, count_N, minlength=len(share_N))
        followed = kinds > 0
        backoff = np.zeros(len(share_N))
        backoff[followed] = np.log10(kinds[followed] / (total + kinds)[followed])
        shorter = share_N[place_S[start_S[first_N] + 1]]
        share_N = (count_N + kinds[parent_N] * shorter) / (total + kinds)[parent_N]
        before = levels[-1]
        levels[-1] = Level(before.parent_N, before.word_N, before.log10_N, backoff)
        levels.append(Level(parent_N, word_N, _log10(share_N), np.zeros(len(share_N))))
        place_S = np.full(len(text_S), -1)
        place_S[start_S] = place_of_S
    return NGrams(words, levels)


def _laid_out(
    sentences: Iterable[Sequence[str]], vocabulary: Collection[str]
) -> tuple[list[str], np.ndarray]:
    """BEGIN and the other words, sorted; the text's places in this list, as (S,) integers."""
    found = {BEGIN: 0, END: 1}
    text, number = array("i"), 0
    for sentence in filter(None, sentences):
        number += 1
        text.append(0)
        text.extend(found.setdefault(word, len(found)) for word in sentence)
        text.append(1)
    if not number:
        raise ValueError("no words to make a language model of: give texts with words")
    text_S = np.frombuffer(text, dtype=np.int32).astype(np.int64)
    signs = sum(int((text_S == place).sum()) for place in (0, 1)) - 2 * number
    if signs:
        raise ValueError(f"the text has {BEGIN} or {END} as a word, {signs} times: leave it out")
    for word in vocabulary:
        found.setdefault(word, len(found))
    spaced = [word for word in found if not word or set(" \t\n\r") & set(word)]
    if spaced:
        raise ValueError(
            f"{len(spaced)} words (first: {spaced[0]!r}) are empty or have a space in them, which "
            "a language model's file cannot hold: write them otherwise"
        )
    words = [BEGIN, *sorted(found.keys() - {BEGIN})]
    place_of = {word: place for place, word in enumerate(words)}
    return words, np.array([place_of[word] for word in found])[text_S]


def _shares(count_V: np.ndarray, keep_for_unseen: bool) -> np.ndarray:
    """Probabilities of words without a context; BEGIN, the first, has none."""
    total = count_V.sum()
    if not keep_for_unseen:
        return count_V / total
    kinds = (count_V > 0).sum()
    share_V = (count_V + kinds / (len(count_V) - 1)) / (total + kinds)
    share_V[0] = 0.0
    return share_V


def _log10(share_N: np.ndarray) -> np.ndarray:
    never = share_N == 0
    return np.where(never, NEVER, np.log10(np.where(never, 1.0, share_N)))
