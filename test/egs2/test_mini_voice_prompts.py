"""local/voices.sh of mini's speechlm1: what stands behind one another, whose voice is asked for,
and all of it on a few recordings."""

import json
import os
import subprocess
import sys

import pytest
import tiny_levels
import tiny_speakers
import yaml
from recorded_levels import call

from espnet_audiollm.data.kaldi_dir import read_dict, write_table

SPEAKERS = ("anna", "bert", "carl")


@pytest.fixture
def voices(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "egs2/mini/speechlm1/local"))
    import voices

    yield voices
    del sys.modules["voices"]


@pytest.fixture
def joined(tmp_path):
    """Three recordings of each speaker, as utils/data/segments.py join leaves them."""
    place, rows = tmp_path / "parts", {"segments": {}, "utt2spk": {}, "text": {}, "wav.scp": {}}
    for speaker in SPEAKERS:
        for number, end in enumerate((4.0, 3.5, 2.0)):
            recording = f"{speaker}-{number}"
            rows["wav.scp"][recording] = f"{recording}.wav"
            for part, (begin, stop) in enumerate(((0, 1), (1.1, end))):
                id_ = f"{speaker}-u{2 * number + 1 - part}"  # the later one first, by its id
                rows["segments"][id_] = f"{recording} {begin} {stop}"
                rows["utt2spk"][id_], rows["text"][id_] = speaker, f"say {id_}"
    place.mkdir()
    for name, table in rows.items():
        write_table(place / name, sorted(table.items()))
    return place


def test_a_recording_is_an_utterance_with_all_its_words(voices, joined, tmp_path):
    assert voices.main(["joined", str(joined), str(tmp_path / "out")]) == 0
    assert read_dict(tmp_path / "out/text")["anna-0"] == "say anna-u1 say anna-u0"
    assert read_dict(tmp_path / "out/utt2spk")["carl-2"] == "carl"
    assert len(read_dict(tmp_path / "out/wav.scp")) == 9


@pytest.mark.parametrize("whose, others", [("own", SPEAKERS), ("other", ("bert", "carl", "anna"))])
def test_a_prompt_is_long_enough_and_of_other_words(voices, joined, tmp_path, whose, others):
    words = ["prompts", joined / "utt2spk", joined, tmp_path / "out", "--whose", whose]
    assert voices.main(list(map(str, words))) == 0
    asked = read_dict(joined / "utt2spk")
    sources, speakers = read_dict(tmp_path / "out/wav.scp"), read_dict(tmp_path / "out/utt2spk")
    assert sources.keys() == asked.keys()
    for id_, speaker in asked.items():
        assert speakers[id_] == dict(zip(SPEAKERS, others, strict=True))[speaker]
        assert sources[id_][-5] in "01"  # the third has 2 s
    assert sources["anna-u0"] == f"{others[0]}-{int(whose == 'own')}.wav"


def test_a_speaker_without_a_prompt_is_named(voices, joined, tmp_path, capsys):
    rows = read_dict(joined / "segments").items()
    write_table(joined / "segments", [row for row in rows if "bert-1" not in row[1]])
    words = ["prompts", joined / "utt2spk", joined, tmp_path / "out", "--whose", "own"]
    with pytest.raises(SystemExit):
        voices.main(list(map(str, words)))
    assert "bert has no recording of 3.0 s without bert-u0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("soundstorm", marks=pytest.mark.long),
        pytest.param("audiolm", marks=pytest.mark.slow),
    ],
)
def test_from_recordings_to_the_table(root, tmp_path, kind):
    dump = tmp_path / "audiollm1/dump"
    said = {"train": tiny_speakers.TRAIN[:3], "valid": tiny_speakers.TRAIN[:2]}
    for seed, (split, who) in enumerate((said | {"test": tiny_speakers.UNSEEN}).items()):
        tiny_speakers.speak(tmp_path / "data" / split, who, 6, seed)
        call(root, "format_data", tmp_path / "data" / split, dump / split)
    words = ["--source", "fbank:8", "--size", 20, "--data", dump / "train"]
    call(root, "learn_units", *words, "--output", tmp_path / "q")
    write_configs(tmp_path / "conf")
    words = ["--audiollm", dump.parent, "--configs", tmp_path / "conf", "--nj", 1]
    words += ["--quantiser", tmp_path / "q", "--level_size", 20, "--train_args", "--max_epoch 1"]
    words += ["--speaker_args", "--max_epoch 1", "--sentences", 4, "--kinds", kind]
    words += ["--dumpdir", tmp_path / "dump", "--expdir", tmp_path / "exp"]
    done = run(root, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split(" | ") for line in (tmp_path / "exp/table.md").read_text().splitlines()]
    found = {row[0].strip("| "): row[1:] for row in rows}
    kinds = [f"{kind}_{whose}" for whose in ("own", "other", "none")]
    assert {"true", "levels", *kinds, "another speaker"} <= found.keys()
    assert [found[name][1] == "–" for name in kinds] == [False, False, True]
    assert found["levels"][2] != "–" == found["levels"][1]
    judged = json.loads((tmp_path / "exp/judged/true/speech.json").read_text())
    assert {each["utterances"] for each in judged.values()} == {4}
    again = run(root, *words)
    assert again.returncode == 0 and again.stdout.count("up to date") > 15


def write_configs(place):
    place.mkdir()
    levels = tiny_levels.OPTIONS | {"batch_bins": 400_000}
    lm = {"lm_conf": tiny_levels.SIZES, "coarse_levels": 2}
    for name, options in (
        ("soundstorm", levels | {"soundstorm_conf": {**tiny_levels.SIZES, "kernel": 3}}),
        ("audiolm_coarse", levels | lm | {"stage": "coarse", "longest": 10}),
        ("audiolm_fine", levels | lm | {"stage": "fine", "longest": 6}),
        ("speaker", tiny_speakers.OPTIONS),
    ):
        (place / f"train_{name}.yaml").write_text(yaml.safe_dump(options))


def run(root, *words):
    return subprocess.run(
        [root / "egs2/mini/speechlm1/local/voices.sh", *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )


def test_what_is_refused(root):
    for words, says in (
        (["--kinds", "tortoise"], "soundstorm and audiolm are the kinds"),
        (["--stage", 7], "from 1 to 6"),
    ):
        done = run(root, *words)
        assert done.returncode and says in done.stderr
