"""What the tests of the author's tools share."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from espnet_audiollm.data import kaldi_dir


class Done(NamedTuple):
    status: int
    out: str
    err: str

    def fails(self, *words: str) -> None:
        """Exit status 1 and one complaint with all these words."""
        assert self.status == 1 and "Traceback" not in self.err, self.err
        for word in words:
            assert word in self.err

    def says(self, *words: str) -> None:
        assert self.status == 0, self.err
        for word in words:
            assert word in self.out


@pytest.fixture
def tool(root, tmp_path):
    """tool("subset", *arguments): runs utils/data/subset.py in `tmp_path`, as a user would."""

    def run(name, *arguments, **options) -> Done:
        command = [root / "utils/data" / f"{name}.py", *map(str, arguments)]
        options = {"cwd": tmp_path, **options}
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def make_dir(tmp_path):
    """make_dir("a", text={"u1": "one"}, **{"wav.scp": ...}): a data directory of these tables.

    Without wav.scp each utterance of utt2spk has a recording of its own, which exists."""

    def make(name: str, **tables: dict[str, str]) -> Path:
        directory = tmp_path / name
        if "wav.scp" not in tables:
            paths = {id_: str(tmp_path / f"{name}.{id_}.wav") for id_ in tables["utt2spk"]}
            tables["wav.scp"] = paths
            for path in tables["wav.scp"].values():
                Path(path).write_bytes(b"RIFF")
        for table, rows in tables.items():
            kaldi_dir.write_table(directory / table, rows.items())
        return directory

    return make


def tables_of(directory: Path) -> dict[str, dict[str, str]]:
    """{name: table} of all files of a directory."""
    return {name: kaldi_dir.read_dict(directory / name) for name in sorted(os.listdir(directory))}
