"""What of an LLM is trained: nothing, everything, low-rank updates (LoRA), or added tokens.

An enlarged vocabulary stays the architecture's own: more rows in its tables, tied ones tied. While
it is trained, added rows are a parameter beside the frozen table, so that nothing else gets a
gradient, an optimiser's state or weight decay; `merge` puts all back into ordinary weights.
"""

# V vocabulary, N added rows, D LLM width

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Train = Literal["none", "all", "lora", "rows"]
RowInit = Literal["mean", "normal", "zero"]


@dataclass(frozen=True)
class Tuning:
    """What is trained and added. The default: a frozen LLM with its own vocabulary.

    Errors (ValueError): a choice that does not exist, rows to train where none are added, a token
    named twice, a rank below 1."""

    train: Train = "none"  # lora: the added tokens' rows as well; rows: these only
    added_tokens: tuple[str, ...] = ()  # special tokens; kept as they are where the LLM has them
    row_init: RowInit = "mean"  # of the old rows; normal: with their mean and covariance; zero
    seed: int = 0  # of new rows and of LoRA
    lora_rank: int = 8
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj")  # ends of modules' names

    def __post_init__(self) -> None:
        for value, choices in ((self.train, Train), (self.row_init, RowInit)):
            if value not in get_args(choices):
                raise ValueError(f"{value!r} is none of {', '.join(get_args(choices))}")
        if self.train == "rows" and not self.added_tokens:
            raise ValueError("only the rows of added tokens are trained, but no token is added")
        if len(set(self.added_tokens)) < len(self.added_tokens):
            raise ValueError(f"the {len(self.added_tokens)} added tokens are not all different")
        if self.lora_rank < 1:
            raise ValueError(f"a LoRA rank of {self.lora_rank}: at least 1")


FROZEN = Tuning()


def tune(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tuning: Tuning) -> None:
    """Enlarge a frozen LLM and its tokenizer, and make trainable what `tuning` says.

    What is trained is float32 at least, whatever the frozen weights are.

    Errors (ValueError): see `add_tokens`; modules that LoRA does not find; embeddings whose rows
    cannot be trained by themselves."""
    used = len(tokenizer)
    added = add_tokens(tokenizer, tuning.added_tokens)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(tuning.seed)
        if len(tokenizer) > used:
            enlarge(model, used, added, tuning.row_init)
        if tuning.train == "lora":
            _inject_lora(model, tuning)
    if tuning.train == "all":
        model.requires_grad_(True)
    if tuning.train in ("lora", "rows") and added:
        _train_rows(model, added)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float32))


def add_tokens(tokenizer: PreTrainedTokenizerBase, tokens: tuple[str, ...]) -> range:
    """Add special tokens; their ids, which follow one another.

    A tokenizer that has all of them already is left as it is.

    Errors (ValueError): it has some of them, has them in another order, or has one as text."""
    from tokenizers import AddedToken

    known = [token for token in tokens if token in tokenizer.get_vocab()]
    if not known:
        new = [AddedToken(token, special=True, normalized=False) for token in tokens]
        tokenizer.add_tokens(new, special_tokens=True)
    ids_of = {token.content: i for i, token in tokenizer.added_tokens_decoder.items()}
    ids = [ids_of.get(token, -1) for token in tokens]
    added = range(ids[0], ids[0] + len(ids)) if ids else range(0)
    if ids != list(added) or -1 in ids:
        raise ValueError(
            f"{len(known)} of {len(tokens)} tokens to add are in the LLM's vocabulary already "
            f"(first: {known[0]}), but not all, as special tokens in this order: take other names, "
            "or the LLM that was enlarged by these"
        )
    return added


@torch.no_grad()
def enlarge(
    model: PreTrainedModel,
    used: int,
    added: range,
    init: RowInit,
    directions_KC: torch.Tensor | None = None,
) -> None:
    """Give the ids `added` rows in tables of which the first `used` rows are in use.

    A table padded to a round size keeps it as long as there is room. The new rows are initialised
    from the old ones of the same table.

    directions_KC: of the last K of `added`, in any space, their lengths 1 on average. With init
    "normal", those whose directions are near get rows that are near."""
    tables = [model.get_input_embeddings(), model.get_output_embeddings()]
    old = min(used, len(tables[0].weight))  # some tokenizers know more than their LLM
    tied = tables[0].weight is tables[1].weight
    if added.stop > len(tables[0].weight):
        model.resize_token_embeddings(added.stop, mean_resizing=False)
        model.requires_grad_(False)
        tables = [model.get_input_embeddings(), model.get_output_embeddings()]
    for table in tables[:1] if tied else tables:
        rows_ND = _new_rows(table.weight[:old], added.stop - old, init, directions_KC)
        table.weight[old : added.stop] = rows_ND.to(table.weight)


def trained_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The trained parameters by name, and nothing of what is frozen."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def load_trained_state(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Put a `trained_state` back, strictly.

    Errors (ValueError): other names or shapes than the model's trained parameters have."""
    own = trained_state(model)
    shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wrong = sorted(name for name, _ in shapes.items() ^ given.items())
    if wrong:
        first = wrong[0]
        raise ValueError(
            f"{len(set(wrong))} trained weights of the LLM are missing, unknown or of another "
            f"shape (first: {first}, {given.get(first)} in the checkpoint, {shapes.get(first)} in "
            "the model): load it as it was trained (LoRA's rank and targets, added tokens)"
        )
    for name, tensor in own.items():
        tensor.copy_(state[name])


