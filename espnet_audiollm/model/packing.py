"""Sequences laid end to end, without padding, through an unchanged Hugging Face decoder.

Everything in a Llama but attention works position by position, so a packed batch costs exactly its
own tokens there. Attention is kept within each sequence by a function that transformers calls in
place of its own. On a GPU in 16 bits that is FlashAttention for variable lengths. Elsewhere it lays
queries, keys and values out as (sequence, position), runs torch's causal kernel, and packs the
result again. Padding sits at the right end, where a causal kernel lets no real position see it, so
no mask is built: not on a CPU, not on a GPU, whatever the batch.

On a CPU a few positions are spare (up to one in 32), so that batches have few different numbers of
them: where ever other sizes took and left memory, it is in pieces, and takes long to find
(docs/speed.md).

Where all sequences begin alike, a frozen LLM may read that once (`read_beginning`): its keys and
values stand before those of each sequence, and there is nothing else of it in the batch.
"""

# S sequences, T packed positions (sum of the lengths), U the same with spare ones, L longest
# sequence, H heads, K head width, P positions that all sequences begin with, read before

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel

from .attention import attend, on_cpu
from .layers import decoder_layers, given, recorded

KeysValues = tuple[torch.Tensor, torch.Tensor]  # each (1, H or fewer, P, K)
PACKED = "audiollm_packed"  # no mask function is registered under this name: no mask is made


@dataclass(frozen=True)
class Beginning:
    """Tokens that all sequences of a batch begin with, as the LLM has read them.

    layers: what each decoder layer computed of them; no gradients."""

    tokens: tuple[int, ...]
    layers: tuple[KeysValues, ...]


@dataclass(frozen=True)
class Layout:
    """Where the positions of a packed batch stand. Made on the host, then copied once.

    Args:
        longest: L; before: P.
        flash: whether the device has FlashAttention (NVIDIA: from Ampere on).
        spare: U - T.
        positions_U: place of each packed position within its own sequence, from P on; 0 of spare
            ones.
        bounds: (S + 1,) int32, the packed position where each sequence begins, and T.
        gather_SL: packed position that stands at (sequence, place); 0 where there is none.
        scatter_U: flat (sequence, place) of each packed position; 0 of spare ones.
        key_bounds: (S + 1,) int32, as `bounds`, where P more keys stand before each sequence's.
        keys_T: where its own keys stand then.
        keys_SP: flat, where the P keys stand before each sequence's.
    """

    longest: int
    before: int
    flash: bool
    spare: int
    positions_U: torch.Tensor
    bounds: torch.Tensor
    gather_SL: torch.Tensor
    scatter_U: torch.Tensor
    key_bounds: torch.Tensor
    keys_T: torch.Tensor
    keys_SP: torch.Tensor

    @classmethod
    def of(
        cls, lengths: list[int], device: torch.device, before: int = 0, spare: int = 0
    ) -> Layout:
        """The layout of sequences of these lengths, `before` positions of each not counted."""
        lengths_S, longest, total = torch.tensor(lengths), max(lengths), sum(lengths)
        bounds = F.pad(lengths_S.cumsum(0), (1, 0))

        def of_sequence(x_S: torch.Tensor) -> torch.Tensor:  # (T,)
            return x_S.repeat_interleave(lengths_S, output_size=total)

        steps_L, sequences = torch.arange(longest), torch.arange(len(lengths))
        key_bounds = bounds + before * torch.arange(len(bounds))
        positions_T = torch.arange(total) - of_sequence(bounds[:-1])
        tables = (
            F.pad(before + positions_T, (0, spare)),
            bounds.int(),
            (bounds[:-1, None] + steps_L).masked_fill(steps_L >= lengths_S[:, None], 0),
            F.pad(positions_T + of_sequence(sequences * longest), (0, spare)),
            key_bounds.int(),
            before + positions_T + of_sequence(key_bounds[:-1]),
            (key_bounds[:-1, None] + torch.arange(before)).flatten(),
        )
        on_device = [table.to(device, non_blocking=True) for table in tables]
        return cls(longest, before, _has_flash(device), spare, *on_device)

    def unpack(self, x_1HTK: torch.Tensor) -> torch.Tensor:
        """(S, H, L, K); what stands in the padding is not defined.

        The gradient of a gather adds up rows that were taken twice, which a GPU does one after
        the other for the padding: there rows are copied to their places instead."""
        x_THK = x_1HTK[0].transpose(0, 1)
        if not x_THK.is_cuda:
            return x_THK[self.gather_SL].transpose(1, 2)
        flat = x_THK.new_zeros(self.gather_SL.numel(), *x_THK.shape[1:])
        flat = flat.index_copy(0, self.scatter_U, x_THK)
        return flat.unflatten(0, self.gather_SL.shape).transpose(1, 2)

    def interleave(self, before_1HPK: torch.Tensor, x_THK: torch.Tensor) -> torch.Tensor:
        """(T + S P, H, K): the P positions before those of each sequence."""
        before_PHK = before_1HPK[0].transpose(0, 1)
        sequences = len(self.bounds) - 1
        joined = x_THK.new_empty(len(x_THK) + sequences * self.before, *x_THK.shape[1:])
        joined.index_copy_(0, self.keys_SP, before_PHK.repeat(sequences, 1, 1))
        return joined.index_copy_(0, self.keys_T, x_THK)


