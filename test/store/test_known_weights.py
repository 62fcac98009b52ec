"""When a fingerprint is computed again."""

import os
import time
from pathlib import Path

import pytest

from espnet_audiollm.store.known_weights import KnownWeights

LONG_AGO = 1_000_000_000.0


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A directory whose files are old enough to be trusted: the clock is an hour ahead."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    later = time.time_ns() + 3_600_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)
    directory = tmp_path / "llm"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(b"abcd")
    return directory


def fingerprint(directory: Path, what: str = "llm", meanwhile=lambda: None) -> tuple[str, bool]:
    """The fingerprint (of the contents), and whether it was computed."""
    computed = []

    def compute() -> str:
        computed.append(True)
        value = (directory / "model.safetensors").read_bytes().hex().ljust(64, "0")
        meanwhile()
        return value

    return KnownWeights(directory, what).fingerprint(compute), bool(computed)


def test_computed_once(weights):
    value, computed = fingerprint(weights)
    assert computed and fingerprint(weights) == (value, False)
    assert fingerprint(weights, "other version") == (value, True)


def test_a_change_in_place_of_the_same_size(weights):
    """Also where its time is set back."""
    file = weights / "model.safetensors"
    os.utime(file, (LONG_AGO, LONG_AGO))
    fingerprint(weights)
    time.sleep(0.05)  # longer than a tick of the file system's clock
    with open(file, "r+b") as out:
        out.write(b"wxyz")
    os.utime(file, (LONG_AGO, LONG_AGO))
    value, computed = fingerprint(weights)
    assert computed and value.startswith(b"wxyz".hex())
    assert fingerprint(weights) == (value, False)


@pytest.mark.parametrize("name", ["config.json", "model-2.safetensors", "more.bin"])
def test_other_files_beside_the_weights(weights, name):
    fingerprint(weights)
    (weights / name).write_text("[]")
    assert fingerprint(weights)[1]


def test_weights_that_change_while_they_are_loaded(weights):
    def change():
        (weights / "model.safetensors").write_bytes(b"other")

    fingerprint(weights, meanwhile=change)
    assert fingerprint(weights)[1]


def test_files_of_this_moment_are_not_trusted(weights, monkeypatch):
    now = time.time()
    monkeypatch.setattr(time, "time_ns", lambda: int(now * 1e9) - 3_600_000_000_000)
    assert [fingerprint(weights)[1] for _ in range(2)] == [True, True]


def test_weights_that_are_elsewhere(weights):
    (weights / "adapter_config.json").write_text("{}")
    assert [fingerprint(weights)[1] for _ in range(2)] == [True, True]


@pytest.mark.parametrize("text", ["", "[]", '{"stamp": 1}', "[" * 100_000])
def test_a_damaged_cache_is_made_anew(weights, tmp_path, text):
    value, _ = fingerprint(weights)
    (file,) = (tmp_path / "cache/espnet_audiollm/fingerprints").iterdir()
    file.write_text(text)
    assert fingerprint(weights) == (value, True)
    assert fingerprint(weights) == (value, False)


def test_a_cache_that_cannot_be_written(weights, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # for root, too
    assert [fingerprint(weights)[1] for _ in range(2)] == [True, True]
