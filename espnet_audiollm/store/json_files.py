"""JSON that anyone may have written: whatever is wrong with it is a ValueError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """As json.loads. Errors (ValueError): no JSON, or nested too deeply for Python."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_object(path: str | Path, next_step: str) -> dict[str, Any]:
    """The JSON object that a file is. Errors (ValueError): it is something else."""
    try:
        found = parse_json(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): {next_step}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged (no JSON object): {next_step}")
    return found
