"""What stage 10 left is read completely, or refused with a sentence."""

import json

import numpy as np
import pytest

from espnet_audiollm.score.alignment import NAMES
from espnet_audiollm.score.test_set import check_run, read_references, read_test_set
from espnet_audiollm.store.runs import read_run, responses_hash, write_judged
from espnet_audiollm.store.series import read_series

TOKEN_NATS = {  # 0.5 nats a token
    "utt1": "0.4 0.6 0.5 0.5 0.1 0.9",
    "utt2": "2.0 0.0 0.0 0.0",
    "utt3": "0.5 0.5 0.5",
    "utt4": "1.000000 -0.000000",
}


def check(experiment, directory):
    run = read_run(directory)
    check_run(run, read_test_set(experiment.data))
    return run


def test_token_nats(experiment, put_table):
    directory = experiment.system("audiollm", "A", 0.5)
    put_table(directory / "token_nats", TOKEN_NATS)
    run = check(experiment, directory)
    assert run.token_nats["utt1"].tolist() == [0.4, 0.6, 0.5, 0.5, 0.1, 0.9]
    assert {id: len(nats) for id, nats in run.token_nats.items()} == run.tokens


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


def test_similarity(experiment):
    numbers = dict.fromkeys(NAMES, 0.5)
    directory = experiment.system("audiollm", "A", 0.5, recordings={"utt1": numbers})
    run = check(experiment, directory)
    assert run.similarity.ids == ("utt1",)  # others had no transcript
    assert run.similarity.columns["path"].tolist() == [0.5]
    table = directory / "similarity"
    table.write_text(f"utt7 {json.dumps(numbers)}\n")
    with pytest.raises(ValueError, match=r"similarity: 1 of 1 ids are unknown \(first: utt7\)"):
        check(experiment, directory)
    for bad in ("", "[]", "{", '{"path": 1}', json.dumps({**numbers, "path": float("nan")})):
        table.write_text(f"utt1 {json.dumps(numbers)}\nutt2 {bad}\n")
        with pytest.raises(ValueError, match="similarity: utt2: not a JSON object .*rerun"):
            check(experiment, directory)


def judge(directory, verdicts, **about):
    about = {"llm": "L", "prompt": "P", "responses": responses_hash(directory), **about}
    records = ({"id": id, "verdict": v, "reply": ""} for id, v in verdicts.items())
    write_judged(directory / "judge", about, records)


def test_verdicts(experiment):
    directory = experiment.system("audiollm", "A", 0.5)
    assert check(experiment, directory).judged is None
    judge(directory, {"utt1": True, "utt2": None, "utt3": False, "utt4": True})
    judged = check(experiment, directory).judged
    assert judged.successes == {"utt1": True, "utt2": False, "utt3": False, "utt4": True}
    assert (judged.unparsable, judged.llm) == (1, "L")


@pytest.mark.parametrize(
    "verdicts, about, message",
    [
        ({"utt1": "yes"}, {}, "judge.jsonl: line 1 is not a JSON object with an id of its own"),
        ({"utt1": True}, {}, r"judge: 3 of 4 utterances are missing \(first: utt2\); run judge"),
        ({"utt1": True}, {"llm": None}, "judge.json: not a JSON object with llm, prompt and resp"),
        ({"utt1": True}, {"responses": "0"}, "verdicts on other responses than those of .* now; r"),
    ],
)
def test_damaged_verdicts(experiment, verdicts, about, message):
    directory = experiment.system("audiollm", "A", 0.5)
    judge(directory, verdicts, **about)
    with pytest.raises(ValueError, match=message):
        check(experiment, directory)


def test_an_id_judged_twice(experiment):
    directory = experiment.system("audiollm", "A", 0.5)
    judge(directory, {"utt1": True})
    file = directory / "judge" / "judge.jsonl"
    file.write_text(2 * file.read_text())
    with pytest.raises(ValueError, match="line 2 is not .* an id of its own"):
        check(experiment, directory)


@pytest.mark.parametrize("line", ["{}", "[]", '{"id": "utt1", "response": 5}', '{"id": "utt1", '])
def test_damaged_answers(experiment, line):
    directory = experiment.system("audiollm", "A", 0.5)
    (directory / "answers.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match="line 1 is not an answer .*; rerun stage 10"):
        read_run(directory)


def test_references_of_words(experiment):
    (experiment.store / "response_ids").write_text("utt1 7 seven\n")
    with pytest.raises(ValueError, match="utt1: '7 seven' is not a row of numbers; rerun stage 7"):
        read_references(experiment.store)


def test_references_without_tokens(experiment):
    experiment.ids["utt2"] = []
    experiment.write_store()
    with pytest.raises(ValueError, match=r"1 of 4 responses in .* have no token \(first: utt2\)"):
        read_references(experiment.store)
