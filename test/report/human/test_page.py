"""Drawing a study, and what the page holds: enough to rate, nothing to guess from."""

import base64
import io
import json
import os
import re
import shlex

import pytest
import soundfile
from tool_mains import imported_for_help

from espnet_audiollm.bin.human_eval import get_parser, main
from espnet_audiollm.score.human.study import Level, blind, draw, levels, study_from_dict
from espnet_audiollm.score.wer import WordErrors


def page_data(toy):
    text = (toy.output / "rate.html").read_text()
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def fails(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_levels_meet_without_overlap():
    three = levels([10, 20])
    assert list(map(str, three)) == ["under 10 %", "10 to 20 %", "20 % and more"]
    rates = [0.0, 9.99, 10.0, 19.9, 20.0, 140.0]
    assert [[level.holds(rate) for level in three].index(True) for rate in rates] == [
        *(0, 0, 1),
        *(1, 2, 2),
    ]
    assert levels([]) == (Level(0.0, None),)


@pytest.mark.parametrize("bounds", [[0], [20, 10], [10, 10], [-5, 5], [float("nan")]])
def test_levels_must_rise(bounds):
    with pytest.raises(ValueError, match="rising"):
        levels(bounds)


def test_the_draw_is_by_seed_and_level():
    errors = {f"u{i}": WordErrors(i % 4, 0, 0, 10) for i in range(400)}  # 0, 10, 20, 30 %
    three = levels([10, 20])
    chosen, available = draw(errors, three, 50, seed=1)
    assert available == (100, 100, 200)
    assert len({id for id, _ in chosen}) == 150
    assert all(three[level].holds(errors[id].rate) for id, level in chosen)
    assert [sum(level == i for _, level in chosen) for i in range(3)] == [50, 50, 50]
    assert len({level for _, level in chosen[:12]}) == 3  # levels are mixed on the page
    assert draw(errors, three, 50, seed=1)[0] == chosen
    assert draw(errors, three, 50, seed=2)[0] != chosen
    kept = {id for id, _ in draw({**errors, "new": WordErrors(0, 0, 0, 10)}, three, 50, 1)[0]}
    assert len(kept & {id for id, _ in chosen}) >= 149  # one more utterance moves at most one


def test_neither_place_belongs_to_a_system():
    first = [blind(f"u{i}", {"A": f"a{i}", "B": f"b{i}"}, 0)[0][1] for i in range(1000)]
    assert 430 < first.count(("A",)) < 570  # 4.4 standard deviations of a fair coin


def test_equal_answers_are_one():
    assert blind("u", {"A": "yes ", "B": "no", "C": "yes"}, 0) in (
        [("yes", ("A", "C")), ("no", ("B",))],
        [("no", ("B",)), ("yes", ("A", "C"))],
    )


def test_page_and_key_belong_together(toy, capsys):
    key, data = toy.make_page(), page_data(toy)
    assert key["page"] == data["page"] and len(data["items"]) == len(key["items"]) == 12
    assert sorted(item["id"] for item in key["items"]) == sorted(toy.ids)
    names = {"ears then Llama": "cascade", "Llama with ears": "audiollm"}
    for shown, item in zip(data["items"], key["items"], strict=True):
        assert shown["reference"] == f"Reference of {item['id']}."
        for answer, systems in zip(shown["answers"], item["answers"], strict=True):
            if item["id"] == "u05":
                assert (answer, sorted(systems)) == ("The same.", sorted(names))
            elif item["id"] not in ("u08", "u09"):
                assert [answer] == [f"{names[system]} says {item['id']}" for system in systems]
    accepted = {tuple(item["accepted"]) for item in data["items"]}
    assert accepted == {(), ("Paris", "the city of Paris")}
    printed = capsys.readouterr().out
    assert "ears then Llama, 10 to 20 %: 4 of 4 utterances\n" in printed
    assert os.stat(toy.output / "rate.html").st_size < 300_000


def test_the_key_comes_back_as_it_was_written(toy):
    key = toy.make_page()
    del key["made"]
    assert json.loads(json.dumps(study_from_dict(key).as_dict())) == key


def test_the_page_names_no_system_and_loads_nothing(toy):
    toy.make_page()
    text = (toy.output / "rate.html").read_text()
    for secret in ("ears then Llama", "Llama with ears", "10 to 20", '"seed"', str(toy.root)):
        assert secret not in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "default-src 'none'" in text and "unsafe" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert text.count("<script") == 2 and "stolen'</script>" not in text


@pytest.mark.parametrize("container, most", [("mp3", 0.05), ("wav", 0)])
def test_audio_is_the_recording(toy, container, most):
    key = toy.make_page("--audio", container)
    for shown, item in zip(page_data(toy)["items"], key["items"], strict=True):
        head, encoded = shown["audio"].split(",")
        assert head == f"data:audio/{'mpeg' if container == 'mp3' else 'wav'};base64"
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(encoded)))
        expected, _ = soundfile.read(toy.root / f"{item['id']}.wav")
        assert rate == 16000 and abs(len(samples) - len(expected)) <= 16000 * most
        assert abs((samples**2).mean() - (expected**2).mean()) <= 0.1 * (expected**2).mean()


