"""Tables of an example's recordings: made from a store's utterances, read end to end."""

import json
import os

import numpy as np
import pytest
import soundfile

from espnet_audiollm.data import recordings
from espnet_audiollm.store.tables import read_table, write_table
from espnet_audiollm.train.iterators import TableDataset


@pytest.fixture
def place(tmp_path):
    """A directory of three utterances, and in store/ two examples; one path has a space."""
    waves = {id_: np.full(n, 0.1 * n / 300) for id_, n in (("a", 300), ("b", 200), ("c", 100))}
    for id_, wave in waves.items():
        soundfile.write(tmp_path / f"{id_} 1.wav", wave, 16_000, "FLOAT")
    write_table(tmp_path / "wav.scp", ((id_, f"{tmp_path}/{id_} 1.wav") for id_ in waves))
    write_table(tmp_path / "utt2num_samples", ((id_, str(len(w))) for id_, w in waves.items()))
    write_table(tmp_path / "text", {"a": "stop", "b": "go left", "c": "hör auf"}.items())
    write_table(tmp_path / "store/utterances", {"a!later": "c a", "b!only": "b"}.items())
    recordings.write_recordings(tmp_path, tmp_path / "store")
    return tmp_path


def test_tables_and_samples(place):
    found = read_table(place / "store/recordings")
    assert json.loads(found["a!later"]) == [f"{place}/c 1.wav", f"{place}/a 1.wav"]
    lengths = read_table(place / "store/recording_samples")
    assert lengths == {"a!later": "100 300", "b!only": "200"}
    assert [recordings.total(value) for value in lengths.values()] == ["400", "200"]
    texts = read_table(place / "store/recording_texts")
    assert recordings.read_list(texts["a!later"]) == ["hör auf", "stop"]
    source = (str(place / "store/recordings"), "speech", "recordings")
    id_, data = TableDataset([source])[0]
    wave = data["speech"]
    assert id_ == "a!later" and len(wave) == 400
    np.testing.assert_allclose(wave[[0, 99, 100, 399]], [1 / 30, 1 / 30, 0.1, 0.1], rtol=1e-5)


def test_they_are_made_again_when_the_data_changed(place):
    made = place / "store/recordings"
    before = made.stat().st_ino
    recordings.write_recordings(place, place / "store")
    assert made.stat().st_ino == before
    later = made.stat().st_mtime_ns + 10**9
    os.utime(place / "wav.scp", ns=(later, later))
    recordings.write_recordings(place, place / "store")
    assert made.stat().st_ino != before


def test_utterances_that_are_gone(place):
    (place / "store/recordings").unlink()
    write_table(place / "utt2num_samples", {"a": "300", "b": "200"}.items())
    with pytest.raises(ValueError, match="utt2num_samples does not have the utterance c, .*run st"):
        recordings.write_recordings(place, place / "store")


@pytest.mark.parametrize("value", ["a.wav", "[]", '{"a": 1}', ""])
def test_lines_that_are_no_lists(place, value):
    (place / "store/recordings").write_text(f"a!later {value}\n")
    dataset = TableDataset([(str(place / "store/recordings"), "speech", "recordings")])
    with pytest.raises(ValueError, match="store/recordings: utterance a!later: "):
        dataset[0]


def test_a_recording_that_is_gone(place):
    (place / "c 1.wav").unlink()
    dataset = TableDataset([(str(place / "store/recordings"), "speech", "recordings")])
    with pytest.raises((ValueError, OSError), match="utterance a!later: .*c 1.wav"):
        dataset[0]
