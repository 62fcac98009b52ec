"""What the tests of the author's tools share."""

import importlib.util
import os
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
def tool(root, tmp_path, monkeypatch, capfd):
    """tool("subset", *arguments): the main of utils/data/subset.py, called in `tmp_path`.

    In this process, which saves the start of another; test_start.py has them as a user has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(root / "utils/data")

    def run(name, *arguments) -> Done:
        path = root / "utils/data" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"utils.data.{name}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        capfd.readouterr()
        try:
            status = module.main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code
        return Done(status or 0, *capfd.readouterr())

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


@pytest.fixture
def tables_of():
    """tables_of(directory): {name: table} of all its files."""

    def read(directory: Path) -> dict[str, dict[str, str]]:
        names = sorted(os.listdir(directory))
        return {name: kaldi_dir.read_dict(directory / name) for name in names}

    return read
