"""Conversation sets: what is read, and what is refused with its line and id."""

import json

import pytest

from espnet_audiollm.data.conversations import Dialogue, SpokenTurn, read_conversations

ASK = {"role": "user", "text": "say it in spanish"}
OWN = {"role": "assistant"}
HEARD = {"role": "user", "audio": "a.wav", "text": "red boat"}
GOOD = {"id": "b", "category": "translation", "turns": [ASK, OWN, HEARD], "expected": ["rojo"]}


def write(directory, *items):
    (directory / "a.wav").touch()
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
    heard = SpokenTurn("user", "red boat", str(tmp_path / "a.wav"))
    asked = SpokenTurn("user", "say it in spanish")
    turns = (SpokenTurn("system", ""), asked, SpokenTurn("assistant", "ok ."), asked)
    assert read_conversations(path) == [
        Dialogue("a", "summary", turns, (), "x ."),
        Dialogue("b", "translation", (asked, SpokenTurn("assistant", None), heard), ("rojo",)),
    ]


def test_an_absolute_path_stays(tmp_path):
    elsewhere = tmp_path / "b.wav"
    elsewhere.touch()
    turn = {"role": "user", "audio": str(elsewhere), "text": "x"}
    (dialogue,) = read_conversations(write(tmp_path, {**GOOD, "turns": [turn]}))
    assert [turn.audio for turn in dialogue.audios] == [str(elsewhere)]


def test_without_context_the_system_turn_and_the_last_are_left(tmp_path):
    turns = [{"role": "system", "text": "be kind"}, *GOOD["turns"]]
    (dialogue,) = read_conversations(write(tmp_path, {**GOOD, "turns": turns}))
    left = [turn.text for turn in dialogue.without_context().turns]
    assert left == ["be kind", "red boat"] and dialogue.without_context().id == "b"


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
            "c: turn 2: the assistant has audio; only the user",
        ),
        (
            turned({"role": "user", "audio": "no.wav", "text": "x"}) | {"id": "c"},
            "no.wav is missing; correct the file",
        ),
    ],
)
def test_refusals(tmp_path, item, message):
    with pytest.raises(ValueError) as error:
        read_conversations(write(tmp_path, GOOD, item))
    assert message in str(error.value) and str(tmp_path / "set.jsonl") in str(error.value)


def test_no_file_no_conversation_no_text(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_conversations(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="no conversation in it"):
        read_conversations(write(tmp_path, ""))
    (tmp_path / "set.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match="not UTF-8"):
        read_conversations(tmp_path / "set.jsonl")
