"""The mini recipe's conversations, from espeak to the report, cut down."""

import json

import pytest

from espnet_audiollm.data.kaldi_dir import read_dict
from espnet_audiollm.store.runs import CONTEXTS, LAST_TURN, read_run

CATEGORIES = {"translation", "summary", "rare_word", "switching"}
SYSTEMS = {
    "reference": "exp/text/respond_abilities/reference",
    "cascade": "exp/ctc_test_llm_llm_120/respond_abilities/cascade_valid.loss.ave",
    "audiollm": "exp/audiollm_test/respond_abilities/valid.loss.ave",
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_answers_with_context_and_without(mini_run, name):
    directory = mini_run.recipe / SYSTEMS[name]
    for place, context in zip((directory, directory / LAST_TURN), CONTEXTS, strict=True):
        run = read_run(place)
        assert (run.info.kind, run.info.set, run.info.context) == (name, "abilities", context)
        assert len(run.responses) == 8
    full = read_run(directory)
    assert {id_.rsplit("-", 1)[0] for id_ in full.responses} == CATEGORIES
    spoken = {
        f"{id_}:{number}"
        for id_, turns in full.turns.items()
        for number, turn in enumerate(turns, 1)
        if "audio" in turn
    }
    assert all(turn["text"] is not None for turns in full.turns.values() for turn in turns)
    if name == "cascade":
        decoded = "exp/ctc_test_llm_llm_120/decode_valid.loss.ave_abilities/hyp"
        assert full.hyp == read_dict(mini_run.recipe / decoded) and set(full.hyp) == spoken


def test_the_results_have_them(mini_run):
    found = json.loads((mini_run.recipe / "exp/results.json").read_text())["conversations"]
    assert [row["name"] for row in found] == list(SYSTEMS)
    for row in found:
        assert (row["set"], row["num_dialogues"]) == ("abilities", 8)
        assert 0 <= row["success_rate"] <= 100 and row["response_ppl"] >= 1
    report = (mini_run.recipe / "exp/RESULTS.md").read_text()
    assert "abilities" in report and "AudioLLM, 4 frames a position" in report
