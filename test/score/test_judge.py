"""bin/judge with an LLM that was taught three replies, on runs as stage 10 leaves them."""

import json
import re

import pytest
import torch
from chat_llms import llama2_trained, tiny_llama
from written_runs import write_run, write_store

from espnet_audiollm.bin import judge, score
from espnet_audiollm.data.prompt import encode, reply_ids
from espnet_audiollm.infer import judge as asking
from espnet_audiollm.infer.judge import PROMPT, Case, prompt, verdict
from espnet_audiollm.store.runs import read_run, responses_hash, write_judged

RESPONSES = {  # those of conftest.py
    "utt1": "The capital is Paris.",
    "utt2": "It is 5.",
    "utt3": "How nice!",
    "utt4": "Gato.",
}
WRONG = {**RESPONSES, "utt1": "It is Rome.", "utt3": "", "utt4": "Perro."}
CASES = [  # what is asked, and what the judge was taught to reply
    (Case("utt1", "what is the capital of france", "Paris", "The capital is Paris."), "yes"),
    (Case("utt2", "two plus three", "five or 5", "It is 5."), "Yes."),
    (Case("utt3", "i walked home today", "How nice!", "How nice!"), "yes"),
    (Case("utt4", "translate cat into spanish", "gato or el gato", "Gato."), "yes"),
    (Case("utt1", "what is the capital of france", "Paris", "It is Rome."), "no"),
    (Case("utt3", "i walked home today", "How nice!", ""), "No"),
    (Case("utt4", "translate cat into spanish", "gato or el gato", "Perro."), "hm"),
]


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    """A tiny Llama that has learnt these replies by heart."""
    directory = tmp_path_factory.mktemp("judge")
    tokenizer = llama2_trained()
    model = tiny_llama(len(tokenizer)).requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    asked = [encode(prompt(case), tokenizer) for case, _ in CASES]
    taught = [reply_ids(prompt(case), reply, tokenizer) for case, reply in CASES]
    longest = max(len(p) + len(r) for p, r in zip(asked, taught, strict=True))
    ids, labels = torch.zeros(len(CASES), longest, dtype=int), torch.full((7, longest), -100)
    for row, (p, r) in enumerate(zip(asked, taught, strict=True)):
        ids[row, : len(p) + len(r)] = torch.tensor(p + r)
        labels[row, len(p) : len(p) + len(r)] = torch.tensor(r)
    for _ in range(400):
        loss = model(ids, labels=labels).loss
        if loss.item() < 0.01:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def run(experiment, llm, *more):
    return judge.main(["--llm", str(llm), *experiment.where(), *more])


def contents(directory):
    return {path.name: path.read_bytes() for path in (directory / "judge").iterdir()}


def test_verdicts_of_two_systems(experiment, llm, capsys):
    good = experiment.system("reference", "reference text", 0.1)
    poor = experiment.system("audiollm", "A", 0.5, responses=WRONG)
    assert run(experiment, llm, "--batch_size", "3") == 0
    assert read_run(good).judged.successes == dict.fromkeys(RESPONSES, True)
    judged = read_run(poor).judged
    assert judged.verdicts == {"utt1": False, "utt2": True, "utt3": False, "utt4": None}
    assert judged.successes["utt4"] is False and judged.unparsable == 1
    assert (judged.llm, judged.prompt) == (str(llm), PROMPT)
    lines = (poor / "judge" / "judge.jsonl").read_text().splitlines()
    assert json.loads(lines[3]) == {"id": "utt4", "verdict": None, "reply": "hm"}
    assert "A: 4 responses: 1 yes, 2 no, 1 not parsable" in capsys.readouterr().out
    assert sorted(contents(poor)) == ["inputs.json", "judge.json", "judge.jsonl"]


def verdicts_of(directory, llm, question, *verdicts):
    """What a judge leaves: a verdict of each response."""
    about = {"llm": llm, "prompt": question, "responses": responses_hash(directory)}
    pairs = zip(RESPONSES, verdicts, strict=True)
    records = [{"id": id, "verdict": verdict, "reply": ""} for id, verdict in pairs]
    write_judged(directory / "judge", about, records)


def test_replies_that_say_nothing_are_counted_over_all_systems(experiment):
    first = experiment.system("reference", "reference text", 0.1)
    second = experiment.system("audiollm", "A", 0.5)
    third = experiment.system("audiollm", "B", 0.6)
    verdicts_of(first, "judge", "Is {it} right?", None, None, True, True)
    verdicts_of(second, "judge", "Is {it} right?", True, None, False, True)
    verdicts_of(third, "judge", "Does {it} help?", True, True, True, True)
    assert score.main(experiment.arguments()) == 0
    markdown = (experiment.output / "RESULTS.md").read_text()
    said = re.findall(r"neither yes nor no (\d+) times .*?“(.*?)”", markdown)
    assert said == [("3", "Is {it} right?"), ("0", "Does {it} help?")]


