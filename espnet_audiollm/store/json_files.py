"""JSON as files: ours, and what anyone may have written, whose errors are ValueErrors."""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from .atomic import atomic_write

T = TypeVar("T")
Types = dict[str, type | tuple[type, ...]]
TYPES: Types = {"str": str, "int": int, "float": (int, float), "bool": bool}


def parse_json(text: str | bytes) -> Any:
    """As json.loads. Errors (ValueError): no JSON, or nested too deeply for Python."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def write_json(
    path: str | Path, value: Any, *, allow_nan: bool = True, sort_keys: bool = False
) -> None:
    """Write `value` as a file of JSON that people can read.

    allow_nan: False: refuse (ValueError) NaN and infinity, which other programs do not read."""
    with atomic_write(path) as out:
        json.dump(
            value, out, indent=2, ensure_ascii=False, allow_nan=allow_nan, sort_keys=sort_keys
        )
        out.write("\n")


def read_object(path: str | Path, next_step: str) -> dict[str, Any]:
    """The JSON object that a file is. Errors (ValueError): it is something else."""
    try:
        found = parse_json(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): {next_step}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged (no JSON object): {next_step}")
    return found


def read_record(path: str | Path, cls: type[T], next_step: str) -> T:
    """A dataclass of texts, numbers and flags, as an object in a file has it; fields with a default
    may be missing there.

    Errors (ValueError): fields that are missing, unknown, or of another type; what the class itself
    refuses."""
    return record_of(read_object(path, next_step), path, cls, next_step)


def record_of(found: dict[str, Any], path: str | Path, cls: type[T], next_step: str) -> T:
    """The same of an object that was in the file at `path`."""
    names = {field.name: str(field.type) for field in fields(cls)}  # type: ignore[arg-type]
    needed = {f.name for f in fields(cls) if f.default is MISSING}  # type: ignore[arg-type]
    wrong = sorted((found.keys() - names.keys()) | (needed - found.keys()))
    wrong += [name for name in names if name in found and not _is(found[name], names[name])]
    if wrong:
        first = f"{wrong[0]} is {found[wrong[0]]!r:.60}" if wrong[0] in found else f"no {wrong[0]}"
        raise ValueError(
            f"{path} is damaged ({len(wrong)} fields are wrong, first: {first}): {next_step}"
        )
    try:
        return cls(**found)
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): {next_step}") from error


def _is(value: object, type_: str) -> bool:
    if isinstance(value, bool) or type_ == "bool":
        return isinstance(value, bool) and type_ == "bool"
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, TYPES[type_])
