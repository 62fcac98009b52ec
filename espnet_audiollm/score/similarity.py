"""How audio and text embeddings line up: the pairwise cosine of AudioChatLlama's Figure 3.

`embeddings.npz` of a run holds for a few utterances `<id>/audio` (P, D),
`<id>/text` (T, D) and `<id>/tokens` (T strings): the embeddings that the LLM is given for the
audio and for the transcript.

P audio positions, T text tokens, D LLM width
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..types import Seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Embeddings:
    """Of one utterance: what the LLM is given for its audio and for its transcript."""

    id: str
    audio_PD: np.ndarray
    text_TD: np.ndarray
    tokens: tuple[str, ...]


def read_embeddings(path: str | Path) -> dict[str, Embeddings]:
    """{id: embeddings} of an embeddings.npz; it cannot hold pickled objects."""
    found = {}
    with np.load(path, allow_pickle=False) as arrays:
        for id in sorted({key.rpartition("/")[0] for key in arrays.files}):
            try:
                audio_PD, text_TD = arrays[f"{id}/audio"], arrays[f"{id}/text"]
                tokens = tuple(str(token) for token in arrays[f"{id}/tokens"])
            except KeyError as error:
                raise ValueError(f"{path}: {id} is damaged: {error}; rerun stage 10") from None
            complete = audio_PD.ndim == text_TD.ndim == 2 and len(tokens) == len(text_TD)
            if not complete or audio_PD.shape[1] != text_TD.shape[1]:
                raise ValueError(
                    f"{path}: {id}: audio {audio_PD.shape}, text {text_TD.shape} and "
                    f"{len(tokens)} tokens do not belong together; rerun stage 10"
                )
            found[id] = Embeddings(id, audio_PD, text_TD, tokens)
    return found


def cosine(text_TD: np.ndarray, audio_PD: np.ndarray) -> np.ndarray:
    """Pairwise cosine (T, P); 0 where an embedding is all zeros."""
    return _unit(text_TD) @ _unit(audio_PD).T


def centred_cosine(text_TD: np.ndarray, audio_PD: np.ndarray) -> np.ndarray:
    """Pairwise cosine (T, P) after each side's mean is taken away.

    What all audio (or all text) embeddings share hides which of them belong together."""
    return cosine(text_TD - text_TD.mean(0), audio_PD - audio_PD.mean(0))


def _unit(x_ND: np.ndarray) -> np.ndarray:
    x_ND = x_ND.astype(np.float64)
    norm_N1 = np.linalg.norm(x_ND, axis=1, keepdims=True)
    return x_ND / np.where(norm_N1 == 0, 1.0, norm_N1)


def picture_name(id: str) -> str:
    """The name of the picture of utterance `id`, whatever characters the id has."""
    return f"similarity_{re.sub(r'[^A-Za-z0-9._-]', '_', id)}"


def plot_similarity(systems: list[tuple[str, Embeddings]], duration: Seconds | None) -> Figure:
    """For each (label, embeddings) of an utterance the cosine, and below it the centred one."""
    from matplotlib.figure import Figure

    panels = [
        (f"{label}: {name}", measure(one.text_TD, one.audio_PD), one)
        for label, one in systems
        for name, measure in (("cosine", cosine), ("cosine, means taken away", centred_cosine))
    ]
    most = max(len(embeddings.tokens) for _, embeddings in systems)
    height = min(8.0, max(1.9, 0.9 + 0.17 * most))
    figure = Figure(figsize=(4.8, height * len(panels) + 0.4), layout="constrained")
    for axes, panel in zip(figure.subplots(len(panels), squeeze=False).flat, panels, strict=True):
        _panel(figure, axes, *panel, duration)
    figure.suptitle(systems[0][1].id, fontsize=10)
    return figure


def _panel(
    figure: Figure,
    axes: Axes,
    title: str,
    cosine_TP: np.ndarray,
    one: Embeddings,
    duration: Seconds | None,
) -> None:
    tokens = len(one.tokens)
    end = duration if duration is not None else len(one.audio_PD)
    image = axes.imshow(
        cosine_TP,
        aspect="auto",
        interpolation="nearest",
        cmap="viridis",
        extent=(0, end, tokens - 0.5, -0.5),
    )
    axes.set_yticks(range(tokens), [_visible(token) for token in one.tokens], fontsize=8)
    axes.set_xlabel("audio (s)" if duration is not None else "audio (positions)")
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes, pad=0.01)


def _visible(token: str) -> str:
    """A token as a label: no mathtext, control characters shown."""
    return repr(token)[1:-1].replace("$", r"\$")
