"""What stage 10 left is read whole, or refused with a sentence."""

import hashlib
import json

import numpy as np
import pytest

from espnet_audiollm.score.systems import check_system, read_references, read_system
from espnet_audiollm.store.series import read_series


def check(experiment, directory):
    system = read_system(directory, ["test"])
    check_system(system, read_references(experiment.data / "responses"))
    return system


TOKEN_NATS = {  # 0.5 nats a token
    "utt1": "0.4 0.6 0.5 0.5 0.1 0.9",
    "utt2": "2.0 0.0 0.0 0.0",
    "utt3": "0.5 0.5 0.5",
    "utt4": "1.000000 -0.000000",
}


def test_an_older_directory_has_none_of_the_newer_files(experiment):
    system = check(experiment, experiment.system("audiollm", "A", 0.5))
    assert system.token_nats is system.similarity is system.judge is system.judged is None
    assert system.response_ids is system.finish_reasons is None


def test_token_nats(experiment, put_table):
    directory = experiment.system("audiollm", "A", 0.5)
    put_table(directory / "token_nats", TOKEN_NATS)
    found = check(experiment, directory).token_nats
    assert found["utt1"].tolist() == [0.4, 0.6, 0.5, 0.5, 0.1, 0.9]
    assert {id: len(nats) for id, nats in found.items()} == system_tokens(directory)


def system_tokens(directory):
    return read_system(directory, ["test"]).tokens


@pytest.mark.parametrize(
    "change, message",
    [
        ({"utt2": "2.0 x 0 0"}, "token_nats: utt2: '2.0 x 0 0' is not a row of numbers; rerun"),
        ({"utt2": "2.0 nan 0 0"}, "utt2: '2.0 nan 0 0' is not a row of numbers"),
        ({"utt2": "2.0 0,5 0 0"}, "utt2: '2.0 0,5 0 0' is not a row"),
        (
            {"utt2": "1 1 0"},
            r"add up .* 1 of 4 .*\(first: utt2, 3 tokens of 2.0000 nats in all, exp",
        ),
        ({"utt2": ""}, r"first: utt2, 0 tokens of 0.0000 nats in all, expected 4 of 2.0000"),
        ({"utt3": "0.5 0.5 0.502"}, r"first: utt3, 3 tokens of 1.5020 .* expected 3 of 1.5000"),
        ({"utt9": "1"}, r"token_nats: 1 of 5 ids are unknown \(first: utt9\); rerun stage 10"),
        ({"utt4": None}, r"token_nats: 1 of 4 utterances are missing \(first: utt4\); rerun"),
    ],
)
def test_damaged_token_nats(experiment, put_table, change, message):
    directory = experiment.system("audiollm", "A", 0.5)
    table = {id: nats for id, nats in {**TOKEN_NATS, **change}.items() if nats is not None}
    put_table(directory / "token_nats", table)
    with pytest.raises(ValueError, match=message):
        check(experiment, directory)


def test_a_series_is_read_at_once(tmp_path, put_table):
    put_table(tmp_path / "s", {"a": "1 2", "b": "", "c": "3"})
    found = read_series(tmp_path / "s", np.int32, "run it again")
    assert {id: x.tolist() for id, x in found.items()} == {"a": [1, 2], "b": [], "c": [3]}
    assert found["a"].dtype == np.int32
    put_table(tmp_path / "s", {"a": "1 2", "b": "2.5", "c": "x"})
    with pytest.raises(ValueError, match="s: b: '2.5' is not a row of numbers; run it again"):
        read_series(tmp_path / "s", np.int32, "run it again")


def test_similarity_of_unknown_utterances(experiment):
    directory = experiment.system("audiollm", "A", 0.5)
    numbers = dict.fromkeys(("tokens", "words", "positions"), 1)
    for kind in ("path", "in_order"):
        numbers |= dict.fromkeys((kind, f"{kind}_shuffled"), 0.5)
        numbers |= dict.fromkeys((f"centred_{kind}", f"centred_{kind}_shuffled"), 0.5)
    (directory / "similarity").write_text(f"utt1 {json.dumps(numbers)}\n")
    assert list(check(experiment, directory).similarity) == ["utt1"]  # others had no transcript
    (directory / "similarity").write_text(f"utt7 {json.dumps(numbers)}\n")
    with pytest.raises(ValueError, match=r"similarity: 1 of 1 ids are unknown \(first: utt7\)"):
        check(experiment, directory)


def judged(directory, verdicts, **about):
    (directory / "judge").mkdir(exist_ok=True)
    responses = hashlib.sha256((directory / "responses.jsonl").read_bytes()).hexdigest()
    about = {"llm": "L", "prompt": "P", "responses": responses, **about}
    (directory / "judge" / "judge.json").write_text(json.dumps(about))
    lines = (json.dumps({"id": id, "verdict": v, "reply": ""}) for id, v in verdicts.items())
    (directory / "judge" / "judge.jsonl").write_text("".join(line + "\n" for line in lines))


def test_verdicts(experiment):
    directory = experiment.system("audiollm", "A", 0.5)
    judged(directory, {"utt1": True, "utt2": None, "utt3": False, "utt4": True})
    system = check(experiment, directory)
    assert system.judged == {"utt1": True, "utt2": False, "utt3": False, "utt4": True}
    assert (system.judge.unparsable, system.judge.llm) == (1, "L")


@pytest.mark.parametrize(
    "verdicts, about, message",
    [
        ({"utt1": "yes"}, {}, "judge.jsonl: line 1 is not a JSON object with an id of its own"),
        ({"utt1": True}, {}, r"judged: 3 of 4 utterances are missing \(first: utt2\); run judge"),
        ({"utt1": True}, {"llm": None}, "judge.json: not a JSON object with llm, prompt and resp"),
        ({"utt1": True}, {"responses": "0"}, "verdicts on other responses than those of .* now; r"),
    ],
)
def test_damaged_verdicts(experiment, verdicts, about, message):
    directory = experiment.system("audiollm", "A", 0.5)
    judged(directory, verdicts, **about)
    with pytest.raises(ValueError, match=message):
        check(experiment, directory)


def test_an_id_judged_twice(experiment):
    directory = experiment.system("audiollm", "A", 0.5)
    judged(directory, {"utt1": True})
    file = directory / "judge" / "judge.jsonl"
    file.write_text(2 * file.read_text())
    with pytest.raises(ValueError, match="line 2 is not .* an id of its own"):
        check(experiment, directory)


@pytest.mark.parametrize("line", ["{}", "[]", '{"id": "utt1", "response": 5}', '{"id": "utt1", '])
def test_damaged_responses(experiment, line):
    directory = experiment.system("audiollm", "A", 0.5)
    (directory / "responses.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match="line 1 is not a JSON object with id and response"):
        read_system(directory, ["test"])


def test_references_of_words(experiment):
    (experiment.data / "responses" / "response_ids").write_text("utt1 7 seven\n")
    with pytest.raises(ValueError, match="utt1: '7 seven' is not a row of numbers; rerun stage 7"):
        read_references(experiment.data / "responses")
