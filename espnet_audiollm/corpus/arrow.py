"""Hugging Face datasets on the disk, read by pyarrow: Parquet files, Arrow files, and the
directories that `save_to_disk` writes. No loading script is run, nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow

from ..store.json_files import read_object

ROWS = 32  # at once: each may hold a recording


@dataclass(frozen=True)
class Blob:
    """An audio file that is stored in a table."""

    data: bytes
    name: str  # "" where the table has none


def read(path: Path, split: str = "") -> tuple[tuple[str, ...], Iterator[dict]]:
    """Columns and rows. Raises ValueError where this is no dataset, or one with several splits."""
    import pyarrow

    files = [path] if path.is_file() else _files(path, split)
    try:
        columns = tuple(_schema(files[0]).names)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{files[0]}: no Parquet or Arrow file ({_line(error)})") from error
    return columns, _rows(files)


def _files(directory: Path, split: str) -> list[Path]:
    """The files of a dataset, or of one split of it, in order."""
    splits = directory / "dataset_dict.json"
    if splits.is_file():
        names = _listed(splits, "splits", str)
        if split not in names:
            raise ValueError(f"{directory} has several splits: say --split {'|'.join(names)}")
        directory = directory / split
    elif split and (directory / split).is_dir():
        directory = directory / split
    state = directory / "state.json"
    if state.is_file():
        names = [str(part.get("filename")) for part in _listed(state, "_data_files", dict)]
        return [directory / Path(name).name for name in names]
    found = sorted([*directory.rglob("*.parquet"), *directory.rglob("*.arrow")])
    of_split = [path for path in found if path.name.startswith(f"{split}-")] if split else []
    found = of_split or found
    present = {path.name.split("-")[0] for path in found if "-of-" in path.name}
    if not found or (split and present and split not in present):
        raise ValueError(
            f"{directory}: no dataset{f' with a split {split}' * bool(split)}: neither state.json "
            "(as save_to_disk writes) nor Parquet or Arrow files; save it there first"
        )
    if len(present) > 1:
        raise ValueError(f"{directory} has several splits: say --split {'|'.join(sorted(present))}")
    return found


def _listed(path: Path, key: str, kind: type) -> list:
    """The list under a key of a file that `datasets` wrote; one at least."""
    found = read_object(path, "save the dataset again").get(key)
    if not isinstance(found, list) or not found or not all(isinstance(x, kind) for x in found):
        raise ValueError(f"{path} has no list of {key}: save the dataset again")
    return found


def _schema(path: Path) -> pyarrow.Schema:
    import pyarrow.parquet

    if path.suffix == ".parquet":
        return pyarrow.parquet.read_schema(path)
    with pyarrow.memory_map(str(path)) as file:
        return _open_arrow(file).schema


def _open_arrow(
    file: pyarrow.NativeFile,
) -> pyarrow.RecordBatchStreamReader | pyarrow.RecordBatchFileReader:
    """A stream, as `datasets` writes, or a file with an index at its end."""
    import pyarrow

    if file.read(6) == b"ARROW1":
        return pyarrow.ipc.open_file(file)
    file.seek(0)
    return pyarrow.ipc.open_stream(file)


def _rows(files: list[Path]) -> Iterator[dict]:
    for path in files:
        for batch in _batches(path):
            for start in range(0, batch.num_rows, ROWS):
                for row in batch.slice(start, ROWS).to_pylist():
                    yield {name: _cell(value) for name, value in row.items()}


def _batches(path: Path) -> Iterator:
    import pyarrow.parquet

    try:
        if path.suffix == ".parquet":
            with pyarrow.parquet.ParquetFile(path) as file:
                yield from file.iter_batches(batch_size=ROWS)
        else:
            with pyarrow.memory_map(str(path)) as file:
                reader = _open_arrow(file)
                if isinstance(reader, pyarrow.RecordBatchFileReader):
                    reader = map(reader.get_batch, range(reader.num_record_batches))
                yield from reader
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: damaged ({_line(error)}); copy or save it again") from error


def _cell(value: object) -> object:
    """An audio file with its name; its path where it is not in the table."""
    if isinstance(value, dict) and {"bytes", "path"} <= value.keys():
        name = value["path"] or ""
        return name if value["bytes"] is None else Blob(value["bytes"], name)
    return Blob(value, "") if isinstance(value, bytes) else value


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
