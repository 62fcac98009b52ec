"""A trained AudioLLM for others: a directory in Hugging Face form, without code or pickles.

    config.json               what the model is, the LLM it belongs to, a checksum of the weights
    preprocessor_config.json  from samples to features
    tokens.json               of a recogniser inside the model, where there is one
    chat_template.jinja       of an LLM that has none
    model.safetensors         what was trained
    README.md                 the model card

It serves wherever an experiment of stage 9 does; the frozen LLM is named, and not in it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from .atomic import new_directories
from .json_files import parse_json, read_object, write_json
from .yaml_files import read_options

MODEL_TYPE = "espnet_audiollm"
CONFIG, PREPROCESSOR, TOKENS = "config.json", "preprocessor_config.json", "tokens.json"
TEMPLATE, WEIGHTS, CARD = "chat_template.jinja", "model.safetensors", "README.md"
PREPROCESSING = ("frontend", "frontend_conf", "normalize", "normalize_conf")
EXTRA = "extra_state"  # metadata of the weights: JSON of what a checkpoint holds besides tensors
NEXT = "pack the model again (stage 12), or fetch it again"


def is_packed(directory: str | Path) -> bool:
    """Whether a directory is one of these, damaged or not."""
    if not (Path(directory) / CONFIG).is_file():
        return False
    try:
        return read_object(Path(directory) / CONFIG, NEXT).get("model_type") == MODEL_TYPE
    except ValueError:
        return (Path(directory) / TOKENS).is_file() or (Path(directory) / PREPROCESSOR).is_file()


def files_of(directory: str | Path, checkpoint: str) -> tuple[Path, Path]:
    """Configuration and weights of a model; checkpoint: the weights' name in an experiment."""
    names = (CONFIG, WEIGHTS) if is_packed(directory) else ("config.yaml", checkpoint)
    return Path(directory) / names[0], Path(directory) / names[1]


def read_model_options(directory: str | Path) -> dict[str, Any]:
    """The options of a model, of an experiment or of a packed one.

    Errors (ValueError): there is no model, or its configuration is damaged."""
    directory = Path(directory)
    if is_packed(directory):
        return _packed_options(directory)
    path = directory / "config.yaml"
    if not path.exists():
        raise ValueError(f"{path} does not exist: {directory} is not a trained experiment")
    return read_options(path, "give an experiment that was trained here")


def _packed_options(directory: Path) -> dict[str, Any]:
    options = read_object(directory / CONFIG, NEXT) | read_object(directory / PREPROCESSOR, NEXT)
    if (directory / TOKENS).is_file():
        options["ctc_tokens"] = read_object(directory / TOKENS, NEXT)
    template = directory / TEMPLATE
    return {**options, "chat_template": str(template) if template.is_file() else None}


def read_weights(path: str | Path) -> dict[str, Any]:
    """Tensors and plain values of model.safetensors, compared with the checksum in config.json.

    Errors (ValueError): they are missing or damaged."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist: {NEXT}")
    expected = read_object(path.parent / CONFIG, NEXT).get("weights_sha256")
    if expected != sha256(path):
        raise ValueError(f"{path} is damaged (its SHA-256 is not that of {CONFIG}): {NEXT}")
    try:
        with safe_open(path, framework="pt") as file:
            extra = parse_json((file.metadata() or {}).get(EXTRA, "{}"))
            return {name: file.get_tensor(name) for name in file.keys()} | extra  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): {NEXT}") from error


def write(
    output: str | Path,
    options: dict[str, Any],
    state: dict[str, Any],
    card: str,
    chat_template: str | None = None,
) -> None:
    """Make the directory, complete or not at all; an older one of the kind is replaced.

    state: tensors and plain values of the checkpoint. chat_template: its text.

    Errors (ValueError): `output` holds something else."""
    with new_directories(output) as (aside,):
        _write_weights(aside / WEIGHTS, state)
        own = {k: v for k, v in options.items() if k not in (*PREPROCESSING, "ctc_tokens")}
        own = {**own, "model_type": MODEL_TYPE, "weights_sha256": sha256(aside / WEIGHTS)}
        write_json(aside / CONFIG, own, sort_keys=True)
        prepared = {key: options[key] for key in PREPROCESSING if key in options}
        write_json(aside / PREPROCESSOR, {"sampling_rate": 16_000, **prepared}, sort_keys=True)
        if options.get("ctc_tokens"):
            write_json(aside / TOKENS, options["ctc_tokens"], sort_keys=True)
        if chat_template:
            (aside / TEMPLATE).write_text(chat_template, encoding="utf-8")
        (aside / CARD).write_text(card, encoding="utf-8")
        (aside / WEIGHTS).chmod((aside / CARD).stat().st_mode)  # safetensors': only its owner's
        if is_packed(output):
            shutil.rmtree(output)


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_weights(path: Path, state: dict[str, Any]) -> None:
    """Tensors that share memory are written twice: readers know no sharing."""
    from safetensors.torch import save_file

    tensors = {name: value for name, value in state.items() if hasattr(value, "storage_offset")}
    plain = {name: value for name, value in state.items() if name not in tensors}
    copies = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    save_file(copies, path, {"format": "pt", EXTRA: json.dumps(plain)})