def packed_attention(
    module,
    query,
    key,
    value,
    attention_mask,
    scaling=None,
    dropout=0.0,
    layout=None,
    before=None,
    kept=None,
    **kwargs,
):
    """Causal attention within each packed sequence; the signature is transformers' own.

    Args:
        query: (1, H, U, K); key, value: (1, H or fewer, U, K).
        layout: of the packed batch.
        before: this layer's keys and values of what each sequence begins with.
        kept: a list that gets those of this batch.

    Returns: (1, U, H, K), of spare positions anything, and no attention weights.
    """
    heads = _autocast(query), _autocast(key), _autocast(value)
    if kept is not None:
        kept.append(heads[1:])
    if layout.flash and dropout == 0 and _suits_flash(heads[0]):
        assert not layout.spare
        return _varlen(*heads, scaling, layout, before).unsqueeze(0), None
    query_SHLK, *read = map(layout.unpack, heads)
    mask = None
    if before is not None:
        read = [_prepend(b, x_SHLK) for b, x_SHLK in zip(before, read, strict=True)]
        mask = query_SHLK.new_ones(layout.longest, layout.before + layout.longest, dtype=torch.bool)
        mask = mask.tril(layout.before)
    out_SHLK = attend(
        query_SHLK,
        *read,
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
        dropout_p=dropout,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    out_UHK = out_SHLK.transpose(1, 2).flatten(0, 1).index_select(0, layout.scatter_U)
    return out_UHK.unsqueeze(0), None


def _has_flash(device: torch.device) -> bool:
    if device.type != "cuda" or not torch.cuda.is_available():
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _suits_flash(x_1HTK: torch.Tensor) -> bool:
    width, dtype = x_1HTK.shape[-1], x_1HTK.dtype
    return dtype in (torch.bfloat16, torch.float16) and width <= 256 and width % 8 == 0


def _autocast(x: torch.Tensor) -> torch.Tensor:
    """What torch's own attention would compute in."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def _prepend(beginning_1HPK: torch.Tensor, x_SHLK: torch.Tensor) -> torch.Tensor:
    return torch.cat([beginning_1HPK.expand(len(x_SHLK), -1, -1, -1), x_SHLK], dim=2)


def _varlen(
    query, key, value, scaling: float | None, layout: Layout, before: KeysValues | None
) -> torch.Tensor:
    """(T, H, K). Of more keys than queries the kernel lets the last query of a sequence see all."""
    query_THK, *read = (x_1HTK[0].transpose(0, 1) for x_1HTK in (query, key, value))
    if before is not None:
        read = list(map(layout.interleave, before, read))
    return varlen_attn(
        query_THK,
        *read,
        layout.bounds,
        layout.key_bounds,
        layout.longest,
        layout.before + layout.longest,
        scale=scaling,
        window_size=(-1, 0),  # causal
    )


AttentionInterface.register(PACKED, packed_attention)


@contextmanager
def attention(config: PreTrainedConfig, name: str) -> Iterator[None]:
    """The LLM of `config` uses the attention registered under `name`, for as long as this lasts."""
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


def hidden_states(
    model: PreTrainedModel,
    embeds: list[torch.Tensor],
    packed: bool = True,
    layers: Sequence[int] = (),
    beginning: Beginning | None = None,
) -> list[torch.Tensor]:
    """Hidden states of `embeds`, each (length, D), laid end to end: (T, D) after each of `layers`,
    then those of which logits are made, after the last norm.

    packed: False goes by way of a batch padded at the right end, as most toolkits do it.
    layers: 1 is the first decoder layer.
    beginning: what stands before each of them; in a packed batch only."""
    assert packed or beginning is None
    before = len(beginning.tokens) if beginning else 0
    lengths, device = [len(e) for e in embeds], embeds[0].device
    spare = spare_positions(sum(lengths)) if packed and on_cpu(device) else 0
    layout = Layout.of(lengths, device, before, spare)
    run = _run_packed if packed else _run_padded
    extra = [{"before": each} for each in beginning.layers] if beginning else []
    with recorded(model, layers) as states, given(model, extra):
        last = run(model, embeds, layout)
    states.append(last)
    if packed:
        return [state_1UD[0, : sum(lengths)] for state_1UD in states]
    return [s_SLD.flatten(0, 1).index_select(0, layout.scatter_U) for s_SLD in states]


def spare_positions(positions: int) -> int:
    """How many to add, so that all batches between a power of two and the next have 33 sizes."""
    step = 1 << max(0, positions.bit_length() - 6)
    return -positions % step


def read_beginning(model: PreTrainedModel, tokens: Sequence[int]) -> Beginning:
    """What a frozen LLM computes of these tokens; in a mixed precision, if that is on."""
    kept: list[list[KeysValues]] = [[] for _ in decoder_layers(model)]
    embed = model.get_input_embeddings()
    device = embed.weight.device
    with torch.inference_mode(False), torch.no_grad():  # what it is for may have gradients
        embeds_PD = embed(torch.tensor(tokens).to(device, non_blocking=True))
        with given(model, [{"kept": each} for each in kept]):
            _run_packed(model, [embeds_PD], Layout.of([len(tokens)], device))
    return Beginning(tuple(tokens), tuple(each for (each,) in kept))


def _run_packed(model: PreTrainedModel, embeds: list[torch.Tensor], layout: Layout) -> torch.Tensor:
    """(1, U, D)."""
    spare_RD = embeds[0].new_zeros(layout.spare, embeds[0].shape[1])
    with attention(model.config, PACKED):
        out = model.base_model(
            inputs_embeds=torch.cat([*embeds, spare_RD]).unsqueeze(0),
            position_ids=layout.positions_U.unsqueeze(0),
            use_cache=False,
            layout=layout,
        )
    return out.last_hidden_state


def _run_padded(model: PreTrainedModel, embeds: list[torch.Tensor], layout: Layout) -> torch.Tensor:
    """(S, L, D)."""
    padded_SLD = torch.nn.utils.rnn.pad_sequence(embeds, batch_first=True)
    return model.base_model(inputs_embeds=padded_SLD, use_cache=False).last_hidden_state
