"""Experiments beside each other: which numbers, which differences, and what is refused."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from espnet_audiollm.bin.compare import main
from espnet_audiollm.bin.score import main as score
from espnet_audiollm.score.comparison.experiments import Experiment
from espnet_audiollm.score.comparison.kept import Kept
from espnet_audiollm.score.comparison.pairs import Comparison


@pytest.fixture
def two(tmp_path, make_experiment):
    """Two experiments on one test set, with a cascade and an AudioLLM each; their directories."""
    made = {}
    for name, nats, label in (("old", 1.0, "AudioLLM, small"), ("new", 0.5, "AudioLLM, large")):
        experiment = make_experiment(tmp_path / name)
        experiment.system("audiollm", label, nats, responses={"utt2": "Ten."})
        hyp = {"utt2": "two plus tree" if name == "old" else "too plus tree"}
        experiment.system("cascade", "cascade", 0.7, hyp=hyp)
        score([*experiment.arguments(), "--max_audio_mb", "0"])
        made[name] = experiment
    return made


def run(two, *more):
    return main([str(two["old"].output), str(two["new"].output / "results.json"), *more])


def read(two, tmp_path, *more):
    assert run(two, "--output", str(tmp_path / "x.json"), "--resamples", "200", *more) == 0
    return json.loads((tmp_path / "x.json").read_text())


def test_differences(two, tmp_path, capsys):
    found = read(two, tmp_path)
    assert [x["name"] for x in found["experiments"]] == ["old", "new"]  # what differs in the paths
    cascade, audio = found["pairs"]
    # The same label, and the only AudioLLM of each; 1.0 and 0.5 nats a token
    assert (audio["a"]["label"], audio["b"]["label"]) == ("AudioLLM, small", "AudioLLM, large")
    assert audio["ppl_ratio"]["value"] == pytest.approx(math.exp(-0.5))
    assert audio["ppl_ratio"]["p_value"] == pytest.approx(2 / 201)  # on one side in all of 200
    assert audio["success"]["value"] == 0 and audio["success"]["p_value"] == 1
    assert audio["wer"] is None
    assert cascade["ppl_ratio"]["value"] == 1 and cascade["ppl_ratio"]["p_value"] == 1
    assert cascade["wer"]["value"] == pytest.approx(100 / 17)  # one word more of 17
    assert len(found["any_two"]) == 4 * 3 and found["not_paired"] == []
    screen = capsys.readouterr().out
    assert "old: cascade" in screen and "0.607 [0.607, 0.607] (p = 0.010)" in screen


def no_json(constant):
    raise AssertionError(f"{constant} is no JSON")


def test_the_first_experiment_needs_no_cascade(two, tmp_path, make_experiment):
    """The words are counted in the experiments that have some."""
    spoken = make_experiment(tmp_path / "spoken")
    spoken.system("audiollm", "AudioLLM", 0.9)
    rescore(spoken)
    outputs = [str(each.output) for each in (spoken, *two.values())]
    main([*outputs, "--output", str(tmp_path / "x.json"), "--resamples", "200"])
    found = json.loads((tmp_path / "x.json").read_text(), parse_constant=no_json)
    wers = {
        (pair["a"]["experiment"], pair["b"]["experiment"]): pair["wer"]
        for pair in found["any_two"]
        if pair["wer"]
    }
    assert set(wers) == {("old", "new"), ("new", "old")}
    assert wers["old", "new"]["value"] == pytest.approx(100 / 17)
    assert wers["old", "new"]["p_value"] > 0.1  # one utterance of four has the word


def made_up(name, normalizer, words, errors):
    """An experiment with a cascade of so many words and errors in its utterances."""
    n = len(words)
    nats, right = np.ones((1, n)), np.full((1, n), -1)
    ids, ones = tuple(f"utt{i}" for i in range(n)), np.ones(n)
    kept = Kept(ids, ones, ones, nats, right, np.array([errors]), np.array(words))
    results = {"normalizer": normalizer, "systems": [{"name": "cascade", "label": "cascade"}]}
    return Experiment(name, Path(name), results, kept)


def wer_between(*experiments):
    """The last two's difference, and its interval."""
    comparison = Comparison(experiments, resamples=50)
    wer = comparison.pair(*comparison.entries[-2:]).wer
    return wer and (wer.value, wer.ci95)


def test_wer_is_over_the_words_of_the_pairs_normalizer():
    first = made_up("a", "basic", [10, 10], [0, 0])
    pair = made_up("b", "en", [4, 4], [1, 1]), made_up("c", "en", [4, 4], [2, 2])
    assert wer_between(first, *pair) == (25.0, (25.0, 25.0))


def test_draws_without_words_have_no_wer():
    """Of dialogues, some have no recordings; where none has, there is no difference."""
    pair = made_up("a", "en", [4, 0, 0], [1, 0, 0]), made_up("b", "en", [4, 0, 0], [2, 0, 0])
    assert wer_between(*pair) == (25.0, (25.0, 25.0))
    none = made_up("a", "en", [0, 0], [0, 0]), made_up("b", "en", [0, 0], [0, 0])
    assert wer_between(*none) is None


