"""What is known of the members of a piece of work, in a directory beside their logs.

It is there while the work is incomplete: N.exit holds how member N ended, `key` of which work.
Once all jobs are done it is removed, so that the next call runs everything again.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from .contract import Options


@dataclass
class Exit:
    """How a job ended."""

    status: int
    asked: bool = False  # a signal had asked it to end: the cluster may start it again
    note: str = ""


class State:
    """Files beside the log by which a later call of the runner knows what is done."""

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def beside_log(cls, options: Options) -> State:
        """The state of these options' log."""
        folder = Path(options.log).parent
        while options.varies(str(folder)):
            folder = folder.parent
        name = os.path.relpath(options.log, folder).replace(os.sep, "-")
        return cls(folder.absolute() / f".{name}.jobs")

    def key(self) -> str:
        """Of the command that the state belongs to; empty where there is none."""
        try:
            return (self.path / "key").read_text()
        except FileNotFoundError:
            return ""

    def take(self, key: str) -> None:
        """Go on with what is known of this work; forget another."""
        if self.key() != key:
            self.remove()
            self.write("key", key)

    def write(self, name: str, text: str) -> None:
        """A file of the directory, complete or not at all."""
        self.path.mkdir(parents=True, exist_ok=True)
        new = self.path / f"{name}.new.{socket.gethostname()}.{os.getpid()}"
        new.write_text(text)
        os.replace(new, self.path / name)

    def finish(self, number: int, end: Exit) -> None:
        """Note how a job ended."""
        self.write(f"{number}.exit", json.dumps(asdict(end)))

    def forget(self, number: int) -> None:
        """That a job ended: it runs again."""
        (self.path / f"{number}.exit").unlink(missing_ok=True)

    def exits(self, wanted: Iterable[int]) -> dict[int, Exit]:
        """How those of the wanted members that have ended did. Lists the directory: a network file
        system may hold back a file that is asked for by its name, but not from a list."""
        listed = set(os.listdir(self.path)) if self.path.is_dir() else set()
        found = {}
        for number in wanted:
            name = f"{number}.exit"
            if name in listed:
                try:
                    found[number] = Exit(**json.loads((self.path / name).read_text()))
                except FileNotFoundError:
                    pass  # it was started again in between
        return found

    def done(self, wanted: Iterable[int]) -> set[int]:
        """Those of the wanted numbers that ended well."""
        return {number for number, end in self.exits(wanted).items() if end.status == 0}

    def count(self, name: str) -> int:
        """A number that was noted under this name, or 0."""
        try:
            return int((self.path / name).read_text())
        except FileNotFoundError:
            return 0

    def clean(self, members: range) -> None:
        """At the end: kept when some, but not all, are done."""
        if len(self.done(members)) in (0, len(members)):
            self.remove()

    def remove(self) -> None:
        """All of it."""
        shutil.rmtree(self.path, ignore_errors=True)
