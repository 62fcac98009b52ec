"""A bigram language model of given sentences, as an ARPA file.

Smoothed after Witten and Bell (1991): what follows a word and was never seen after it has the share
of the word's different successors, given out by how often words come. The vocabulary is closed:
there is no unknown word.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

BEGIN, END = "<s>", "</s>"
NEVER = -99.0  # log10 of what cannot come


@dataclass(frozen=True)
class Bigrams:
    """Counts of words and of pairs; each sentence ends with END."""

    words: Counter[str]  # END among them
    pairs: Counter[tuple[str, str]]  # the first may be BEGIN

    @classmethod
    def of(cls, sentences: Iterable[list[str]]) -> Bigrams:
        """Of sentences of words. Errors (ValueError): there is none with words."""
        words: Counter[str] = Counter()
        pairs: Counter[tuple[str, str]] = Counter()
        for sentence in filter(None, sentences):
            line = [BEGIN, *sentence, END]
            words.update(line[1:])
            pairs.update(zip(line, line[1:], strict=False))
        if not words:
            raise ValueError("no words to make a language model of: give texts with words")
        return cls(words, pairs)

    def arpa(self) -> str:
        """The model in ARPA's format."""
        return "\n".join(self._lines()) + "\n"

    def probability(self, word: str, before: str) -> float:
        """Of `word` after `before`; BEGIN never comes."""
        followers, total, unigram = self._after()
        rest = unigram[word] * followers[before]
        return (self.pairs[before, word] + rest) / (total[before] + followers[before])

    def _after(self) -> tuple[Counter[str], Counter[str], dict[str, float]]:
        """Different successors and all successors of each word; shares of words."""
        followers, total = Counter(first for first, _ in self.pairs), Counter[str]()
        for (first, _), count in self.pairs.items():
            total[first] += count
        number = self.words.total()
        return followers, total, {word: count / number for word, count in self.words.items()}

    def _lines(self) -> Iterator[str]:
        followers, total, unigram = self._after()
        yield "\\data\\"
        yield f"ngram 1={len(unigram) + 1}"
        yield f"ngram 2={len(self.pairs)}"
        yield "\n\\1-grams:"
        for word in [BEGIN, *sorted(unigram)]:
            log = math.log10(unigram[word]) if word in unigram else NEVER
            if word == END:
                yield f"{log:.6f} {word}"
                continue
            backoff = followers[word] / (total[word] + followers[word])
            yield f"{log:.6f} {word} {math.log10(backoff):.6f}"
        yield "\n\\2-grams:"
        for first, second in sorted(self.pairs):
            count, spread = self.pairs[first, second], followers[first]
            share = (count + spread * unigram[second]) / (total[first] + spread)
            yield f"{math.log10(share):.6f} {first} {second}"
        yield "\n\\end\\"
