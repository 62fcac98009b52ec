"""YAML that anyone may have written: whatever is wrong with it is a ValueError."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def read_options(path: str | Path, next_step: str) -> dict[str, Any]:
    """The keys and values of a YAML file. Errors (ValueError): it holds something else."""
    found = read_yaml(path, next_step)
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no options ('name: value'): {next_step}")
    return found


def read_yaml(path: str | Path, next_step: str) -> Any:
    """What a YAML file holds. Errors (ValueError): it is no YAML."""
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        what = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is no YAML ({what}): {next_step}") from error