def test_a_second_run_asks_nothing(experiment, llm, monkeypatch):
    directory = experiment.system("audiollm", "A", 0.5)
    run(experiment, llm)
    before = contents(directory)
    monkeypatch.setattr(judge, "_load", None)
    run(experiment, llm)
    assert contents(directory) == before


def test_a_stopped_run_goes_on(experiment, llm, monkeypatch):
    directory = experiment.system("audiollm", "A", 0.5, responses=WRONG)
    run(experiment, llm, "--batch_size", "1")
    complete = contents(directory)
    for path in (directory / "judge").iterdir():
        path.unlink()
    asked, ask = [], asking.verdicts

    def stopping(llm, batch, **how):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.extend(case.id for case in batch)
        return ask(llm, batch, **how)

    monkeypatch.setattr(asking, "verdicts", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(experiment, llm, "--batch_size", "1")
    assert not (directory / "judge" / "judge.jsonl").exists()
    assert read_run(directory).judged is None
    monkeypatch.setattr(
        asking, "verdicts", lambda llm, batch, **how: asked.append("rest") or ask(llm, batch, **how)
    )
    run(experiment, llm, "--batch_size", "1")
    assert asked == ["utt1", "utt2", "rest", "rest"]
    assert contents(directory) == complete


def test_other_responses_are_judged_anew(experiment, llm):
    experiment.system("audiollm", "A", 0.5)
    run(experiment, llm)
    directory = experiment.system("audiollm", "A", 0.5, responses=WRONG)
    with pytest.raises(ValueError, match="verdicts on other responses"):
        read_run(directory)
    run(experiment, llm)
    assert read_run(directory).judged.successes["utt1"] is False


def test_a_dialogue_of_several_turns_is_shown_with_its_turns(tmp_path, llm, monkeypatch):
    line = {
        "id": "d1",
        "category": "where",
        "turns": [
            {"role": "user", "text": "hello"},
            {"role": "assistant"},
            {"role": "user", "text": "where is it"},
        ],
        "expected": ["Paris", "in Paris"],
    }
    (tmp_path / "talks.jsonl").write_text(json.dumps(line) + "\n")
    write_store(tmp_path / "store", {"d1": ("Paris.", [5, 2])})
    said = [{"role": "user", "text": "hello"}, {"role": "assistant", "text": "hi"}]
    said.append({"role": "user", "text": "where is it"})
    answers = {"d1": ("Rome.", [4], [1.0, 1.0], said)}
    write_run(tmp_path / "run", "audiollm", "A", tmp_path / "store", answers, set="talks")
    asked, ask = [], asking.verdicts
    monkeypatch.setattr(
        asking, "verdicts", lambda llm, b, **how: asked.extend(b) or ask(llm, b, **how)
    )
    places = ["--references", str(tmp_path / "store"), "--runs", str(tmp_path)]
    judge.main(["--llm", str(llm), "--sets", str(tmp_path / "talks.jsonl"), *places])
    question = "\nuser: hello\nassistant: hi\nuser: where is it"
    assert asked == [Case("d1", question, "Paris or in Paris", "Rome.")]
    assert set(read_run(tmp_path / "run").judged.verdicts) == {"d1"}


@pytest.mark.parametrize(
    "reply, expected",
    [
        ("yes", True),
        ("Yes, it does.", True),
        ("No.", False),
        ("the answer is no", False),
        ("yes and no", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_replies(reply, expected):
    assert verdict(reply) is expected


def test_refusals(experiment, llm, capsys, put_table):
    directory = experiment.system("audiollm", "A", 0.5)
    put_table(experiment.data / "text", {"utt1": "hello"})
    for more, message in (
        ((), "text: 3 of 4 utterances are missing (first: utt2); prepare and format"),
        (("--batch_size", "0"), "--batch_size 0 is not positive"),
        (("--references", "nowhere"), "nowhere is not a response store"),
    ):
        with pytest.raises(SystemExit):
            run(experiment, llm, *more)
        assert message in capsys.readouterr().err
    (experiment.data / "text").unlink()
    with pytest.raises(SystemExit):
        run(experiment, llm)
    assert "test: there is no text; run stages 1 and 2 first" in capsys.readouterr().err
    assert not (directory / "judge").exists()
