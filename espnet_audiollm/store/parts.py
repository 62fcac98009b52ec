"""Results that are put together from shards, and start anew when what they depend on changes.

    OUTPUT/.parts/KEY/    the shards of one set of inputs; KEY is the hash of these
    OUTPUT/inputs.json    what the final files beside it were made from; written after them

Other inputs (a checkpoint, an option, a transcript) have another KEY: shards of before are not
looked at, and jobs that begin at the same time need not agree on who deletes what. The merge of
the shards writes the final files, inputs.json, and then removes .parts.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

from .atomic import remove_asides
from .json_files import parse_json, write_json
from .shards import Shards, shard_size

INPUTS = "inputs.json"


class Parts:
    """What jobs leave for the merge.

    inputs: what the results depend on, fit for JSON. files: the final files that there must be."""

    def __init__(
        self,
        output: str | Path,
        inputs: Mapping,
        num_items: int,
        fields: tuple[str, ...],
        stage: int | str,
        files: Iterable[str],
        size: int | None = None,
    ):
        self.output = Path(output)
        self.inputs = dict(inputs)
        self.files = tuple(files)
        size = size or shard_size(num_items)
        text = json.dumps([self.inputs, size], sort_keys=True)
        self.key = hashlib.sha256(text.encode()).hexdigest()
        self.directory = self.output / ".parts" / self.key[:16]
        self.shards = Shards(self.directory, num_items, size, fields, stage)

    @cached_property
    def whole(self) -> bool:
        """Whether the final files are there, made from these inputs."""
        made = made_from(self.output)
        return made.get("key") == self.key and all((self.output / f).exists() for f in self.files)

    def begin(self) -> None:
        """Remove final files that were made of other inputs."""
        if self.whole:
            return
        for name in (INPUTS, *self.files):
            (self.output / name).unlink(missing_ok=True)
        self.directory.mkdir(parents=True, exist_ok=True)

    def finish(self) -> None:
        """Say that the final files are complete, and remove what they were made of."""
        if not self.whole:
            write_json(self.output / INPUTS, {"key": self.key, **self.inputs})
        shutil.rmtree(self.output / ".parts", ignore_errors=True)
        remove_asides(self.output, INPUTS, *self.files)


def made_from(output: str | Path) -> dict:
    """What inputs.json says of a directory's final files; empty where there is none."""
    try:
        made = parse_json((Path(output) / INPUTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return made if isinstance(made, dict) else {}


def hash_files(*paths: str | Path) -> dict[str, str]:
    """{path: sha256 of its contents} of those that exist."""
    hashes = {}
    for path in paths:
        if os.path.isfile(path):
            with open(path, "rb") as file:
                hashes[str(path)] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
