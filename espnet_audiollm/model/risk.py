"""The cost of a response expected over what the recogniser may have recognised.

The LLM reads the best tokens, which have no gradient. Here nothing passes through the LLM: several
token sequences are drawn from the CTC posterior, the LLM says what the response costs after each,
and the posterior moves from the sequences after which it is unlikely to those after which it is
likely. That is minimum Bayes risk training (minimum word error rate training, arXiv 1712.01818)
with the LLM's nats in place of word errors.
"""

# B examples, R recordings (one or more to an example), T frames, V tokens of the CTC layer,
# K hypotheses of an example, the best one first, D LLM width

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from .ctc import BLANK

Tokens = tuple[int, ...]  # of the CTC layer, without blanks


def distinct(drawn: Sequence[Sequence[Tokens]], recordings: Sequence[int]) -> list[list[bool]]:
    """Which of an example's hypotheses count (B of K): those with a token in each recording that
    no earlier one equals.

    Args:
        drawn: K of R, the hypotheses of all recordings.
        recordings: of each example, in order (B,).
    """
    counted, start = [], 0
    for number in recordings:
        seen: set[tuple[Tokens, ...]] = set()
        row = []
        for hypothesis in drawn:
            parts = tuple(hypothesis[start : start + number])
            row.append(all(parts) and parts not in seen)
            seen.add(parts)
        counted.append(row)
        start += number
    return counted


def sequence_nats(
    log_posterior_RTV: torch.Tensor, frames_R: torch.Tensor, hypothesis: Sequence[Tokens]
) -> torch.Tensor:
    """The CTC loss (nats) of one hypothesis of each recording (R,): over all of its alignments."""
    tokens = torch.tensor([token for tokens in hypothesis for token in tokens], dtype=torch.long)
    return F.ctc_loss(
        log_posterior_RTV.transpose(0, 1),
        tokens.to(log_posterior_RTV.device, non_blocking=True),
        frames_R,
        torch.tensor([len(tokens) for tokens in hypothesis]),
        blank=BLANK,
        reduction="none",
        zero_infinity=True,
    )


def expected_excess(
    log_posterior_RTV: torch.Tensor,
    frames_R: torch.Tensor,
    drawn: Sequence[Sequence[Tokens]],
    recordings: Sequence[int],
    best_B: torch.Tensor,
    cost: Callable[[int, Sequence[int]], torch.Tensor],
) -> torch.Tensor:
    """What the hypotheses cost more than the best one (B,): the mean over an example's distinct
    hypotheses, by their probabilities among these. 0 where there is no other than the best one.

    Args:
        log_posterior_RTV: of the CTC layer; gradients go here and nowhere else.
        drawn: K of R, the best hypotheses first.
        recordings: of each example (B,).
        best_B: the cost of the best hypotheses, without gradients.
        cost: of hypothesis k (not the best), the cost of some examples; likewise.
    """
    counted = distinct(drawn, recordings)
    device = log_posterior_RTV.device
    nats_KR = torch.stack([sequence_nats(log_posterior_RTV, frames_R, h) for h in drawn])
    example_R = torch.arange(len(recordings)).repeat_interleave(torch.tensor(recordings))
    nats_KB = nats_KR.new_zeros(len(drawn), len(recordings))
    nats_KB = nats_KB.index_add(1, example_R.to(device, non_blocking=True), nats_KR)
    left_out_KB = ~torch.tensor(counted).T.to(device, non_blocking=True)
    left_out_KB[0] = False  # an utterance is answered after its best tokens in any case
    share_KB = (-nats_KB).masked_fill(left_out_KB, -torch.inf).softmax(0)
    excess_KB = torch.zeros_like(nats_KB)
    for k in range(1, len(drawn)):
        examples = [i for i, row in enumerate(counted) if row[k]]
        if examples:
            found = cost(k, examples)
            excess_KB[k, examples] = (found - best_B[examples].to(found.dtype)).to(excess_KB.dtype)
    return (share_KB * excess_KB).sum(0)
