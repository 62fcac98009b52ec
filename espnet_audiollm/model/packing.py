"""Sequences laid end to end, without padding, through an unchanged Hugging Face decoder.

Everything in a Llama but attention works position by position, so a packed batch costs exactly its
own tokens there. Attention is kept within each sequence by a function that transformers calls in
place of its own: it lays queries, keys and values out as (sequence, position), runs torch's causal
kernel, and packs the result again. Padding sits at the right end, where a causal kernel lets no
real position see it, so no mask is built: not on a CPU, not on a GPU, whatever the batch.
"""

# S sequences, T packed positions (sum of the lengths), L longest sequence, H heads, K head width

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel

PACKED = "audiollm_packed"  # no mask function is registered under this name: no mask is made


@dataclass(frozen=True)
class Layout:
    """Where the positions of a packed batch stand.

    Args:
        positions_T: place of each packed position within its own sequence.
        gather_SL: packed position that stands at (sequence, place); 0 where there is none.
        scatter_T: flat (sequence, place) of each packed position.
    """

    positions_T: torch.Tensor
    gather_SL: torch.Tensor
    scatter_T: torch.Tensor

    @classmethod
    def of(cls, lengths: list[int], device: torch.device) -> Layout:
        lengths_S = torch.tensor(lengths, device=device)
        longest = int(lengths_S.max())
        steps_L = torch.arange(longest, device=device)
        valid_SL = steps_L < lengths_S[:, None]
        starts_S = lengths_S.cumsum(0) - lengths_S
        return cls(
            positions_T=steps_L.expand_as(valid_SL)[valid_SL],
            gather_SL=(starts_S[:, None] + steps_L).masked_fill(~valid_SL, 0),
            scatter_T=valid_SL.flatten().nonzero().squeeze(1),
        )


def packed_attention(
    module, query, key, value, attention_mask, scaling=None, dropout=0.0, layout=None, **kwargs
):
    """Causal attention within each packed sequence; the signature is transformers' own.

    Args:
        query: (1, H, T, K); key, value: (1, H or fewer, T, K).
        layout: of the packed batch.

    Returns: (1, T, H, K) and no attention weights.
    """

    def unpack(x_1HTK: torch.Tensor) -> torch.Tensor:  # (S, H, L, K)
        return x_1HTK[0].transpose(0, 1)[layout.gather_SL].transpose(1, 2)

    out_SHLK = F.scaled_dot_product_attention(
        unpack(query),
        unpack(key),
        unpack(value),
        is_causal=True,
        scale=scaling,
        dropout_p=dropout,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    out_THK = out_SHLK.transpose(1, 2).flatten(0, 1)[layout.scatter_T]
    return out_THK.unsqueeze(0), None


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


def packed_hidden_states(model: PreTrainedModel, embeds: list[torch.Tensor]) -> torch.Tensor:
    """Last hidden states of `embeds`, each (length, D), laid end to end: (T, D)."""
    layout = Layout.of([len(e) for e in embeds], embeds[0].device)
    with attention(model.config, PACKED):
        out = model.base_model(
            inputs_embeds=torch.cat(embeds).unsqueeze(0),
            position_ids=layout.positions_T.unsqueeze(0),
            use_cache=False,
            layout=layout,
        )
    return out.last_hidden_state[0]


def padded_hidden_states(model: PreTrainedModel, embeds: list[torch.Tensor]) -> torch.Tensor:
    """The same (T, D) by way of a batch padded at the right end, as most toolkits do it."""
    layout = Layout.of([len(e) for e in embeds], embeds[0].device)
    padded_SLD = torch.nn.utils.rnn.pad_sequence(embeds, batch_first=True)
    hidden_SLD = model.base_model(inputs_embeds=padded_SLD, use_cache=False).last_hidden_state
    return hidden_SLD.flatten(0, 1)[layout.scatter_T]
