"""Stage 11 through its command line: from directories to the table, and what it refuses."""

import json
import subprocess
import sys

import pytest

from espnet_audiollm.bin.score import main

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
    # 17 reference words; the hypotheses decide, not the 99 % of system.json
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
    assert "17.6 (3/17)" in screen and "4.000 [4.000, 4.000]" in screen and "75.0 (3/4)" in screen


def test_the_reports(experiment):
    experiment.all_systems()
    run = experiment.root / "ctc"
    run.mkdir()
    (run / "train.log").write_text("INFO: 1epoch results: [train] loss=2.0, [valid] loss=3.0\n")
    (experiment.output / "images").mkdir(parents=True)
    (experiment.output / "images/.loss_curves.png.17.tmp").touch()  # of a run that was killed
    main(["--train_dirs", str(run), *experiment.arguments(), "--command", "./run.sh --x '<b>'"])
    markdown = (experiment.output / "RESULTS.md").read_text()
    assert markdown.startswith("# Results: toy\n\n```\n./run.sh --x '<b>'\n```\n")
    row = "| cascade 5epoch | 17.6 (3/17) | 4.000 [4.000, 4.000] | 75.0 (3/4) | 4 | 15 |"
    assert row in markdown
    assert "whole words" in markdown and "jiwer" in markdown and "git commit" in markdown
    assert "| cascade 5epoch | 0.0 (0/1) | 100.0 (1/1) |" in markdown  # by category: fact, spanish
    assert "2.667 (p = 0.010)" in markdown  # 4 / 1.5; all of 200 resamples on one side: 2 / 201
    images = {path.name for path in (experiment.output / "images").iterdir()}
    assert images == {"ppl_vs_wer.png", "loss_ctc.png", "similarity_utt2.png"}
    assert all(f"(images/{name})" in markdown for name in images)
    page = (experiment.output / "report.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 3
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
    assert answer["heard"][:2] == [["equal", "what is", "what is"], ["delete", "the", ""]]
    said, heard = (
        " ".join(filter(None, side)) for side in list(zip(*answer["heard"], strict=True))[1:]
    )
    assert (said, heard) == ("what is the capital of france", "what is capital of romance now")
    assert listed["utterances"][1]["systems"][1]["heard"] == [
        ["equal", "two plus", "two plus"],
        ["substitute", "three", "tree"],
    ]


def test_a_page_lists_so_many_and_no_more(experiment):
    experiment.system("cascade", "A", 1.0)
    far = experiment.system("audiollm", "B", 1.0)
    table = (far / "nats").read_text().replace("utt3 3.0", "utt3 9.0")
    (far / "nats").write_text(table)
    main([*experiment.arguments(), "--listed", "2"])
    [listed] = browsed(experiment)
    assert (listed["total"], len(listed["utterances"])) == (4, 2)
    assert "utt3" in [item["id"] for item in listed["utterances"]]  # where they differ most


def test_two_test_sets(experiment, second_experiment):
    experiment.system("reference", "reference", 0.1)
    second_experiment.system("reference", "reference", 0.2)
    main(
        [
            "--data",
            str(second_experiment.data),
            *experiment.arguments(),
            *map(str, second_experiment.systems),
        ]
    )
    output = experiment.output
    assert json.loads((output / "results.json").read_text())["test_set"] == "test2"
    ppl = [
        json.loads((output / f"results.{name}.json").read_text())["systems"][0]["response_ppl"]
        for name in ("test", "test2")
    ]
    assert ppl == pytest.approx([2.718281828**0.1, 2.718281828**0.2])
    assert "## test\n" in (output / "RESULTS.md").read_text()
    assert (output / "images" / "ppl_vs_wer.test.png").is_file()


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
    put_table(e.systems[0] / "nats", {"utt1": "1 6", "utt2": "1 4", "utt3": "1 3"})


def _unknown_id(e, put_table):
    with open(e.systems[0] / "nats", "a") as out:
        out.write("utt9 1.0 2\n")


def _other_tokens(e, put_table):
    put_table(e.systems[0] / "nats", {"utt1": "1 6", "utt2": "1 5", "utt3": "1 3", "utt4": "1 1"})


def _nan(e, put_table):
    put_table(e.systems[0] / "nats", {"utt1": "nan 6"})


def _twice(e, put_table):
    (e.systems[0] / "nats").write_text("utt1 1 6\nutt1 1 6\n")


def _no_nats(e, put_table):
    (e.systems[0] / "nats").unlink()


def _bad_name(e, put_table):
    (e.systems[0] / "system.json").write_text('{"name": "magic", "label": "x"}')


def _unfinished_store(e, put_table):
    (e.data / "responses" / "response_ids").unlink()


def _empty_reference(e, put_table):
    put_table(e.data / "text", {"utt1": "a", "utt2": "b", "utt3": "", "utt4": "c"})
    put_table(e.systems[0] / "hyp", dict.fromkeys(("utt1", "utt2", "utt3", "utt4"), "a"))


def _hyp_missing(e, put_table):
    put_table(e.systems[0] / "hyp", {"utt1": "a"})


def _bad_json(e, put_table):
    (e.systems[0] / "responses.jsonl").write_text('{"id": "utt1", "resp')


def _uncategorised(e, put_table):
    put_table(e.data / "category", {"utt1": "sum"})


def _unknown_answer(e, put_table):
    put_table(e.data / "answers", {"utt1": "x", "uttX": "y"})


def _no_data(e, put_table):
    e.data = e.root / "dump" / "nowhere"


@pytest.mark.parametrize(
    "spoil, message",
    [
        (_missing_id, "(B): nats: 1 of 4 utterances are missing (first: utt4); rerun stage 10"),
        (_unknown_id, "(B): nats: 1 of 5 ids are unknown (first: utt9); rerun stage 10"),
        (
            _other_tokens,
            "(B): 2 of 4 utterances were not scored on the reference response tokens "
            "(first: utt2, 5 tokens, expected 4)",
        ),
        (_nan, "nats: utt1: 'nan 6' is not a finite number"),
        (_twice, "line 2: the id utt1 comes twice"),
        (_no_nats, "there is no nats; rerun stage 10"),
        (_bad_name, "system.json: not a JSON object with a name (reference, cascade"),
        (_unfinished_store, "there is no response_ids, so it is not whole; rerun stage 7"),
        (
            _empty_reference,
            "1 of 4 reference transcripts have no words once normalised (first: utt3)",
        ),
        (_hyp_missing, "(B): the hypotheses: 3 of 4 utterances are missing (first: utt2)"),
        (_bad_json, "responses.jsonl: line 1 is not a JSON object"),
        (_uncategorised, "category: 3 of 4 utterances are missing (first: utt2)"),
        (_unknown_answer, "answers: 1 of 2 ids are unknown (first: uttX)"),
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


def test_same_label_twice(experiment, capsys):
    experiment.system("cascade", "B 1", 0.5)
    experiment.system("cascade", "B_2", 0.5)
    for directory in experiment.systems:
        (directory / "system.json").write_text('{"name": "cascade", "label": "same"}')
    assert "same label (first: same)" in fails(capsys, experiment.arguments())


def test_a_system_of_another_test_set(experiment, capsys):
    directory = experiment.system("cascade", "B", 0.5)
    about = {"name": "cascade", "label": "B", "test_set": "dev"}
    (directory / "system.json").write_text(json.dumps(about))
    assert "its test set is dev, not test" in fails(capsys, experiment.arguments())


def test_help_imports_nothing_heavy():
    code = (
        "import sys, espnet_audiollm.bin.score as s; s.get_parser().format_help(); "
        "print([m for m in ('numpy', 'jiwer', 'matplotlib', 'torch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
