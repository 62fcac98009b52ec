"""Sequences laid end to end, without padding, through an unchanged Hugging Face decoder.

Everything in a Llama but attention works position by position, so a packed batch costs exactly its
own tokens there. Attention is kept within each sequence by a function that transformers calls in
place of its own. On a GPU in 16 bits that is FlashAttention for variable lengths. Elsewhere it lays
queries, keys and values out as (sequence, position), runs torch's causal kernel, and packs the
result again. Padding sits at the right end, where a causal kernel lets no real position see it, so
no mask is built: not on a CPU, not on a GPU, whatever the batch.
"""

# S sequences, T packed positions (sum of the lengths), L longest sequence, H heads, K head width

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel

from .attention import attend
from .layers import recorded

PACKED = "audiollm_packed"  # no mask function is registered under this name: no mask is made


@dataclass(frozen=True)
class Layout:
    """Where the positions of a packed batch stand. Made on the host, then copied once.

    Args:
        longest: L.
        positions_T: place of each packed position within its own sequence.
        bounds: (S + 1,) int32, the packed position where each sequence begins, and T.
        gather_SL: packed position that stands at (sequence, place); 0 where there is none.
        scatter_T: flat (sequence, place) of each packed position.
        flash: whether the device has FlashAttention (NVIDIA: from Ampere on).
    """

    longest: int
    positions_T: torch.Tensor
    bounds: torch.Tensor
    gather_SL: torch.Tensor
    scatter_T: torch.Tensor
    flash: bool = False

    @classmethod
    def of(cls, lengths: list[int], device: torch.device) -> Layout:
        """The layout of sequences of these lengths."""
        lengths_S, longest, total = torch.tensor(lengths), max(lengths), sum(lengths)
        bounds = F.pad(lengths_S.cumsum(0), (1, 0))

        def of_sequence(x_S: torch.Tensor) -> torch.Tensor:  # (T,)
            return x_S.repeat_interleave(lengths_S, output_size=total)

        steps_L = torch.arange(longest)
        positions_T = torch.arange(total) - of_sequence(bounds[:-1])
        tables = (
            positions_T,
            bounds.int(),
            (bounds[:-1, None] + steps_L).masked_fill(steps_L >= lengths_S[:, None], 0),
            positions_T + of_sequence(torch.arange(len(lengths)) * longest),
        )
        on_device = (table.to(device, non_blocking=True) for table in tables)
        positions_T, bounds, gather_SL, scatter_T = on_device
        return cls(longest, positions_T, bounds, gather_SL, scatter_T, _has_flash(device))

    def unpack(self, x_1HTK: torch.Tensor) -> torch.Tensor:
        """(S, H, L, K); what stands in the padding is not defined.

        The gradient of a gather adds up rows that were taken twice, which a GPU does one after
        the other for the padding: there rows are copied to their places instead."""
        x_THK = x_1HTK[0].transpose(0, 1)
        if not x_THK.is_cuda:
            return x_THK[self.gather_SL].transpose(1, 2)
        flat = x_THK.new_zeros(self.gather_SL.numel(), *x_THK.shape[1:])
        flat = flat.index_copy(0, self.scatter_T, x_THK)
        return flat.unflatten(0, self.gather_SL.shape).transpose(1, 2)


def packed_attention(
    module, query, key, value, attention_mask, scaling=None, dropout=0.0, layout=None, **kwargs
):
    """Causal attention within each packed sequence; the signature is transformers' own.

    Args:
        query: (1, H, T, K); key, value: (1, H or fewer, T, K).
        layout: of the packed batch.

    Returns: (1, T, H, K) and no attention weights.
    """
    heads = _autocast(query), _autocast(key), _autocast(value)
    if layout.flash and dropout == 0 and _suits_flash(heads[0]):
        return _varlen(*heads, scaling, layout).unsqueeze(0), None
    out_SHLK = attend(
        *map(layout.unpack, heads),
        is_causal=True,
        scale=scaling,
        dropout_p=dropout,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    out_THK = out_SHLK.transpose(1, 2).flatten(0, 1).index_select(0, layout.scatter_T)
    return out_THK.unsqueeze(0), None


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


def _varlen(query, key, value, scaling: float | None, layout: Layout) -> torch.Tensor:
    """(T, H, K)."""
    heads = (x_1HTK[0].transpose(0, 1) for x_1HTK in (query, key, value))
    bounds, longest = layout.bounds, layout.longest
    causal = (-1, 0)
    return varlen_attn(*heads, bounds, bounds, longest, longest, scale=scaling, window_size=causal)


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
) -> list[torch.Tensor]:
    """Hidden states of `embeds`, each (length, D), laid end to end: (T, D) after each of `layers`,
    then those of which logits are made, after the last norm.

    packed: False goes by way of a batch padded at the right end, as most toolkits do it.
    layers: 1 is the first decoder layer."""
    layout = Layout.of([len(e) for e in embeds], embeds[0].device)
    run = _run_packed if packed else _run_padded
    with recorded(model, layers) as states:
        last = run(model, embeds, layout)
    states.append(last)
    if packed:
        return [state_1TD[0] for state_1TD in states]
    return [s_SLD.flatten(0, 1).index_select(0, layout.scatter_T) for s_SLD in states]


def _run_packed(model: PreTrainedModel, embeds: list[torch.Tensor], layout: Layout) -> torch.Tensor:
    """(1, T, D)."""
    with attention(model.config, PACKED):
        out = model.base_model(
            inputs_embeds=torch.cat([e.unsqueeze(0) for e in embeds], dim=1),
            position_ids=layout.positions_T.unsqueeze(0),
            use_cache=False,
            layout=layout,
        )
    return out.last_hidden_state


def _run_padded(model: PreTrainedModel, embeds: list[torch.Tensor], layout: Layout) -> torch.Tensor:
    """(S, L, D)."""
    padded_SLD = torch.nn.utils.rnn.pad_sequence(embeds, batch_first=True)
    return model.base_model(inputs_embeds=padded_SLD, use_cache=False).last_hidden_state
