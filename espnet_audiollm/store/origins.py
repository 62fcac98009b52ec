"""Where the files lie that a run or a training was made of.

Recipes name them relative to their own directory, and another recipe may read the run: a path is
looked for in the directories above what it was made for, the nearest first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .model_directory import read_model_options


def find(name: str, made: Path) -> str:
    """The path of a file that `made`, a directory, was made of; the name as it is where there is no
    such file (a Hugging Face id, say)."""
    if os.path.isabs(name):
        return name
    for above in Path(os.path.abspath(made)).parents:
        if (above / name).exists():
            return os.path.relpath(above / name)
    return name


def training_directories(first: Iterable[str]) -> list[Path]:
    """Trainings and those that they begin from, these first, each once; directories of packed or
    other models are left out."""
    found: dict[Path, None] = {}
    for name in first:
        _collect(Path(name), found)
    return [*found]


def _collect(directory: Path, found: dict[Path, None]) -> None:
    if not (directory / "config.yaml").is_file() or directory in found:
        return
    for begun in _begun_from(read_model_options(directory)):
        _collect(Path(find(begun, directory)), found)
    found[directory] = None


def _begun_from(options: dict[str, Any]) -> Iterator[str]:
    """Directories that a training's options name to begin from, trainings or not."""
    params = options.get("init_param") or []
    files = [str(each).partition(":")[0] for each in params]
    files += [str(options[name]) for name in ("init_ctc", "llm") if options.get(name)]
    return (os.path.dirname(name) for name in files)
