"""Runs are found by what their run.json say, and put beside each other in one table."""

import pytest

from espnet_audiollm.bin.score import main
from espnet_audiollm.score.find import find
from espnet_audiollm.score.test_set import read_test_set


def labels(experiment, *roots):
    (found,) = find(roots or [experiment.output], [read_test_set(experiment.data)])
    return [run.info.label for run in found.runs]


def test_runs_of_other_sets_are_ignored(experiment, second_experiment, capsys):
    experiment.system("reference", "reference text", 0.1)
    second_experiment.system("cascade", "B", 0.2)
    assert labels(experiment) == ["reference text"]
    assert labels(second_experiment) == ["B"]
    assert capsys.readouterr().err == ""


def test_a_run_may_be_given_twice_and_by_itself(experiment):
    cascade = experiment.system("cascade", "B", 0.5)
    experiment.system("cascade", "C", 0.5)
    assert labels(experiment, cascade) == ["B"]
    assert labels(experiment, cascade, experiment.output) == ["B", "C"]


@pytest.mark.parametrize(
    "about, reason",
    [
        ({"fingerprint": "g"}, "another LLM"),
        ({"chat_template_hash": "u"}, "another chat template"),
        ({"system_prompt": "Be brief."}, "another system prompt"),
        ({}, "measured on other reference responses"),
    ],
)
def test_runs_that_are_not_up_to_date_are_left_out(experiment, capsys, about, reason):
    first = experiment.system("cascade", "B", 0.5)
    experiment.system("cascade", "C", 0.5)
    experiment.ids["utt1"] = [9] * 6
    experiment.write_store(**about)
    experiment.system("cascade", "new", 0.5)
    assert labels(experiment) == ["new"]
    error = capsys.readouterr().err
    assert f"2 of 3 runs are not up to date and left out (first: {first}: {reason}" in error
    assert error.endswith("; rerun stage 10\n") and error.count("\n") == 1


def test_a_set_without_a_run(experiment, capsys):
    experiment.system("cascade", "B", 0.5)
    experiment.ids["utt1"] = [9] * 6
    experiment.write_store()
    with pytest.raises(ValueError, match="test: none of the 1 runs below .* run stage 10 first"):
        labels(experiment)


def test_equal_labels_get_the_model_then_the_directory(experiment):
    """Two encoders with one adapter; of the larger one two checkpoints."""
    for name, model in (("18", "layers18"), ("36", "layers36"), ("36_ave", "layers36")):
        directory = experiment.system("audiollm", name, 0.5, model=model)
        path = directory / "run.json"
        path.write_text(path.read_text().replace(f'"label": "{name}"', '"label": "AudioLLM"'))
    experiment.system("cascade", "cascade", 0.5, model="ctc")
    assert labels(experiment) == [
        "AudioLLM (layers18)",
        "AudioLLM (36)",
        "AudioLLM (36_ave)",
        "cascade",
    ]


def test_a_label_is_the_same_in_all_sets(experiment, second_experiment):
    """A second encoder was measured on the first set only."""
    for each, model in ((experiment, "a"), (experiment, "b"), (second_experiment, "a")):
        directory = each.system("audiollm", model, 0.5, model=model)
        path = directory / "run.json"
        path.write_text(path.read_text().replace(f'"label": "{model}"', '"label": "AudioLLM"'))
    sets = [read_test_set(each.data) for each in (experiment, second_experiment)]
    first, second = find([experiment.output], sets)
    assert [run.info.label for run in first.runs] == ["AudioLLM (a)", "AudioLLM (b)"]
    assert [run.info.label for run in second.runs] == ["AudioLLM (a)"]


def test_kinds_in_their_order_and_cascades_by_word_error_rate(experiment):
    experiment.all_systems()
    main(experiment.arguments())
    assert [(s["name"], s["label"]) for s in experiment.read()["systems"]] == [
        ("reference", "reference text"),
        ("cascade", "cascade 20epoch"),
        ("cascade", "cascade 5epoch"),
        ("audiollm", "AudioLLM, stack 2"),
        ("no_prompt", "no prompt"),
    ]
