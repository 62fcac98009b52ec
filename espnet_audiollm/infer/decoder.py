"""The LLM with its cache, step by step: generation, streaming and dialogues stand on it.

A `Decoder` is a batch of rows, a `Session` one dialogue whose cache the next turn continues.
"""

# B rows, T positions, D LLM width, V vocabulary

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import torch
import torch.nn.functional as F

from ..model.llm import LLM
from ..model.response_loss import embed_prompt

if TYPE_CHECKING:
    from transformers import Cache

Prompt: TypeAlias = (
    Sequence[int] | torch.Tensor
)  # token ids, or embeddings (T, D) where audio is in it


class Decoder:
    """A batch of rows: feed positions, get the log-probabilities of the next token.

    Rows are padded on the left, masked, and counted from position 0 each, so that a row's result
    does not depend on the other rows (up to float rounding)."""

    def __init__(self, llm: LLM, cache: Cache | None = None):
        """cache: an empty one (default: one that suits the LLM's layers)."""
        from .cache import cache_of

        self.llm = llm
        self.cache = cache_of(llm) if cache is None else cache
        self.mask_BT: torch.Tensor | None = None  # None: nothing is read yet

    @torch.inference_mode()
    def read(self, rows: Sequence[Prompt]) -> torch.Tensor:
        """Append a prompt to each row; log-probabilities (B, V) of the token after it."""
        embeds = [embed(self.llm, row) for row in rows]
        mask_BT = _left_mask([len(row) for row in embeds]).to(embeds[0].device)
        longest = mask_BT.shape[1]
        embeds_BTD = torch.stack([F.pad(row, (0, 0, longest - len(row), 0)) for row in embeds])
        return self._forward(mask_BT, inputs_embeds=embeds_BTD)

    @torch.inference_mode()
    def step(self, ids_B: torch.Tensor, alive_B: torch.Tensor | None = None) -> torch.Tensor:
        """Append one token to each row; log-probabilities (B, V) of the next.

        alive_B: 0 for rows that read nothing, 1 for the others (default: all)."""
        alive_B = torch.ones_like(ids_B) if alive_B is None else alive_B
        return self._forward(alive_B[:, None], input_ids=ids_B[:, None])

    def select(self, rows: list[int]) -> None:
        """Keep, drop or repeat rows of the batch."""
        assert self.mask_BT is not None
        if rows == list(range(len(self.mask_BT))):
            return
        index = torch.tensor(rows, device=self.mask_BT.device)
        self.mask_BT = self.mask_BT[index]
        self.cache.batch_select_indices(index)

    def join(self, other: Decoder) -> None:
        """Append the rows of another decoder of the same LLM, which is not used after this. Both
        have plain caches."""
        assert self.mask_BT is not None and other.mask_BT is not None
        longest = max(self.mask_BT.shape[1], other.mask_BT.shape[1])
        masks = [F.pad(x, (longest - x.shape[1], 0)) for x in (self.mask_BT, other.mask_BT)]
        self.mask_BT = torch.cat(masks)
        for ours, theirs in zip(self.cache.layers, other.cache.layers, strict=True):
            ours.keys = _stack_right(longest, ours.keys, theirs.keys)
            ours.values = _stack_right(longest, ours.values, theirs.values)

    def replace(self, rows: list[int], other: Decoder) -> None:
        """Put the rows of another decoder of the same LLM in the places of these rows. Both have
        plain caches."""
        assert self.mask_BT is not None and other.mask_BT is not None
        self._pad(other.mask_BT.shape[1])
        index = torch.tensor(rows, device=self.mask_BT.device)
        positions = self.mask_BT.shape[1]
        before = positions - other.mask_BT.shape[1]
        self.mask_BT = self.mask_BT.index_copy(0, index, F.pad(other.mask_BT, (before, 0)))
        for ours, theirs in zip(self.cache.layers, other.cache.layers, strict=True):
            ours.keys.index_copy_(0, index, _stack_right(positions, theirs.keys))
            ours.values.index_copy_(0, index, _stack_right(positions, theirs.values))

    def _pad(self, positions: int) -> None:
        """Padding before every row, up to so many positions in all."""
        assert self.mask_BT is not None
        lacking = positions - self.mask_BT.shape[1]
        if lacking > 0:
            self.mask_BT = F.pad(self.mask_BT, (lacking, 0))
            for layer in self.cache.layers:
                layer.keys = _stack_right(positions, layer.keys)
                layer.values = _stack_right(positions, layer.values)

    def row(self, index: int) -> Decoder:
        """A row by itself, without padding, in memory of its own. The cache is a plain one."""
        assert self.mask_BT is not None
        positions = int(self.mask_BT[index].sum())

        def own(cached: torch.Tensor) -> torch.Tensor:
            return cached[index : index + 1, :, -positions:]

        single = self._with_layers(own)
        single.mask_BT = self.mask_BT[index : index + 1, -positions:].clone()
        return single

    def fork(self) -> Decoder:
        """The same rows once more; what either reads from here on, the other does not have."""
        other = self._with_layers(lambda cached: cached)
        other.mask_BT = self.mask_BT
        return other

    @property
    def device(self) -> torch.device:
        """Where the LLM's embeddings are, and the rows' masks."""
        return self.llm.model.get_input_embeddings().weight.device

    @property
    def num_bytes(self) -> int:
        """Of the keys and values."""
        return sum(2 * each.keys.numel() * each.keys.element_size() for each in self.cache.layers)

    def _with_layers(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Decoder:
        """The rows in memory of their own."""
        from .cache import plain_cache

        cache = plain_cache()
        for number, layer in enumerate(self.cache.layers):
            cache.update(change(layer.keys), change(layer.values), number)
        return Decoder(self.llm, cache)

    def trim(self, share: float = 0.0) -> None:
        """Forget first positions that are padding in every row (the longest row has left), if they
        are more than this share of all."""
        assert self.mask_BT is not None
        first = int(self.mask_BT.any(0).long().argmax())
        if first > share * self.mask_BT.shape[1]:
            self.mask_BT = self.mask_BT[:, first:]
            for layer in self.cache.layers:
                layer.keys, layer.values = layer.keys[..., first:, :], layer.values[..., first:, :]

    def drop_last(self, positions: int) -> None:
        """Forget the last positions of every row."""
        if positions:
            assert self.mask_BT is not None
            self.mask_BT = self.mask_BT[:, :-positions]
            self.cache.crop(-positions)

    def _forward(self, mask_BT: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
        new = mask_BT.shape[1]
        if self.mask_BT is not None:
            mask_BT = torch.cat([self.mask_BT, mask_BT], dim=1)
        out = self.llm.model(
            **inputs,
            attention_mask=mask_BT,
            position_ids=(mask_BT.cumsum(1) - 1).clamp_min(0)[:, -new:],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.mask_BT = mask_BT
        logits_BV = out.logits[:, -1]
        return logits_BV.to(torch.promote_types(logits_BV.dtype, torch.float32)).log_softmax(-1)


class Session:
    """One dialogue: what the LLM has read of it stays in the cache for the next turn.

    The embedding of every cached position is kept, so that text and audio are compared alike: a
    prompt's first positions that are the cached ones are not computed again."""

    def __init__(self, llm: LLM):
        self.llm = llm
        self.positions_read = 0  # computed since the beginning
        self.forget()

    @classmethod
    def of(cls, decoder: Decoder, cached_TD: torch.Tensor) -> Session:
        """The dialogue of a decoder of one row without padding, by the embeddings that it has read
        (further ones are ignored)."""
        assert decoder.mask_BT is not None and len(decoder.mask_BT) == 1
        session = cls(decoder.llm)
        session.decoder = decoder
        session._cached = [cached_TD[: decoder.mask_BT.shape[1]]]
        return session

    def fork(self) -> Session:
        """The same dialogue once more: each can be continued in its own way."""
        other = Session(self.llm)
        other.decoder, other._cached = self.decoder.fork(), list(self._cached)
        return other

    @property
    def num_bytes(self) -> int:
        """Of the cache, and of the embeddings that it was made of."""
        return self.decoder.num_bytes + sum(x.numel() * x.element_size() for x in self._cached)

    def __len__(self) -> int:
        """Positions in the cache."""
        return sum(map(len, self._cached))

    def forget(self) -> None:
        """Empty the cache."""
        from .cache import plain_cache

        # Not a sliding window's own cache, which cannot be cropped once its window is full.
        self.decoder = Decoder(self.llm, plain_cache())
        self._cached: list[torch.Tensor] = []  # embeddings, each (T, D)

    def read(self, prompt: Prompt, name: str = "the prompt") -> torch.Tensor:
        """Log-probabilities (V,) of the token after `prompt`, the complete one of this turn.

        Errors (ValueError): an empty prompt, or one that fills the context; `name` says whose."""
        room(self.llm, name, prompt)
        prompt_TD = embed(self.llm, prompt)
        known = self._common(prompt_TD)
        self.decoder.drop_last(len(self) - known)
        self._cached = [prompt_TD[:known]]
        return self._append(prompt_TD[known:])

    def step(self, token: int) -> torch.Tensor:
        """Append a token; log-probabilities (V,) of the next."""
        return self._append(embed(self.llm, [token]))

    def _common(self, prompt_TD: torch.Tensor) -> int:
        """How many of the prompt's positions are cached; its last one is to be computed."""
        if not self._cached:
            return 0
        cached_TD = torch.cat(self._cached)
        most = min(len(cached_TD), len(prompt_TD) - 1)
        same_T = (cached_TD[:most] == prompt_TD[:most]).all(-1)
        return int(same_T.long().cumprod(0).sum())

    def _append(self, embeds_TD: torch.Tensor) -> torch.Tensor:
        try:
            logp_1V = self.decoder.read([embeds_TD])
        except BaseException:  # Ctrl-C as well: some layers have read what others have not
            self.forget()
            raise
        self._cached.append(embeds_TD)
        self.positions_read += len(embeds_TD)
        return logp_1V[0]


def embed(llm: LLM, prompt: Prompt) -> torch.Tensor:
    """Embeddings (T, D) of a prompt, on the LLM's device and in its dtype."""
    if isinstance(prompt, torch.Tensor):
        weight = llm.model.get_input_embeddings().weight
        return prompt.to(weight.device, weight.dtype)
    return embed_prompt(llm.model, prompt)


def room(llm: LLM, name: str, prompt: Prompt) -> int:
    """How many tokens an answer may have in the LLM's context; at least one.

    Errors (ValueError): an empty prompt, or one that leaves none; `name` says whose."""
    if len(prompt) == 0:
        raise ValueError(f"{name} is empty")
    if len(prompt) >= llm.context:
        raise ValueError(
            f"{name} has {len(prompt)} positions, the LLM's context is "
            f"{llm.context}: leave out long utterances in stage 2 (--max_audio)"
        )
    return llm.context - len(prompt)


def _stack_right(longest: int, *cached: torch.Tensor) -> torch.Tensor:
    """Keys or values (B, heads, T, width) of some rows and of others, to (B', heads, longest,
    width) with zeros before the shorter ones."""
    return torch.cat([F.pad(x, (0, 0, longest - x.shape[-2], 0)) for x in cached])


def _left_mask(lengths: list[int]) -> torch.Tensor:
    """(B, T) of 0 and 1; the ones of a row are its last `length` positions."""
    longest = max(lengths)
    return (torch.arange(longest) >= longest - torch.tensor(lengths)[:, None]).long()
