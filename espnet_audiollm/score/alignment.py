"""How far the embeddings of audio and text align with each other, in numbers.

AudioChatLlama's Figure 3 shows the pairwise cosine of one utterance and calls it "nearly
monotonic" (section 4.4). Here are two numbers for every utterance, each beside what it is when the
audio positions are put in a random order (mean over shuffles):

path      each token of the text is given one audio position, never going back: the mean cosine of
          the best such path. One position may serve several tokens.
in_order  a word's best audio position is that of its highest cosine (mean over the word's tokens);
          counted are the words of the longest series whose best positions strictly rise. Where all
          positions sound the same, that is one word.

Both are taken of the cosine, and of the cosine after each side's mean is taken away.

T text tokens, W words, P audio positions, D LLM width, K orders of the audio, N utterances,
F fields
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np

from ..store.runs import Similarity
from .bootstrap import RESAMPLES, Units, bootstrap_sums, percentile_interval
from .similarity import centred_cosine, cosine

SHUFFLES = 10


@dataclass(frozen=True, slots=True)
class AlignmentNumbers:
    """Of one utterance."""

    tokens: int
    words: int
    positions: int
    path: float
    path_shuffled: float
    in_order: int  # words
    in_order_shuffled: float  # words
    centred_path: float
    centred_path_shuffled: float
    centred_in_order: int
    centred_in_order_shuffled: float


NAMES = tuple(field.name for field in fields(AlignmentNumbers))


@dataclass(frozen=True)
class Mean:
    """Over a complete test set, and the same with shuffled audio positions."""

    value: float
    ci95: tuple[float, float]  # bootstrap over utterances
    shuffled: float
    shuffled_ci95: tuple[float, float]


@dataclass(frozen=True)
class Alignment:
    """Of a complete test set: sums over utterances, then divided."""

    utterances: int
    tokens: int
    words: int
    positions: int
    path: Mean  # cosine, mean over tokens
    in_order: Mean  # %, of all words
    centred_path: Mean
    centred_in_order: Mean

    def as_dict(self) -> dict:
        """For results.json."""
        return asdict(self)


def alignment_numbers(
    text_TD: np.ndarray, audio_PD: np.ndarray, word_starts: Sequence[int], seed: int = 0
) -> AlignmentNumbers:
    """The numbers of one utterance.

    word_starts: the tokens that begin a word, the first of them 0. seed: of the shuffles."""
    assert len(text_TD) and len(audio_PD) and word_starts[0] == 0
    orders_KP = _orders(len(audio_PD), seed)
    both = []
    for measure in (cosine, centred_cosine):
        cosine_TKP = measure(text_TD, audio_PD)[:, orders_KP]
        path_K = best_path(cosine_TKP)
        in_order_K = [words_in_order(best_P) for best_P in best_positions(cosine_TKP, word_starts)]
        both += [path_K[0], path_K[1:].mean(), in_order_K[0], np.mean(in_order_K[1:])]
    sizes = len(text_TD), len(word_starts), len(audio_PD)
    return AlignmentNumbers(*sizes, *(n.item() if hasattr(n, "item") else n for n in both))


def _orders(positions: int, seed: int) -> np.ndarray:
    """The audio positions as they are, and SHUFFLES times shuffled: (K, P)."""
    rng = np.random.default_rng(seed)
    inorder_KP = np.tile(np.arange(positions), (1 + SHUFFLES, 1))
    inorder_KP[1:] = rng.permuted(inorder_KP[1:], axis=1)
    return inorder_KP


def best_path(cosine_TKP: np.ndarray) -> np.ndarray:
    """(K,): the highest mean cosine of a position for each token, positions never going back."""
    sum_KP = cosine_TKP[0]
    for cosine_KP in cosine_TKP[1:]:
        sum_KP = np.maximum.accumulate(sum_KP, axis=1) + cosine_KP
    return sum_KP.max(axis=1) / len(cosine_TKP)


def best_positions(cosine_TKP: np.ndarray, word_starts: Sequence[int]) -> np.ndarray:
    """(K, W): where each word's cosine, mean over its tokens, is highest; the first of several."""
    tokens_W = np.diff([*word_starts, len(cosine_TKP)])
    cosine_WKP = np.add.reduceat(cosine_TKP, word_starts) / tokens_W[:, None, None]
    return cosine_WKP.argmax(axis=2).T


def words_in_order(best_W: Sequence[int]) -> int:
    """The length of the longest strictly rising series within `best_W`."""
    ends: list[int] = []  # the smallest end of a rising series of each length
    for best in best_W:
        at = bisect_left(ends, best)
        ends[at : at + 1] = [best]
    return len(ends)


def to_record(numbers: AlignmentNumbers) -> dict:
    """For the table `similarity` of a run."""
    return {name: round(value, 6) for name, value in asdict(numbers).items()}


def aggregate(
    similarity: Similarity, resamples: int = RESAMPLES, seed: int = 0, units: Units = None
) -> Alignment:
    """The alignment of a complete set, from a run's table `similarity`.

    Errors (ValueError): no utterance; other numbers than `AlignmentNumbers` has."""
    if not similarity.ids:
        raise ValueError("alignment needs utterances with a transcript; rerun stage 10")
    if set(similarity.columns) != set(NAMES):
        raise ValueError(f"similarity: not the numbers {', '.join(NAMES)}; rerun stage 10")
    rows_NF = np.column_stack([similarity.columns[name] for name in NAMES])
    rows_NF[:, [3, 4, 7, 8]] *= rows_NF[:, :1]  # mean cosines to sums over tokens
    sums_RF = bootstrap_sums(rows_NF, resamples, seed, units)
    sums_F = rows_NF.sum(axis=0)

    def mean(field: int, size: int, scale: float) -> Mean:
        values, intervals = [], []
        for column in (field, field + 1):
            values.append(float(scale * sums_F[column] / sums_F[size]))
            ratio_R = scale * sums_RF[:, column] / sums_RF[:, size]
            intervals.append(percentile_interval(ratio_R))
        return Mean(values[0], intervals[0], values[1], intervals[1])

    tokens, words, positions = (int(total) for total in sums_F[:3])
    means = mean(3, 0, 1.0), mean(5, 1, 100.0), mean(7, 0, 1.0), mean(9, 1, 100.0)
    return Alignment(len(rows_NF), tokens, words, positions, *means)