def trained_share(model: nn.Module) -> str:
    """How much of a model is trained, in one line. Tied weights count once."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    total, trained = sum(n for n, _ in sizes), sum(n for n, grad in sizes if grad)
    return f"{trained:,} of {total:,} parameters are trained ({100 * trained / total:.2f} %)"


@torch.no_grad()
def merge(model: PreTrainedModel) -> None:
    """Put LoRA and trained rows into the weights: an ordinary model, no longer trained."""
    for name, module in list(model.named_modules()):
        if hasattr(module, "lora_A") and hasattr(module, "get_base_layer"):
            module.merge(safe_merge=True)
            model.set_submodule(name, module.get_base_layer())
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if isinstance(embedding, EmbeddingWithRows):
        model.set_input_embeddings(embedding.merged())
        model.set_output_embeddings(head.merged())
    model.requires_grad_(False)


class EmbeddingWithRows(nn.Module):
    """A frozen embedding, some rows of which are trained: `rows` replaces those from `first` on."""

    def __init__(self, frozen: nn.Embedding, first: int, rows: nn.Parameter):
        super().__init__()
        self.frozen, self.first, self.rows = frozen, first, rows

    @property
    def weight(self) -> nn.Parameter:
        """The frozen table (V, D): for its device, type and size, not for its values."""
        return self.frozen.weight

    @property
    def embedding_dim(self) -> int:
        """D."""
        return self.frozen.embedding_dim

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids (...) to embeddings (..., D)."""
        place = ids - self.first
        inside = (place >= 0) & (place < len(self.rows))
        new = F.embedding(place.clamp(0, len(self.rows) - 1), self.rows)
        return torch.where(inside[..., None], new.to(self.weight.dtype), self.frozen(ids))

    def merged(self) -> nn.Embedding:
        """The embedding with the rows in it."""
        self.weight[self.first : self.first + len(self.rows)] = self.rows.to(self.weight.dtype)
        return self.frozen


class HeadWithRows(nn.Module):
    """A frozen output layer, some rows of which are trained, as in `EmbeddingWithRows`."""

    def __init__(self, frozen: nn.Linear, first: int, rows: nn.Parameter):
        super().__init__()
        self.frozen, self.first, self.rows = frozen, first, rows

    @property
    def weight(self) -> nn.Parameter:
        """The frozen table (V, D)."""
        return self.frozen.weight

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states (..., D) to logits (..., V)."""
        end = self.first + len(self.rows)
        logits = self.frozen(hidden)
        new = F.linear(hidden, self.rows.to(hidden.dtype))
        return torch.cat([logits[..., : self.first], new, logits[..., end:]], dim=-1)

    def merged(self) -> nn.Linear:
        """The output layer with the rows in it."""
        self.weight[self.first : self.first + len(self.rows)] = self.rows.to(self.weight.dtype)
        return self.frozen


def _train_rows(model: PreTrainedModel, added: range) -> None:
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    plain = type(embedding) is nn.Embedding and type(head) is nn.Linear and head.bias is None
    if not plain:
        raise ValueError(
            f"the rows of added tokens cannot be trained by themselves in a {type(model).__name__} "
            "(its embeddings are not plain ones): train all of it, or take a Llama-family LLM"
        )
    rows = nn.Parameter(embedding.weight[added.start : added.stop].clone())
    tied = embedding.weight is head.weight
    own = rows if tied else nn.Parameter(head.weight[added.start : added.stop].clone())
    model.set_input_embeddings(EmbeddingWithRows(embedding, added.start, rows))
    model.set_output_embeddings(HeadWithRows(head, added.start, own))


def _inject_lora(model: PreTrainedModel, tuning: Tuning) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=tuning.lora_rank,
        lora_alpha=tuning.lora_alpha,  # type: ignore[arg-type]  # any number does, peft divides it
        lora_dropout=tuning.lora_dropout,
        target_modules=list(tuning.lora_targets),
    )
    inject_adapter_in_model(config, model)


def _new_rows(
    old_VD: torch.Tensor, number: int, init: RowInit, directions_KC: torch.Tensor | None = None
) -> torch.Tensor:
    """(N, D) rows: the old ones' mean, zeros, or drawn with their mean and covariance.

    The covariance is never built: a mixture of the centred rows by normal weights has it. So it has
    when the weights of rows are alike as far as their directions are."""
    wide_VD = old_VD.float()
    if init == "zero":
        return wide_VD.new_zeros(number, wide_VD.shape[1])
    mean_D = wide_VD.mean(0)
    if init == "mean":
        return mean_D.expand(number, -1)
    weights_NV = torch.randn(number, len(wide_VD))
    if directions_KC is not None:
        weights_CV = torch.randn(directions_KC.shape[1], len(wide_VD))
        weights_NV[-len(directions_KC) :] = directions_KC @ weights_CV
    return mean_D + weights_NV @ (wide_VD - mean_D) / (len(wide_VD) - 1) ** 0.5
