"""What the tests of the author's tools share."""

import os
from pathlib import Path

import pytest
from tool_mains import Done, main_of, run_main

from espnet_audiollm.data import kaldi_dir


@pytest.fixture
def tool(root, tmp_path, monkeypatch, capfd):
    """tool("subset", *arguments): the main of utils/data/subset.py, called in `tmp_path`.

    In this process, which saves the start of another; test_start.py has them as a user has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(root / "utils/data")

    def run(name, *arguments) -> Done:
        return run_main(main_of(root, name), arguments, capfd)

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
