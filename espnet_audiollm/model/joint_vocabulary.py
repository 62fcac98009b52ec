"""One vocabulary of text and units (AudioPaLM): any Llama with more rows in its tables.

The architecture is unchanged, and so are the rows of text: the LLM stays an ordinary directory that
transformers and vLLM load, tied tables stay tied, and what it says of text is what it said. How the
new rows begin is a choice:

    mean        the text rows' mean: no unit is likelier than the average token. The default.
    normal      drawn with the text rows' mean and covariance
    centroid    the same, but near where the quantiser's centroids are near
    zero        AudioPaLM's. A norm of zeros has large gradients: clip them.
"""

# K units, C width of a centroid

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import torch

from ..data.unit_tokens import BEGIN, END, UnitVocabulary, VocabularySet, unit_names
from ..units.codec_units import CodecUnits
from ..units.quantiser import Quantiser
from .llm import LLM
from .tuning import RowInit, add_tokens, enlarge

Init = Literal["mean", "normal", "centroid", "zero"]
AnyQuantiser: TypeAlias = Quantiser | CodecUnits


def extend(
    llm: LLM, quantisers: Sequence[AnyQuantiser], init: Init = "mean", seed: int = 0
) -> UnitVocabulary:
    """Add the quantisers' units, and marks around them, to an LLM and its tokenizer.

    quantisers: that of the units that are read, and that of those that are spoken where these are
    others. Of several levels the units are those of the first.

    Errors (ValueError): an initialisation that is not known, or needs centroids that a codec has
    not; more than two quantisers, or one twice; the LLM has units already."""
    if init not in get_args(Init):
        raise ValueError(f"--init {init} is none of {', '.join(get_args(Init))}")
    _check_is_of_text(llm)
    vocabulary = UnitVocabulary(_sets(quantisers), llm.fingerprint, init, seed)
    near = _directions(quantisers) if init == "centroid" else None
    used = len(llm.tokenizer)
    added = add_tokens(llm.tokenizer, unit_names(vocabulary.size))
    rows: RowInit = "normal" if init == "centroid" else init
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        enlarge(llm.model, used, added, rows, near)
    assert vocabulary.tokens(llm.tokenizer).first == added.start + 2
    return vocabulary


def directions(centroids_KC: torch.Tensor) -> torch.Tensor:
    """(K, C) centroids about their mean, the mean square of their lengths 1."""
    centred_KC = centroids_KC - centroids_KC.mean(0)
    return centred_KC / centred_KC.square().sum(1).mean().sqrt().clamp(min=1e-12)


def _sets(quantisers: Sequence[AnyQuantiser]) -> tuple[VocabularySet, ...]:
    prints = [each.fingerprint for each in quantisers]
    if len(prints) not in (1, 2) or len(set(prints)) < len(prints):
        twice = " (one of them twice)" if len(set(prints)) < len(prints) else ""
        raise ValueError(
            f"{len(prints)} quantisers{twice}: give that of the units that are read, and another "
            "one if others are spoken"
        )
    sizes = [each.size for each in quantisers]
    return tuple(
        VocabularySet(each.fingerprint, each.size, each.frames_per_second, sum(sizes[:i]))
        for i, each in enumerate(quantisers)
    )


def _directions(quantisers: Sequence[AnyQuantiser]) -> torch.Tensor:
    """(K, C) of all sets; centroids of different sets have nothing in common."""
    found = []
    for each in quantisers:
        if isinstance(each, CodecUnits):
            raise ValueError("--init centroid: a codec's units have no centroids, give --init mean")
        found.append(directions(each.centroids_KC))
    return torch.block_diag(*found)


def _check_is_of_text(llm: LLM) -> None:
    known = [
        token.content
        for token in llm.tokenizer.added_tokens_decoder.values()
        if token.content in (BEGIN, END) or token.content.startswith("<|a_")
    ]
    if known:
        raise ValueError(
            f"the LLM {llm.name} has {len(known)} tokens of units already (first: {known[0]}): "
            "give the text LLM that it was made of"
        )
