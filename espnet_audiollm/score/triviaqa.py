"""TriviaQA's normalisation of answers, as its evaluation script documents and does it.

https://github.com/mandarjoshi90/triviaqa, evaluation/triviaqa_evaluation.py"""

from __future__ import annotations

import re
import string

_TO_SPACE = str.maketrans(dict.fromkeys(string.punctuation + "\u2018\u2019\u00b4`", " "))
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


def normalize_answer(text: str) -> str:
    """Lower case; ASCII punctuation, curly single quotes and accents by themselves become spaces;
    the articles go; white space is folded. "The Beatles'_Song" is "beatles song"."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_TO_SPACE)).split())