def test_other_forms(two, tmp_path):
    forms = [str(tmp_path / f"x.{suffix}") for suffix in ("md", "html")]
    run(two, "--output", forms[0], "--output", forms[1], "--names", "A", "B")
    markdown, page = ((tmp_path / f"x.{suffix}").read_text() for suffix in ("md", "html"))
    assert (
        "| B: AudioLLM, large / A: AudioLLM, small | 0.607 [0.607, 0.607] (p < 0.001) |" in markdown
    )
    assert "python -m espnet_audiollm.bin.compare" in markdown and "git commit" in markdown
    assert "B: AudioLLM, large" in page and 'id="utterances"' not in page


def rescore(experiment, *more):
    score([*experiment.arguments(), "--max_audio_mb", "0", *more])


def _again(new):
    """The store, and the runs on it."""
    new.write_store()
    shutil.rmtree(new.output)
    new.system("audiollm", "AudioLLM, large", 0.5)
    new.system("cascade", "cascade", 0.7)
    rescore(new)


def _other_tokens(new, put_table):
    new.ids["utt3"] = [7, 8, 7]
    _again(new)


def _other_utterances(new, put_table):
    for table in (new.texts, new.right, new.ids):
        table["utt9"] = table.pop("utt4")
    for name in ("text", "answers", "category", "utt2dur"):
        path = new.data / name
        path.write_text(path.read_text().replace("utt4", "utt9"))
    _again(new)


def _other_llm(new, put_table):
    edit(new, llm="large", llm_fingerprint="g")


@pytest.mark.parametrize(
    "change, reason",
    [
        (_other_tokens, "1 of 4 reference responses have other tokens (first: utt3)"),
        (_other_utterances, "the utterances are others (1 of 4 are only in"),
        (_other_llm, "the LLM is another one (tiny, large)"),
    ],
)
def test_why_not(two, tmp_path, put_table, capsys, change, reason):
    change(two["new"], put_table)
    found = read(two, tmp_path)
    assert found["pairs"] == found["any_two"] == []
    [item] = found["not_paired"]
    assert reason in item["why"]
    screen = capsys.readouterr().out
    assert reason in screen and "AudioLLM, large" in screen


def test_the_name_of_an_llm_may_differ(two, tmp_path):
    for name, experiment in two.items():
        rescore(experiment, "--llm", f"somewhere/{name}")
    assert len(read(two, tmp_path)["pairs"]) == 2


def test_another_rule_is_not_compared(two, tmp_path):
    rescore(two["new"], "--success_rule", "exact", "--normalizer", "en")
    cascade, audio = read(two, tmp_path)["pairs"]
    assert audio["success"] is None and cascade["wer"] is None
    assert audio["ppl_ratio"]["value"] == pytest.approx(math.exp(-0.5))


def test_lines_in_another_order(two, tmp_path):
    """The utterances are joined by id."""
    kept = dict(np.load(two["new"].output / "utterances.test.npz"))
    order = [2, 0, 3, 1]
    ids = kept["ids"].tobytes().decode().split("\n")
    kept["ids"] = np.frombuffer("\n".join(ids[i] for i in order).encode(), dtype=np.uint8)
    moved = {k: v if k == "ids" else v[..., order] for k, v in kept.items()}
    np.savez_compressed(two["new"].output / "utterances.test.npz", **moved)
    audio = read(two, tmp_path)["pairs"][1]
    assert audio["ppl_ratio"]["value"] == pytest.approx(math.exp(-0.5))


def edit(experiment, **changes):
    path = experiment.output / "results.json"
    results = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in results.items() if v is not None}))


def cut_short(experiment):
    path = experiment.output / "utterances.test.npz"
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda e: edit(e, version=2), "has version 2, this program reads version 1; score that"),
        (lambda e: edit(e, version=None), "has no version, this program reads version 1"),
        (lambda e: edit(e, test_set="dev"), "is of the test set dev, "),
        (lambda e: edit(e, systems=[]), "not a results.json; rerun stage 11"),
        (lambda e: edit(e, utterances="../x.npz"), "not a results.json"),
        (lambda e: (e.output / "results.json").write_text("{"), "not a results.json"),
        (lambda e: (e.output / "results.json").unlink(), "there is no such file; run stage 11"),
        (lambda e: (e.output / "utterances.test.npz").unlink(), "missing; copy it beside"),
        (cut_short, "utterances.test.npz: damaged; rerun stage 11"),
        (
            lambda e: edit(e, systems=e.read()["systems"][:1]),
            "its arrays are not of 1 systems and 4",
        ),
    ],
)
def test_refused(two, capsys, spoil, message):
    spoil(two["new"])
    with pytest.raises(SystemExit):
        run(two)
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "more, message",
    [
        (["--names", "A", "A"], "need as many names, all different"),
        (["--output", "x.pdf"], "--output x.pdf: give a file that ends in .html, .json, .md"),
        (["--resamples", "0"], "--resamples 0"),
    ],
)
def test_refused_options(two, capsys, more, message):
    with pytest.raises(SystemExit):
        run(two, *more)
    assert message in capsys.readouterr().err


def test_one_is_not_enough(two, capsys):
    path = str(two["old"].output)
    for paths, message in (([path], "give two"), ([path, path], "is given twice")):
        with pytest.raises(SystemExit):
            main(paths)
        assert message in capsys.readouterr().err
