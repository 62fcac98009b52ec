"""What the tables call a system, from the files of its experiment; knows no torch."""

from __future__ import annotations

import re
from pathlib import Path

from ..store.kinds import Kind
from ..store.model_directory import read_model_options
from ..store.parts import made_from


def label_of(
    kind: Kind,
    exp: str | Path | None = None,
    checkpoint: str = "",
    hyp: str | Path | None = None,
) -> str:
    """ "cascade, epoch 6, beam 10, 4-gram 0.3"; "AudioLLM, 2 frames a position".

    exp, checkpoint: of its model.
    hyp: stage 6's hypotheses, which say how they were searched; None: greedily."""
    if kind.label or exp is None:
        return kind.label or kind.title
    if kind.input == "audio":
        return f"{kind.title}, {describe_adapter(exp)}"
    searched = describe_search(Path(hyp).parent) if hyp else []
    return ", ".join([kind.title, describe_checkpoint(Path(exp) / checkpoint), *searched])


def describe_search(decoded: str | Path) -> list[str]:
    """["beam 10", "LM 0.3"] of the hypotheses in a directory of stage 6, with n-grams ["beam 10",
    "4-gram 0.3"]; nothing if greedy."""
    search = made_from(decoded).get("search") or {}
    words = [f"beam {search['ctc_beam']}"] if search else []
    lm = f"{search['lm_order']}-gram" if search.get("lm_order") else "LM"
    return words + ([f"{lm} {search['lm_weight']:g}"] if search.get("lm_weight") else [])


def describe_checkpoint(path: Path) -> str:
    """ "epoch 6" for 6epoch.pth, "mean of the best 3 epochs" for valid.loss.ave.pth, which is a
    link to valid.loss.ave_3best.pth."""
    name = path.resolve().name
    if found := re.fullmatch(r"(\d+)epoch\.pth", name):
        epoch = f"epoch {found[1]}"
        return f"best epoch ({found[1]})" if path.name.endswith("best.pth") else epoch
    if found := re.fullmatch(r".*\.ave_(\d+)best\.pth", name):
        return "best epoch" if found[1] == "1" else f"mean of the best {found[1]} epochs"
    return path.name.removesuffix(".pth")


def describe_adapter(exp: str | Path) -> str:
    """ "2 frames a position" for the adapter `stack`, "tokens" for `token_bridge`, else its name,
    with the options given.

    Errors (ValueError): no model there."""
    options = read_model_options(exp)
    if "audio_adapter" not in options:
        raise ValueError(f"{exp} has no audio_adapter: give an experiment of stage 9")
    name, conf = options["audio_adapter"], options.get("audio_adapter_conf") or {}
    if name == "stack":
        stack = conf.get("stack", 1)
        return f"{stack} frame{'s' * (stack > 1)} a position"
    if name == "token_bridge":
        return "tokens, mixed" if conf.get("mixed") else "tokens"
    return " ".join([name, *(f"{key} {value}" for key, value in sorted(conf.items()))])
