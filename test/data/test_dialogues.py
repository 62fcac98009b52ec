"""Sets of dialogues: what is read, and what is refused with its line and id."""

import json

import numpy as np
import pytest
import soundfile

from espnet_audiollm.data.dialogues import (
    count,
    count_recordings,
    iter_dialogues,
    iter_recordings,
    name_of,
    read_dialogues,
)
from espnet_audiollm.data.kaldi_dir import write_data_dir
from espnet_audiollm.store.tables import write_table
from espnet_audiollm.types import Audio, Dialogue, Turn, Utterance

ASK = {"role": "user", "text": "say it in spanish"}
OWN = {"role": "assistant"}
SPOKEN = {"role": "user", "audio": "a.wav", "text": "red boat"}
GOOD = {"id": "b", "category": "translation", "turns": [ASK, OWN, SPOKEN], "expected": ["rojo"]}


def write(directory, *items):
    (directory / "a.wav").touch()
    return write_set(directory, *items)


def write_set(directory, *items):
    path = directory / "set.jsonl"
    path.write_text("".join((i if isinstance(i, str) else json.dumps(i)) + "\n" for i in items))
    return path


def test_turns_are_read_and_audio_lies_beside_the_file(tmp_path):
    system = {"role": "system", "text": ""}
    said = {"role": "assistant", "text": "ok ."}
    other = {
        "id": "a",
        "category": "summary",
        "turns": [system, ASK, said, ASK],
        "reference": "x .",
    }
    path = write(tmp_path, GOOD, "", other)
    spoken = Turn("user", Audio(str(tmp_path / "a.wav"), "red boat"))
    asked = Turn("user", "say it in spanish")
    turns = (Turn("system", ""), asked, Turn("assistant", "ok ."), asked)
    assert read_dialogues(path) == [
        Dialogue("a", turns, "summary", (), "x ."),
        Dialogue("b", (asked, Turn("assistant", None), spoken), "translation", ("rojo",)),
    ]


def test_an_absolute_path_stays(tmp_path):
    elsewhere = tmp_path / "b.wav"
    elsewhere.touch()
    turn = {"role": "user", "audio": str(elsewhere), "text": "x"}
    (dialogue,) = read_dialogues(write(tmp_path, {**GOOD, "turns": [turn]}))
    assert dialogue.recordings() == {"b": Audio(str(elsewhere), "x")}


def test_without_context_the_system_turn_and_the_last_are_left(tmp_path):
    turns = [{"role": "system", "text": "be kind"}, *GOOD["turns"]]
    (dialogue,) = read_dialogues(write(tmp_path, {**GOOD, "turns": turns}))
    left = [turn.text for turn in dialogue.last_turn_only().turns]
    assert left == ["be kind", "red boat"] and dialogue.last_turn_only().id == "b"


def test_recordings_have_ids_of_their_own(tmp_path):
    """Of the third turn, the system's not counted; of a single turn the dialogue's own."""
    soundfile.write(tmp_path / "a.wav", np.zeros(8_000), 16_000)
    single = {**GOOD, "id": "c", "turns": [{"role": "system", "text": "be kind"}, SPOKEN]}
    path = write_set(tmp_path, GOOD, single)
    assert (name_of(path), count(path), count_recordings(path)) == ("set", 2, 2)
    assert [(utt.id, utt.text, utt.duration) for utt in iter_recordings(path)] == [
        ("b:3", "red boat", 0.5),
        ("c", "red boat", 0.5),
    ]
    assert [dialogue.duration for dialogue in iter_dialogues(path)] == [0.5, 0.5]


def test_an_utterance_is_a_dialogue_of_one_turn(tmp_path):
    utterances = [Utterance(i, f"{i}.wav", "s", 1.5, f"text {i}") for i in ("u1", "u2")]
    write_data_dir(tmp_path / "test", utterances)
    write_table(tmp_path / "test/utt2dur", [(utt.id, "1.5") for utt in utterances])
    (first, _) = iter_dialogues(tmp_path / "test")
    audio = Audio("u1.wav", "text u1")
    assert first == Dialogue("u1", (Turn("user", audio),), duration=1.5)
    assert first.recordings() == {"u1": audio}
    assert (name_of(tmp_path / "test"), count(tmp_path / "test")) == ("test", 2)


def turned(*turns):
    return {**GOOD, "turns": list(turns)}


@pytest.mark.parametrize(
    "item, message",
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: not a JSON object"),
        ({**GOOD, "id": "b"}, "line 2: b: this id comes twice"),
        ({**GOOD, "id": "two words"}, "line 2: the id 'two words' is not a word"),
        ({"category": "x"}, "line 2: the id None"),
        (
            {**GOOD, "id": "c", "expect": []},
            "line 2: c: unknown field 'expect'; known are category",
        ),
        ({**GOOD, "id": "c", "category": " "}, "c: category is ' '"),
        ({**GOOD, "id": "c", "expected": "rojo"}, "c: expected is no list"),
        ({**GOOD, "id": "c", "expected": [""]}, "c: expected answer is ''"),
        ({**GOOD, "id": "c", "reference": 3}, "c: reference is 3"),
        (turned() | {"id": "c"}, "c: turns is no list of turns"),
        (turned("x") | {"id": "c"}, "c: turn 1: not a JSON object"),
        (
            turned({"role": "bot", "text": "x"}) | {"id": "c"},
            "c: turn 1: the role 'bot' is not one",
        ),
        (turned(ASK, OWN) | {"id": "c"}, "c: the last turn is the assistant's"),
        (turned(ASK, ASK) | {"id": "c"}, "c: the roles are user, user; user and assistant take"),
        (turned({"role": "system", "text": "x"}) | {"id": "c"}, "c: the last turn is the system's"),
        (turned({"role": "user"}) | {"id": "c"}, "c: turn 1: no text and no audio"),
        (
            turned({"role": "user", "audio": "a.wav"}) | {"id": "c"},
            "c: turn 1: the audio has no text",
        ),
        (
            turned(ASK, {"role": "assistant", "audio": "a.wav"}, ASK) | {"id": "c"},
            "c: turn 2: the assistant has audio; only the user's",
        ),
        (
            turned({"role": "user", "audio": "no.wav", "text": "x"}) | {"id": "c"},
            "no.wav is missing; correct the file",
        ),
    ],
)
def test_refusals(tmp_path, item, message):
    with pytest.raises(ValueError) as error:
        read_dialogues(write(tmp_path, GOOD, item))
    assert message in str(error.value) and str(tmp_path / "set.jsonl") in str(error.value)


def test_no_file_no_dialogue_no_text(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_dialogues(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="no dialogue in it"):
        read_dialogues(write(tmp_path, ""))
    (tmp_path / "set.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match="not UTF-8"):
        read_dialogues(tmp_path / "set.jsonl")
