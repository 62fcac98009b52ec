"""from_table.py on Hugging Face datasets: layouts and metadata as `datasets` 4 writes them."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
import soundfile

from espnet_audiollm.data import audio

ROWS = 70  # more than are read at once


@pytest.fixture
def table(tmp_path):
    """Audio in the table, as an Audio feature has it, for all rows but the first: a path."""
    sounds = []
    for number in range(ROWS):
        path = tmp_path / f"{number}.flac"
        soundfile.write(path, np.full(1600, number / 100), 16_000)
        sounds.append({"bytes": path.read_bytes(), "path": path.name})
        if number:
            path.unlink()
    sounds[0] = {"bytes": None, "path": "0.flac"}
    return pyarrow.table(
        {
            "audio": sounds,
            "transcription": [f"number {number}" for number in range(ROWS)],
            "id": pyarrow.array(range(100, 100 + ROWS)),
            "answer": [["a", "b"]] * ROWS,
        }
    )


def check(directory, tables_of, tmp_path):
    found = {path.name for path in directory.iterdir()}
    assert found == {"wav.scp", "utt2spk", "text", "answers", "audio"}
    text = dict(line.split(" ", 1) for line in (directory / "text").read_text().splitlines())
    assert text == {str(100 + number): f"number {number}" for number in range(ROWS)}
    paths = dict(line.split(" ", 1) for line in (directory / "wav.scp").read_text().splitlines())
    assert paths["100"].endswith("/0.flac")
    assert paths["105"].startswith(f"{directory}/audio/") and paths["105"].endswith(".flac")
    for number in (1, 42, ROWS - 1):
        samples = audio.read_mono_16k(paths[str(100 + number)])
        assert len(samples) == 1600 and np.allclose(samples, number / 100, atol=1e-4)
    assert (directory / "answers").read_text().startswith("100 a | b\n")


OPTIONS = ["--text", "transcription", "--extra", "answers=answer", "--audio_root", "."]


def test_parquet(tool, table, tmp_path, tables_of):
    (tmp_path / "hub/data").mkdir(parents=True)
    half = ROWS // 2
    for number, part in enumerate((table.slice(0, half), table.slice(half))):
        name = f"train-0000{number}-of-00002.parquet"
        parquet.write_table(part, tmp_path / "hub/data" / name)
    tool("from_table", "hub", "data", *OPTIONS).says(f"data: {ROWS} utterances of {ROWS} speakers")
    check(tmp_path / "data", tables_of, tmp_path)
    parquet.write_table(table, tmp_path / "hub/data/test-00000-of-00001.parquet")
    tool("from_table", "hub", "more", *OPTIONS).fails("several splits: say --split test|train")
    done = tool("from_table", "hub", "more", *OPTIONS, "--split", "dev")
    done.fails("no dataset with a split dev")
    tool("from_table", "hub", "more", *OPTIONS, "--split", "test").says("70 utterances")


def write_saved(directory, table):
    """As `save_to_disk`: Arrow streams that state.json names."""
    directory.mkdir(parents=True)
    names = ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
    for name, part in zip(names, (table.slice(0, 9), table.slice(9)), strict=True):
        with pyarrow.OSFile(str(directory / name), "wb") as file:
            with pyarrow.ipc.new_stream(file, table.schema) as writer:
                writer.write_table(part)
    state = {"_data_files": [{"filename": name} for name in names], "_split": "train"}
    (directory / "state.json").write_text(json.dumps(state))
    (directory / "dataset_info.json").write_text("{}")


def test_saved_to_disk(tool, table, tmp_path, tables_of):
    write_saved(tmp_path / "saved/train", table)
    (tmp_path / "saved/dataset_dict.json").write_text('{"splits": ["train"]}')
    tool("from_table", "saved", "data", *OPTIONS).fails("saved has several splits", "--split train")
    tool("from_table", "saved", "data", *OPTIONS, "--split", "train").says("70 utterances")
    check(tmp_path / "data", tables_of, tmp_path)
    tool("from_table", "saved/train", "again", *OPTIONS).says("70 utterances")


def test_what_is_no_dataset(tool, table, tmp_path):
    (tmp_path / "empty").mkdir()
    tool("from_table", "empty", "data").fails("empty: no dataset: neither state.json")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not")
    tool("from_table", "x.parquet", "data").fails("no Parquet or Arrow file")
    parquet.write_table(table, tmp_path / "y.parquet")
    complete = (tmp_path / "y.parquet").read_bytes()
    (tmp_path / "y.parquet").write_bytes(complete[:8] + bytes(400) + complete[408:])
    tool("from_table", "y.parquet", "data", *OPTIONS).fails("y.parquet: damaged")
    assert not (tmp_path / "data").exists() and not list(tmp_path.glob(".data*"))


def test_ids_are_no_paths(tool, tmp_path):
    sound = {"bytes": b"RIFF", "path": "../../x.wav"}
    rows = pyarrow.table({"audio": [sound], "id": ["../../../up"]})
    parquet.write_table(rows, tmp_path / "x.parquet")
    tool("from_table", "x.parquet", "a/b/data").says("1 utterances")
    (stored,) = (path for path in tmp_path.rglob("*") if path.is_file() and path.suffix == ".wav")
    assert stored.is_relative_to(tmp_path / "a/b/data/audio")
