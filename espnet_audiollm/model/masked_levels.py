"""Which units of several levels are masked: in a training step, and while a model generates them.

Levels are filled one after the other. Where one is being filled those before it are known and those
after it are masked; of the level itself a share is known, by the cosine schedule of MaskGIT
(arXiv 2202.04200), which SoundStorm (arXiv 2305.09636) has too. A prompt is never masked.
"""

# T frames, L levels, K units of a level, X frames that are still masked

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


def number_masked(progress: float, frames: int) -> int:
    """How many of the frames of a level are masked when a share `progress` of it is done: all at 0,
    few less at first, none at 1."""
    return math.floor(math.cos(0.5 * math.pi * min(progress, 1.0)) * frames + 1e-9)


@dataclass(frozen=True)
class Drawn:
    """What of one utterance is masked in a training step."""

    prompt: int  # frames at the beginning that are known
    level: int  # the one that is being filled, counted from 0
    asked_T: torch.Tensor  # bool: where it is masked, and a loss is taken

    def hidden(self, levels: int) -> torch.Tensor:
        """(T, L) bool: all that is masked."""
        hidden_TL = torch.zeros(len(self.asked_T), levels, dtype=torch.bool)
        hidden_TL[:, self.level] = self.asked_T
        hidden_TL[self.prompt :, self.level + 1 :] = True
        return hidden_TL


def draw(
    frames: int, levels: int, unprompted: float, generator: torch.Generator | None = None
) -> Drawn:
    """The masks of an utterance: a prompt of any length that leaves a frame (with the probability
    `unprompted` none), a level, and how far it is filled.

    generator: None: torch's own."""
    bare, cut, at, progress = torch.rand(4, generator=generator).tolist()
    prompt = 0 if bare < unprompted else int(cut * frames)
    left = frames - prompt
    chosen = torch.randperm(left, generator=generator)[: max(1, number_masked(progress, left))]
    asked_T = torch.zeros(frames, dtype=torch.bool)
    asked_T[prompt + chosen] = True
    return Drawn(prompt, int(at * levels), asked_T)


def left_after(iteration: int, iterations: int, frames: int, masked: int) -> int:
    """How many frames are masked after an iteration (1, 2, ...), of `masked` before it; each one
    fills a frame at least, and the last fills all.

    frames: of the level, without the prompt's."""
    if iteration >= iterations:
        return 0
    return max(0, min(number_masked(iteration / iterations, frames), masked - 1))


def choose(
    logits_XK: torch.Tensor,
    left: int,
    temperature: float = 0.0,
    doubt: float = 0.0,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(X,) units for the masked frames, and (X,) bool: which of them are kept; the `left` least
    certain are not.

    temperature: of the draw of units (0: the likeliest).
    doubt: share of chance in the order of certainty, 0 none."""
    log_XK = logits_XK.float().log_softmax(-1)
    scores_XK = log_XK
    if temperature > 0:
        scores_XK = log_XK / temperature + gumbel(log_XK, generator)
    units_X = scores_XK.argmax(-1)
    certain_X = log_XK.gather(1, units_X[:, None])[:, 0]
    if temperature * doubt > 0:
        certain_X = certain_X + temperature * doubt * gumbel(certain_X, generator)
    kept_X = torch.zeros_like(units_X, dtype=torch.bool)
    order_X = certain_X.sort(descending=True, stable=True).indices
    kept_X[order_X[: len(order_X) - left]] = True
    return units_X, kept_X


def gumbel(like: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Gumbel noise of the shape, drawn on the host, so that each device has the same."""
    uniform = torch.rand(like.shape, generator=generator).clamp(1e-10, 1 - 1e-7)
    return -(-uniform.log()).log().to(like)
