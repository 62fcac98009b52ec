"""The comparison of systems of one LLM: what it says by hand, and what it refuses."""

import json
import math

import pytest
from tool_mains import main_of, run_main

from espnet_audiollm.score.systems import chosen_questions
from espnet_audiollm.store.training_cost import TrainingCost, parse_log, read_cost, write_cost

LOG = """
    Number of trainable parameters: 2.99 M (100.0%)
# end: 2026-11-28 11:40:47 +0000 (after 821 s)
"""


@pytest.fixture
def compare(experiment, root, capfd):
    """Runs the command on runs of the experiment."""

    def run(*runs, data=None):
        words = [*runs, "--data", data or experiment.data, "--measure", 0, "--resamples", 200]
        words += ["--output", experiment.root / "out"]
        return run_main(main_of(root, "compare_systems"), words, capfd)

    return run


@pytest.fixture
def systems(experiment):
    """Four right answers of 2 nats a token; three of 1 nat; two of 3 nats, by a speech LM."""
    wrong = {"utt1": "Rome.", "utt2": "six"}
    return [
        experiment.system("reference", "reference text", 0.1),
        experiment.system("cascade", "cascade", 2.0, responses={"utt4": "perro"}),
        experiment.system("audiollm", "AudioLLM", 1.0),
        experiment.system("speechlm", "AudioPaLM-style", 3.0, responses=wrong),
    ]


def spoken(run):
    """Answers of bin/respond_tasks above a run, one block of them judged."""
    block = "s.asr_sqa_sqsa_english"
    place = run.parent / block
    (place / "reference").mkdir(parents=True)
    for name in ("text", "answer"):
        for where in (place, place / "reference"):
            (where / name).write_text("utt1 a\n")
    (place / "faults").write_text("")
    judged = place / "judged/answer_audio"
    judged.mkdir(parents=True)
    found = {
        name: {
            "utterances": 4, "errors": 1, "reference_words": 4, "wer": 25.0, "wer_ci95": [0, 50],
            "asr_bleu": 1.0, "asr_bleu_ci95": [0, 2],
            "success": {"count": count, "rate": 25.0 * count, "ci95": [0.0, 100.0]},
        }
        for name, count in (("answered", 2), ("true", 4), ("shuffled", 0), ("units", 3))
    }  # fmt: skip
    (judged / "speech.json").write_text(json.dumps(found))
    about = [{"name": block, "tag": "[ASR SQA SQSA English]", "size": 1}]
    (run.parent / "replies.json").write_text(json.dumps({"llm": "x", "blocks": about}))


def test_systems_stand_against_the_cascade(experiment, systems, compare):
    spoken(systems[3])
    done = compare(*systems)
    done.says("AudioPaLM-style", "50.0 [0.0, 100.0] (2/4)", "100.0", "--measure 20 does")
    found = json.loads((experiment.root / "out/comparison.json").read_text())["systems"]
    assert [each["name"] for each in found] == ["reference", "cascade", "audiollm", "speechlm"]
    reference, cascade, audio, speech = found
    assert cascade["against"] is None
    assert audio["against"]["ppl_ratio"] == pytest.approx(math.e**-1)
    assert audio["against"]["success_points"] == pytest.approx(25.0)
    assert speech["response_ppl"] == pytest.approx(math.e**3)
    assert speech["against"]["ppl_ratio_ci95"] == pytest.approx([math.e, math.e])
    # only one is wrong in two, only one right in one: no difference that four utterances could show
    assert speech["against"]["success_points"] == pytest.approx(-25.0)
    assert speech["against"]["success_p"] == 1.0
    page = (experiment.root / "out/comparison.html").read_text()
    assert "AudioPaLM-style" in page and "AudioPaLM-style" in done.out


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ({"llm_fingerprint": "g"}, ["another LLM", "rerun stage 10"]),
        ({"set": "other"}, ["is of the test set other", "compare runs of one test set"]),
        ({"context": "last_turn"}, ["last turns only", "give the run above it"]),
    ],
)
def test_another_llm_or_test_set_is_refused(experiment, systems, compare, about, says):
    path = systems[2] / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | about))
    compare(*systems).fails(str(systems[2]), *says)


def test_other_responses_are_refused_by_the_first_that_differs(experiment, systems, compare):
    experiment.ids["utt2"] = [7] * 5
    experiment.write_store()
    compare(*systems).fails("other reference responses", "first: utt2, 4 tokens, expected 5")
    experiment.ids["utt2"] = [9] * 4  # as many, others
    experiment.write_store()
    compare(*systems).fails(str(systems[0]), "other reference responses", "rerun stage 10")


def test_a_training_says_what_it_cost(tmp_path):
    assert read_cost(tmp_path) is None
    (tmp_path / "train.log").write_text(LOG)
    assert read_cost(tmp_path) == parse_log(LOG) == TrainingCost(821.0, 2_990_000, 0)
    write_cost(tmp_path, TrainingCost(12.5, 7, 2**30))
    assert read_cost(tmp_path) == TrainingCost(12.5, 7, 2**30)
    (tmp_path / "cost.json").write_text("{}")
    with pytest.raises(ValueError, match="3 fields are wrong"):
        read_cost(tmp_path)


def test_questions_are_spread_over_the_set():
    assert chosen_questions("abcdefgh", 3) == ["a", "c", "f"]
    assert chosen_questions("ab", 5) == ["a", "b"]
