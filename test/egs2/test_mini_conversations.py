"""The mini recipe's conversations, from espeak to the report, cut down."""

import json

import pytest

CATEGORIES = {"translation", "summary", "rare_word", "switching"}
SYSTEMS = {
    "text": "exp/text/converse_abilities/text",
    "cascade": "exp/ctc_test_bpe120/converse_abilities/cascade_valid.loss.ave",
    "audiollm": "exp/audiollm_test/converse_abilities/valid.loss.ave",
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_answers_with_context_and_without(mini_run, name):
    directory = mini_run.recipe / SYSTEMS[name]
    about = json.loads((directory / "system.json").read_text())
    assert (about["name"], about["set"]) == (name, "abilities")
    answers = [json.loads(line) for line in (directory / "answers.jsonl").open()]
    assert len(answers) == 8 and {answer["category"] for answer in answers} == CATEGORIES
    for answer in answers:
        assert set(answer["answers"]) == {"full", "none"}
        spoken = [turn for turn in answer["answers"]["full"]["turns"] if "audio" in turn]
        assert spoken and all(("hyp" in turn) == (name == "cascade") for turn in spoken)
        assert all(turn["text"] is not None for turn in answer["answers"]["full"]["turns"])


def test_the_results_have_them_by_category(mini_run):
    (found,) = json.loads((mini_run.recipe / "exp/results.json").read_text())["conversations"]
    assert found["set"] == "abilities"
    assert [system["name"] for system in found["systems"]] == ["text", "cascade", "audiollm"]
    for system in found["systems"]:
        assert set(system["groups"]) == CATEGORIES | {"all"}
        whole = system["groups"]["all"]
        assert whole["full"]["num_conversations"] == 8
        assert 0 <= whole["p_ppl_context"] <= 1 and whole["none"]["response_ppl"] >= 1
    report = (mini_run.recipe / "exp/RESULTS.md").read_text()
    assert "## Conversations: abilities" in report and "AudioLLM, audiollm_test" in report