def test_same_command_same_page_other_seed_other_page(toy, capsys):
    toy.make_page()
    before = (toy.output / "rate.html").read_bytes()
    toy.make_page()
    assert (toy.output / "rate.html").read_bytes() == before
    error = fails(capsys, toy.page_arguments("--seed", "5"))
    assert "is the key of another page, whose ratings would be lost with it" in error
    assert (toy.output / "rate.html").read_bytes() == before


def test_fewer_than_wanted_is_said(toy, capsys):
    assert main([*toy.page_arguments(), "--items", "50"]) == 0
    assert "20 % and more: 4 of 4 utterances; 50 were wanted" in capsys.readouterr().out


def test_title_and_brief_are_text(toy):
    (toy.root / "brief.txt").write_text("Say <yes>\nor no.\n\nTake @DATA@ breaks.\n")
    toy.make_page("--title", "A <b> & @SCRIPT@", "--brief", str(toy.root / "brief.txt"))
    text = (toy.output / "rate.html").read_text()
    assert "<title>A &lt;b&gt; &amp; @SCRIPT@</title>" in text
    assert page_data(toy)["brief"] == ["Say <yes> or no.", "Take @DATA@ breaks."]


def _no_hyp(toy):
    (toy.cascade / "hyp").unlink()


def _hyp_missing(toy):
    (toy.cascade / "hyp").write_text("u00 one\n")


def _no_responses(toy):
    (toy.audio / "answers.jsonl").unlink()


def _same_label(toy):
    toy.audio = toy.cascade


def _no_audio(toy):
    for id in toy.ids:
        (toy.root / f"{id}.wav").unlink()


def _no_text(toy):
    (toy.data / "text").unlink()


def _nothing(toy):
    pass


@pytest.mark.parametrize(
    "spoil, more, message",
    [
        (_no_hyp, (), "cascade: there is no hyp; rerun stage 10"),
        (_hyp_missing, (), "the hypotheses: 11 of 12 utterances are missing (first: u01)"),
        (_no_responses, (), "audiollm: there is no answers.jsonl; rerun stage 10"),
        (_same_label, (), "give two to 6 systems with different labels; these are 2: ears then"),
        (_no_audio, (), ".wav: cannot be opened"),
        (_no_text, (), "toy: not a data directory with a text; run stages 1 and 2 first"),
        (_nothing, ("--bounds", "20", "10"), "--bounds 20 10: give rising word error rates"),
        (_nothing, ("--bounds", "50"), "1 of 2 levels of word error rate have no utterance"),
        (_nothing, ("--items", "0"), "--items 0: give 1 or more"),
        (_nothing, ("--brief", "/no/such/file"), "/no/such/file"),
    ],
)
def test_bad_input(toy, capsys, spoil, more, message):
    spoil(toy)
    assert message in fails(capsys, toy.page_arguments(*more))
    assert not toy.output.exists()


def test_a_cascade_that_is_not_rated_makes_the_levels(toy):
    short = {id: "one" for id in toy.ids}  # 9 of 10 words missing
    other = toy.system("cascade", "other ears", short, place="other")
    items = toy.make_page("--cascade", str(other), "--bounds")["items"]
    assert {item["words"]["other ears"]["deletions"] for item in items} == {9}


def test_without_a_cascade_there_are_no_levels(toy, capsys):
    toy.cascade = toy.system("audiollm", "another", place="another")
    error = fails(capsys, toy.page_arguments())
    assert "0 of 2 systems are cascades; say with --cascade whose word error rate" in error


def test_help_imports_nothing_heavy():
    assert imported_for_help("human_eval", ["numpy", "jiwer", "nltk", "soundfile"]) == []


def test_the_guide_shows_commands_that_exist(root):
    guide = (root / "docs/human_evaluation.md").read_text().replace("\\\n", " ")
    shown = re.findall(r"^    python -m espnet_audiollm.bin.human_eval (.*)$", guide, re.MULTILINE)
    parsed = [get_parser().parse_args(shlex.split(line)) for line in shown]
    assert [args.what for args in parsed] == ["page", "score"]
