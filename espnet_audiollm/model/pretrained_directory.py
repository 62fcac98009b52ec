"""Models of audio from a directory in Hugging Face form: what loading them has in common.

Only safetensors are read, nothing is fetched, and no code of the directory is run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import logging

from ..store.json_files import read_object


def model_type(place: Path, known: Sequence[str], what: str) -> str:
    """The architecture that config.json names. Errors (ValueError): none of `known`.

    what: "encoder" or "codec", for messages."""
    file = place / "config.json"
    if not file.is_file():
        raise ValueError(
            f"{file} does not exist: {place} is no {what} in Hugging Face form; give a "
            f"directory of one of these: {', '.join(known)}"
        )
    named = read_object(file, f"download the {what} again").get("model_type")
    if named not in known:
        raise ValueError(
            f"{file} names the architecture {named}; {what}s of these are known: {', '.join(known)}"
        )
    return str(named)


def check_weights(place: Path) -> None:
    """Errors (ValueError): there are no safetensors."""
    if not list(place.glob("*.safetensors")):
        raise ValueError(
            f"{place} has no weights (*.safetensors): fetch them; pickled ones (*.bin) are not "
            "read, save_pretrained of transformers converts them"
        )


def load_model(
    place: Path,
    config: PretrainedConfig,
    model_class: Any,
    what: str,
    key_mapping: Mapping[str, str] | None = None,
) -> PreTrainedModel:
    """The model in float32. Errors (ValueError): weights that are missing or damaged."""
    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it would list what is on top of an encoder
    try:
        model, report = load_part(
            place,
            f"weights of the {what}",
            model_class.from_pretrained,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            key_mapping=key_mapping or None,
            output_loading_info=True,
        )
    finally:
        logging.set_verbosity(verbosity)
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ValueError(
            f"{place} lacks {len(missing)} weights of its {what} (first: {missing[0]}): its files "
            "are damaged or of another architecture; fetch it again"
        )
    return model


def load_part(place: Path, what: str, loader: Callable, **options: Any) -> Any:
    """Call a `from_pretrained` that fetches nothing and runs no code of the directory's; name what
    is wrong in one line."""
    from safetensors import SafetensorError

    try:
        return loader(str(place), local_files_only=True, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise ValueError(f"cannot load the {what} in {place}: {line}") from error
