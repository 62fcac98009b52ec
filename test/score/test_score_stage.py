"""Stage 11 through its command line: from directories to the table, and what it refuses."""

import json
import socket

import numpy as np
import pytest
from tool_mains import imported_for_help
from written_runs import NO_PROCESS

from espnet_audiollm.bin.score import main
from espnet_audiollm.report import results_files

FIXED_KEYS = {
    "name",
    "label",
    "prompt_wer",
    "response_ppl",
    "response_ppl_ci95",
    "success_rate",
    "num_utts",
    "num_response_tokens",
}


def fails(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 1
    return capsys.readouterr().err


def test_the_table(experiment, capsys):
    experiment.all_systems()
    assert main(experiment.arguments()) == 0
    results = json.loads((experiment.output / "results.json").read_text())
    assert {k: results[k] for k in ("version", "recipe", "llm", "test_set")} == {
        "version": 1,
        "recipe": "toy",
        "llm": "tiny",
        "test_set": "test",
    }
    systems = results["systems"]
    assert [s["label"] for s in systems] == [
        "reference text",
        "cascade 20epoch",
        "cascade 5epoch",
        "AudioLLM, stack 2",
        "no prompt",
    ]
    assert all(FIXED_KEYS <= set(s) for s in systems)
    assert [s["response_ppl"] for s in systems] == pytest.approx([1.1, 2, 4, 1.5, 50])
    # 17 reference words
    assert [s["prompt_wer"] for s in systems] == [
        0.0,
        pytest.approx(100 / 17),
        pytest.approx(300 / 17),
        None,
        None,
    ]
    # of 4: "It is Rome." is wrong, "How nice" equals the reference once normalised
    assert [s["success_rate"] for s in systems] == [100, 100, 75, 100, 100]
    assert systems[2]["success_counts"] == {"successes": 3, "total": 4}
    assert {s["num_response_tokens"] for s in systems} == {15}
    assert {s["num_utts"] for s in systems} == {4}
    screen = capsys.readouterr().out
    assert (
        "17.6 [0.0, 40.9] (3/17)" in screen
        and "4.000 [4.000, 4.000]" in screen
        and "75.0 (3/4)" in screen
    )


def cascade(experiment, *more):
    """What results.json says of the cascade with three errors in the six words of utt1."""
    assert main([*experiment.arguments(), *more]) == 0
    systems = experiment.read()["systems"]
    return next(system for system in systems if system["label"] == "cascade 5epoch")


def test_word_error_rates_have_intervals_of_the_perplexitys_draws(experiment):
    experiment.all_systems()
    found = cascade(experiment)
    words, errors = np.array([6, 3, 4, 4]), np.array([3, 0, 0, 0])
    rng = np.random.default_rng(0)
    draws = np.stack([rng.integers(4, size=4) for _ in range(200)])
    rates = 100 * errors[draws].sum(1) / words[draws].sum(1)
    assert found["prompt_wer_ci95"] == pytest.approx(np.percentile(rates, [2.5, 97.5]).tolist())
    characters = found["character_errors"]
    low, high = characters["cer_ci95"]
    assert low == 0 < characters["cer"] < high
    reference = experiment.read()["systems"][0]
    assert reference["prompt_wer"] == 0 and reference["prompt_wer_ci95"] is None


def test_speakers_are_drawn_instead_of_utterances(experiment, put_table):
    """Of two, drawn twice: both, or one of them twice: 0 of 8, 3 of 17 or 6 of 18 words."""
    experiment.all_systems()
    two = {"utt1": "ann", "utt2": "ann", "utt3": "bob", "utt4": "bob"}
    put_table(experiment.data / "utt2spk", two)
    found = cascade(experiment, "--resample_by", "utt2spk")
    assert found["prompt_wer_ci95"] == pytest.approx([0, 100 * 6 / 18])
    assert experiment.read()["resample_by"] == "utt2spk"
    markdown = (experiment.output / "RESULTS.md").read_text()
    assert "17.6 [0.0, 33.3] (3/17)" in markdown and "the 2 values of utt2spk" in markdown
    put_table(experiment.root / "utt2room", dict.fromkeys(two, "hall"))
    found = cascade(experiment, "--resample_by", str(experiment.root / "utt2room"))
    assert found["prompt_wer_ci95"] == pytest.approx([found["prompt_wer"]] * 2)
    assert len(set(found["character_errors"]["cer_ci95"])) == 1


def test_what_cannot_be_drawn_by_is_refused(experiment, put_table, capsys):
    experiment.all_systems()
    assert "no such table" in fails(capsys, [*experiment.arguments(), "--resample_by", "utt2age"])
    put_table(experiment.data / "utt2age", {"utt1": "40", "utt4": "50"})
    message = fails(capsys, [*experiment.arguments(), "--resample_by", "utt2age"])
    assert "2 of 4 utterances" in message and "first: utt2" in message


def test_what_was_not_answered_is_no_success_and_is_named(experiment):
    experiment.all_systems()
    path = experiment.systems[-1] / "answers.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[2] |= {"response": "", "response_ids": [], "finish_reason": "context"}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(experiment.arguments()) == 0
    reference = experiment.read()["systems"][0]
    assert reference["success_counts"] == {"successes": 3, "total": 4}
    assert reference["diagnostics"]["unanswered"] == 1
    markdown = (experiment.output / "RESULTS.md").read_text()
    assert "reference text 1 (first: utt3)" in markdown


def test_the_reports(experiment):
    experiment.all_systems()
    run = experiment.root / "ctc"
    run.mkdir()
    (run / "train.log").write_text("INFO: 1epoch results: [train] loss=2.0, [valid] loss=3.0\n")
    (experiment.output / "images").mkdir(parents=True)
    killed = f"{socket.gethostname()}.{NO_PROCESS}.tmp"
    (experiment.output / f"images/.loss_curves.png.{killed}").touch()
    main(["--train_dirs", str(run), *experiment.arguments(), "--command", "./run.sh --x '<b>'"])
    markdown = (experiment.output / "RESULTS.md").read_text()
    assert markdown.startswith("# Results: toy\n\n```\n./run.sh --x '<b>'\n```\n")
    row = (
        "| cascade 5epoch | 17.6 [0.0, 40.9] (3/17) | 4.000 [4.000, 4.000] | 75.0 (3/4) | 4 | 15 |"
    )
    assert row in markdown
    assert "whole words" in markdown and "jiwer" in markdown and "git commit" in markdown
    assert "| cascade 5epoch | 0.0 (0/1) | 100.0 (1/1) |" in markdown  # by category: fact, spanish
    assert "2.667 (p = 0.010)" in markdown  # 4 / 1.5; all of 200 resamples on one side: 2 / 201
    images = {path.name for path in (experiment.output / "images").iterdir()}
    pictures = "ppl_vs_wer loss_ctc similarity_utt2 ppl_by_position".split()
    assert images == {f"{name}.png" for name in pictures}
    assert all(f"(images/{name})" in markdown for name in images)
    page = (experiment.output / "report.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 4
    assert "&lt;b&gt;" in page and "<b>" not in page


def browsed(experiment):
    """What the page's script is given."""
    page = (experiment.output / "report.html").read_text()
    return json.loads(page.split('id="data">')[1].split("</script>")[0])


def test_what_the_page_lists(experiment):
    experiment.all_systems()
    main(experiment.arguments())
    [listed] = browsed(experiment)
    assert [system["label"] for system in listed["systems"]][1:3] == [
        "cascade 20epoch",
        "cascade 5epoch",
    ]
    item = listed["utterances"][0]
    wanted = {"id": "utt1", "category": "fact", "seconds": 1.25, "tokens": 6, "accepted": ["Paris"]}
    assert {key: item[key] for key in wanted} == wanted
    answer = item["systems"][2]
    assert (answer["said"], answer["right"], answer["nats"]) == (
        "It is Rome.",
        False,
        8.3178,
    )  # 6 ln 4
    assert answer["hyp"][:2] == [["equal", "what is", "what is"], ["delete", "the", ""]]
    said, hyp = (
        " ".join(filter(None, side)) for side in list(zip(*answer["hyp"], strict=True))[1:]
    )
    assert (said, hyp) == ("what is the capital of france", "what is capital of romance now")
    assert listed["utterances"][1]["systems"][1]["hyp"] == [
        ["equal", "two plus", "two plus"],
        ["substitute", "three", "tree"],
    ]


def test_a_page_lists_so_many_and_no_more(experiment):
    experiment.system("cascade", "A", 1.0)
    far = {id: [3.0 if id == "utt3" else 1.0] * len(ids) for id, ids in experiment.ids.items()}
    experiment.system("audiollm", "B", far)
    main([*experiment.arguments(), "--listed", "2"])
    [listed] = browsed(experiment)
    assert (listed["total"], len(listed["utterances"])) == (4, 2)
    assert "utt3" in [item["id"] for item in listed["utterances"]]  # where they differ most


def test_two_test_sets(experiment, second_experiment):
    experiment.system("reference", "reference", 0.1)
    second_experiment.system("reference", "reference", 0.2)
    sets = ["--sets", str(second_experiment.data), str(experiment.data)]
    main([*experiment.arguments(), *sets])
    output = experiment.output
    assert json.loads((output / "results.json").read_text())["test_set"] == "test2"
    ppl = [
        json.loads((output / f"results.{name}.json").read_text())["systems"][0]["response_ppl"]
        for name in ("test", "test2")
    ]
    assert ppl == pytest.approx([2.718281828**0.1, 2.718281828**0.2])
    assert "## test\n" in (output / "RESULTS.md").read_text()
    assert (output / "images" / "ppl_vs_wer.test.png").is_file()


def sets_in(output):
    """{file: its test set} of the numbers that are there, and the sets of the utterances."""
    files = sorted(output.glob("results*.json"))
    utterances = sorted(path.name for path in output.glob("utterances.*"))
    return {path.name: json.loads(path.read_text())["test_set"] for path in files}, utterances


def test_numbers_of_sets_that_are_not_scored_any_more_are_removed(experiment, second_experiment):
    experiment.system("reference", "reference", 0.1)
    second_experiment.system("reference", "reference", 0.2)
    both = ["--sets", str(second_experiment.data), str(experiment.data)]
    main([*experiment.arguments(), *both])
    (experiment.output / "results.mine.json").write_text('{"test_set": "test"}')  # a copy
    main(experiment.arguments())
    found = {"results.json": "test", "results.mine.json": "test"}
    assert sets_in(experiment.output) == (found, ["utterances.test.npz"])


def test_a_scoring_that_is_killed_leaves_what_results_json_is_of(
    experiment, second_experiment, monkeypatch
):
    """Before the last file is written: the one there has its utterances still."""
    experiment.system("reference", "reference", 0.1)
    second_experiment.system("reference", "reference", 0.2)
    second = ["--sets", str(second_experiment.data)]
    main([*experiment.arguments(), *second])
    before = (experiment.output / "results.json").read_bytes()
    write = results_files.write_json

    def killed(path, *more, **how):
        if path.name == "results.json":
            raise KeyboardInterrupt
        write(path, *more, **how)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(results_files, "write_json", killed)
        main(experiment.arguments())
    assert (experiment.output / "results.json").read_bytes() == before
    assert (experiment.output / "utterances.test2.npz").is_file()
    main(experiment.arguments())
    assert sets_in(experiment.output) == ({"results.json": "test"}, ["utterances.test.npz"])


def test_systems_with_a_model_say_which_checkpoint_it_is(experiment):
    places = [
        experiment.system("cascade", "cascade", 0.5, model="ctc"),
        experiment.system("audiollm", "AudioLLM", 0.5, model="mini"),
        experiment.system("no_prompt", "no prompt", 3.0),
    ]
    for place in places:
        options = {"checkpoint": "5epoch.pth"}  # respond has the option for all systems
        (place / "inputs.json").write_text(json.dumps({"key": "k", "options": options}))
    experiment.system("audiollm", "AudioLLM, as it was once", 0.5, model="old")
    main(experiment.arguments())
    found = {each["label"]: each.get("checkpoint", "none") for each in experiment.read()["systems"]}
    said = {"cascade": "5epoch.pth", "AudioLLM": "5epoch.pth"}
    assert found == {**said, "no prompt": "none", "AudioLLM, as it was once": "none"}


def test_without_answers_success_is_null(experiment):
    (experiment.data / "answers").unlink()
    experiment.system("reference", "reference", 0.1)
    main(experiment.arguments())
    assert (
        json.loads((experiment.output / "results.json").read_text())["systems"][0]["success_rate"]
        is None
    )
    assert "Success was not judged" in (experiment.output / "RESULTS.md").read_text()


def _missing_id(e, put_table):
    put_table(e.systems[0] / "nats", {"utt1": "3 6", "utt2": "2 4", "utt3": "1.5 3"})


def _other_utterances(e, put_table):
    e.texts = {id: text for id, text in e.texts.items() if id != "utt4"}
    e.system("cascade", "B", 0.5)


def _other_tokens(e, put_table):
    e.ids["utt2"] = [7] * 5
    e.system("cascade", "B", 0.5)


def _nan(e, put_table):
    put_table(e.systems[0] / "nats", {"utt1": "nan 6"})


def _twice(e, put_table):
    (e.systems[0] / "nats").write_text("utt1 1 6\nutt1 1 6\n")


def _no_nats(e, put_table):
    (e.systems[0] / "nats").unlink()


def _bad_name(e, put_table):
    path = e.systems[0] / "run.json"
    path.write_text(path.read_text().replace('"cascade"', '"magic"'))


def _unfinished_store(e, put_table):
    (e.store / "response_ids").unlink()


def _empty_reference(e, put_table):
    put_table(e.data / "text", {"utt1": "a", "utt2": "b", "utt3": "", "utt4": "c"})
    put_table(e.systems[0] / "hyp", dict.fromkeys(("utt1", "utt2", "utt3", "utt4"), "a"))


def _hyp_missing(e, put_table):
    put_table(e.systems[0] / "hyp", {"utt1": "a"})


def _bad_json(e, put_table):
    (e.systems[0] / "answers.jsonl").write_text('{"id": "utt1", "resp')


def _uncategorised(e, put_table):
    put_table(e.data / "category", {"utt1": "sum"})


def _unknown_answer(e, put_table):
    put_table(e.data / "answers", {"utt1": "x", "uttX": "y"})


def _wordless_answer(e, put_table):
    put_table(e.data / "answers", {"utt1": "x | ?"})


def _no_data(e, put_table):
    e.data = e.root / "dump" / "nowhere"


@pytest.mark.parametrize(
    "spoil, message",
    [
        (_missing_id, "responses: 1 of 4 ids are unknown (first: utt4); rerun stage 10"),
        (_other_utterances, "(B): nats: 1 of 4 utterances are missing (first: utt4); rerun"),
        (
            _other_tokens,
            "(B): 1 of 4 utterances were not scored on the reference response tokens "
            "(first: utt2, 5 tokens, expected 4)",
        ),
        (_nan, "nats: utt1: 'nan 6' is not a finite number"),
        (_twice, "line 2: the id utt1 comes twice"),
        (_no_nats, "there is no nats; rerun stage 10"),
        (_bad_name, "the kind of system 'magic' is not one of reference, cascade"),
        (_unfinished_store, "there is no response_ids, so it is not complete; rerun stage 7"),
        (
            _empty_reference,
            "1 of 4 reference transcripts have no words once normalised (first: utt3)",
        ),
        (_hyp_missing, "(B): the hypotheses: 3 of 4 utterances are missing (first: utt2)"),
        (_bad_json, "answers.jsonl: line 1 is not an answer"),
        (_uncategorised, "category: 3 of 4 utterances are missing (first: utt2)"),
        (_unknown_answer, "answers: 1 of 2 ids are unknown (first: uttX)"),
        (_wordless_answer, "answers: utt1: an accepted answer without words in 'x | ?'"),
        (_no_data, "nowhere: there is no such data directory; run stages 1 and 2 first"),
    ],
)
def test_bad_input(experiment, put_table, capsys, spoil, message):
    experiment.system("cascade", "B", 0.5)
    experiment.system("reference", "A", 0.1)
    spoil(experiment, put_table)
    error = fails(capsys, experiment.arguments())
    assert message in error
    assert error.count("\n") == 1
    assert not (experiment.output / "RESULTS.md").exists()


@pytest.mark.parametrize(
    "more, message",
    [
        (["--references", "a", "b"], "1 --sets but 2 --references"),
        (["--success_rule", "bleu"], "no success rule is called bleu"),
        (["--normalizer", "xx"], "no normaliser 'xx'"),
        (["--runs", "nowhere"], "none of the 0 runs below nowhere is of this set and up to date"),
    ],
)
def test_bad_options(experiment, capsys, more, message):
    assert message in fails(capsys, [*experiment.arguments(), *more])


def test_two_sets_of_one_name(experiment, make_experiment, tmp_path, capsys):
    other = make_experiment(tmp_path / "other").data
    more = ["--sets", str(experiment.data), str(other)]
    assert "2 --sets have the same name" in fails(capsys, [*experiment.arguments(), *more])


def test_help_imports_nothing_heavy():
    assert imported_for_help("score", ["numpy", "jiwer", "matplotlib", "torch"]) == []


def test_success_is_compared_with_the_best_cascades(experiment, put_table, capsys):
    """The cascade of three right answers, not the one of two; one utterance tells them apart."""
    experiment.system("audiollm", "AudioLLM, frames", np.log(1.5))
    experiment.system("cascade", "cascade, beam 10", np.log(4.0), responses={"utt1": "Rome."})
    wrong = {"utt1": "Rome.", "utt3": "Bad."}
    experiment.system("cascade", "cascade, greedy", np.log(2.0), responses=wrong)
    assert main(experiment.arguments()) == 0
    (found,) = experiment.read()["success_against_best_cascade"]
    assert (found["label"], found["other"]) == ("AudioLLM, frames", "cascade, beam 10")
    assert (found["only_here"], found["only_there"], found["p_value"]) == (1, 0, 1.0)
    said = "100.0 % against 75.0 %: p = 1.000, 1 right only here, 0 only there"
    assert said in capsys.readouterr().out
    markdown = (experiment.output / "RESULTS.md").read_text()
    assert said in markdown and "McNemar" in markdown
    put_table(experiment.data / "utt2spk", dict.fromkeys(experiment.texts, "ann"))
    assert main([*experiment.arguments(), "--resample_by", "utt2spk"]) == 0
    (found,) = experiment.read()["success_against_best_cascade"]
    assert found["test"] == "bootstrap"
    assert "the 1 values of utt2spk" in (experiment.output / "RESULTS.md").read_text()
