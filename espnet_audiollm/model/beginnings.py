"""What all prompts of a batch begin with (a system turn, the template): read once, not for each.

A frozen LLM computes the same keys and values of these tokens in every sequence and in every step.
They are computed once, and kept as long as batches begin with them; nothing passes back through
them, since no audio stands before them. What they are depends on the batch's prompts and on nothing
that came before: a resumed training computes the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from ..data.prompt import AUDIO_SLOT
from .layers import decoder_layers
from .packing import Beginning, read_beginning

LEAST = 4  # tokens that are worth it on a processor (docs/speed.md)
LEAST_ON_GPU = 16  # a guess: not measured


class Beginnings:
    """The common beginning of each batch's prompts; the last one is kept. One for each LLM.

    A copy of it (for tensors without values, say) has nothing yet.

    least: tokens of a beginning that is read once (default: by the LLM's device)."""

    def __init__(self, least: int | None = None) -> None:
        self.least = least
        self._suits: bool | None = None  # None: not looked at yet
        self._kept: Beginning | None = None
        self._kept_for: tuple[Any, ...] = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> Beginnings:
        return Beginnings(self.least)

    def of(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> Beginning | None:
        """The tokens before the first audio slot that all prompts share, as the LLM has read them.
        None: they are too few, or the LLM is trained or shared out among processes."""
        if self._suits is None:
            self._suits = _suits(model)
        if not self._suits:
            return None
        on_cpu = model.get_input_embeddings().weight.device.type == "cpu"
        least = self.least or (LEAST if on_cpu else LEAST_ON_GPU)
        common = common_beginning([_up_to_audio(prompt) for prompt in prompts], least)
        if not common:
            return None
        tokens = tuple(prompts[0][:common])
        wanted = (tokens, *_arithmetic(model))
        if self._kept_for != wanted:
            if not self._kept_for:
                logging.info(f"The prompts begin with {common} common tokens, which are read once")
            self._kept, self._kept_for = read_beginning(model, tokens), wanted
        return self._kept


def opens(beginning: Beginning | None, prompts: Sequence[Sequence[int]]) -> bool:
    """Whether all prompts begin with it and go on behind it."""
    if beginning is None:
        return False
    tokens = list(beginning.tokens)
    return all(
        list(prompt[: len(tokens)]) == tokens and len(prompt) > len(tokens) for prompt in prompts
    )


def followed_by(beginning: Beginning | None, prompts: Sequence[list[int]]) -> list[list[int]]:
    """The prompts without it: what is left to be read."""
    read = len(beginning.tokens) if beginning else 0
    return [prompt[read:] for prompt in prompts]


def common_beginning(prompts: Sequence[Sequence[int] | torch.Tensor], least: int) -> int:
    """The number of positions with which all prompts begin, but for a last one of each; 0 if they
    are fewer than `least`, or if these are neither token ids nor embeddings (T, D), all of them.
    Prompts that differ early, by their audio for instance, are compared no further."""
    first, others = prompts[0], prompts[1:]
    common = min(map(len, prompts)) - 1
    early = (_same(first[:least], other[:least]) for other in others)
    if common < least or any(same < least for same in early):
        return 0
    for other in others:
        common = _same(first[:common], other[:common])
    return common


def _same(one: Sequence[int] | torch.Tensor, other: Sequence[int] | torch.Tensor) -> int:
    """How many positions are the same from the beginning on."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return int((one == other).all(-1).long().cumprod(0).sum())
    if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        return 0
    same = (i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
    return next(same, len(one))


def _up_to_audio(prompt: Sequence[int]) -> Sequence[int]:
    """With one position more than may be read beforehand: the audio's, or the last token, since
    recordings can be of no positions at all, and something has to predict the response."""
    first = prompt.index(AUDIO_SLOT) if AUDIO_SLOT in prompt else len(prompt)
    text_follows = any(token != AUDIO_SLOT for token in prompt[first:])
    return prompt[: first + text_follows]


def _suits(model: PreTrainedModel) -> bool:
    """Frozen, complete in this process, of layers that we know."""
    parts = list(model.parameters())
    if any(weight.requires_grad or isinstance(weight, DTensor) for weight in parts):
        return False
    try:
        return bool(decoder_layers(model))
    except ValueError:
        return False


def _arithmetic(model: PreTrainedModel) -> tuple[Any, ...]:
    """What else keys and values depend on: where and in which types they are computed."""
    weight = model.get_input_embeddings().weight
    kind = weight.device.type
    mixed = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind)
    return weight.device, weight.dtype, mixed
