"""Conversations: success, perplexity and p-values by category, from numbers worked out by hand."""

import json
import math

import numpy as np
import pytest
from scipy.stats import binomtest

from espnet_audiollm.report import conversations as conversation_report
from espnet_audiollm.score import conversations

# Four conversations of two reference tokens each; category x: a, b; y: c, d.
EXPECTED = {"a": ["paris"], "b": [], "c": ["lima", "the city of lima"], "d": ["rome"]}
REFERENCE = {"a": "it is paris .", "b": "Hello !", "c": "lima .", "d": "rome ."}


def write(directory, name, label, full, none=None, nats=1.0, hyp=None, set_name="talks"):
    """A system directory; full, none: its responses by id. Each token costs `nats` with the
    context, a nat more without."""
    directory.mkdir(parents=True)
    about = {"name": name, "label": label, "set": set_name}
    (directory / "system.json").write_text(json.dumps(about))
    lines = []
    for id_, response in full.items():
        turn = {"role": "user", "text": "where is it", "audio": "a.wav"}
        turn |= {"hyp": hyp} if hyp is not None else {}
        answers = {"full": answer(response, nats, turn)}
        if none is not None:
            answers["none"] = answer(none[id_], nats + 1, turn)
        lines.append(
            {
                "id": id_,
                "category": "x" if id_ in "ab" else "y",
                "expected": EXPECTED[id_],
                "reference": REFERENCE[id_],
                "reference_ids": [5, 2],
                "answers": answers,
            }
        )
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (directory / "answers.jsonl").write_text(text)
    return directory


def answer(response, nats, turn):
    return {"response": response, "response_ids": [1], "token_nats": [nats] * 2, "turns": [turn]}


RIGHT = {"a": "Paris", "b": "hello", "c": "It is the city of Lima.", "d": "rome"}
WRONG = {"a": "comparison", "b": "hello you", "c": "", "d": "romero"}
HALF = {**RIGHT, "b": "x", "c": "x"}


@pytest.fixture
def directories(tmp_path):
    return [
        write(tmp_path / "audio", "audiollm", "hears", HALF, WRONG, 0.5),
        write(tmp_path / "text", "text", "reads", RIGHT, WRONG, 0.1),
        write(tmp_path / "cascade", "cascade", "writes", WRONG, WRONG, 2.0, hyp="where it was"),
    ]


@pytest.fixture
def scored(directories):
    (found,) = conversations.score(conversations.read(directories), resamples=200)
    return found


def test_rows_are_by_category_and_system(scored):
    assert scored.set_name == "talks" and scored.groups() == ["x", "y", "all"]
    assert [row.system.label for row in scored.of("all")] == ["reads", "writes", "hears"]


def test_success_with_context_and_without(scored):
    counts = {
        (row.group, row.system.label): (
            row.cells["full"].success.successes,
            row.cells["none"].success.successes,
            row.cells["full"].success.total,
        )
        for row in scored.rows
    }
    assert counts[("all", "reads")] == (4, 0, 4)
    assert counts[("all", "hears")] == (2, 0, 4)
    assert counts[("x", "hears")] == (1, 0, 2) and counts[("y", "writes")] == (0, 0, 2)


def test_perplexity_is_e_to_the_mean_nats(scored):
    row = scored.of("all")[2]
    assert row.cells["full"].perplexity.value == pytest.approx(math.exp(0.5))
    assert row.cells["none"].perplexity.value == pytest.approx(math.exp(1.5))
    assert row.cells["none"].perplexity.tokens == 8


def test_p_values_are_mcnemars(scored):
    """Pairs of which one succeeds and the other does not, against a fair coin."""
    reads, writes, hears = scored.of("all")
    assert reads.p_success == pytest.approx(binomtest(0, 4).pvalue)  # 4 right become wrong
    assert hears.p_success == pytest.approx(binomtest(0, 2).pvalue)
    assert writes.p_success == 1.0
    assert hears.cells["full"].p_success_text == pytest.approx(binomtest(0, 2).pvalue)
    assert writes.cells["full"].p_success_text == pytest.approx(binomtest(0, 4).pvalue)
    assert reads.cells["full"].p_success_text is None
    assert reads.cells["full"].p_perplexity_text is None
    assert hears.p_perplexity == pytest.approx(2 / 201)  # all 200 resamples agree


def test_a_cascades_errors_are_those_of_its_spoken_turns(scored):
    """ "where is it" heard as "where it was": one word deleted, one inserted (or two changed)."""
    reads, writes, hears = scored.of("all")
    assert writes.word_errors.errors == 8 and writes.word_errors.reference_words == 12
    assert reads.word_errors is None and hears.word_errors is None


def test_the_numbers_go_to_results_json(scored):
    (found,) = json.loads(json.dumps(conversations.as_dict([scored])))
    assert found["set"] == "talks"
    hears = found["systems"][2]["groups"]["all"]
    assert hears["full"]["successes"] == 2 and hears["full"]["num_conversations"] == 4
    # Wilson's interval of 2 / 4, %: from its formula by hand, z = 1.96
    assert hears["full"]["success_rate_ci95"] == pytest.approx([15.0, 85.0], abs=0.05)
    assert hears["none"]["response_ppl"] == pytest.approx(np.exp(1.5))
    assert found["systems"][1]["groups"]["y"]["prompt_wer"] == pytest.approx(200 / 3)


def test_the_report_shows_both_contexts_and_examples(scored):
    (part,) = conversation_report.parts([scored])
    assert part.title == "Conversations: talks"
    whole = part.sections[0]
    assert whole.title == "All conversations" and "single spoken turns" in whole.notes[0]
    row = whole.tables[0].rows[2]
    assert row[0] == "hears" and row[2].startswith("50.0 (2/4) [15, 85]")
    assert row[3] == "0.0 (0/4)"
    examples = part.sections[-1]
    assert examples.aside and "where is it" in examples.tables[0].rows[0][0]
    assert "heard “where it was”" in examples.tables[0].rows[0][3]


def test_what_carries_over_is_counted_where_the_last_turn_is_spoken(scored):
    """With the context "hears" answers a and d as "reads" does; alone all four, as both err."""
    rows = {(row.system.label, row.group): row for row in conversations.carried(scored)}
    assert set(rows) == {(s, g) for s in ("writes", "hears") for g in ("x", "y", "all")}
    row = rows["hears", "all"]
    assert (row.several.successes, row.single.successes, row.single.total) == (2, 4, 4)
    assert row.p == pytest.approx(binomtest(0, 2).pvalue)
    (part,) = conversation_report.parts([scored])
    table = next(s for s in part.sections if "carry over" in s.title).tables[0]
    assert ("hears: all", "50.0 (2/4)", "100.0 (4/4)", "p = 0.500") in table.rows
    for record in scored.systems[0].records.values():
        del record["answers"]["full"]["turns"][0]["audio"]
    assert conversations.carried(scored) == []


def test_one_context_alone_has_no_p(tmp_path):
    text = write(tmp_path / "text", "text", "reads", RIGHT)
    audio = write(tmp_path / "audio", "audiollm", "hears", HALF)
    (found,) = conversations.score(conversations.read([text, audio]), resamples=50)
    assert found.of("all")[1].p_success is None
    assert conversation_report.table(found, "all").rows[1][3] == "–"


def test_sets_are_scored_apart(tmp_path):
    made = [
        write(tmp_path / f"{name}{system}", system, system, RIGHT, WRONG, set_name=name)
        for name in ("one", "two")
        for system in ("text", "audiollm")
    ]
    found = conversations.score(conversations.read(made), resamples=50)
    assert [each.set_name for each in found] == ["one", "two"]
    assert all(len(each.systems) == 2 for each in found)


def damage(directory, line):
    path = directory / "answers.jsonl"
    path.write_text(path.read_text().split("\n")[0] + "\n" + line + "\n")


def test_refusals(tmp_path, directories):
    audio, text, _ = directories
    few = write(tmp_path / "few", "audiollm", "few", {"a": "x"}, {"a": "x"})
    other = write(tmp_path / "other", "audiollm", "other", RIGHT, WRONG)
    lines = (other / "answers.jsonl").read_text().replace("[5, 2]", "[6, 2]")
    (other / "answers.jsonl").write_text(lines)
    alone = write(tmp_path / "alone", "audiollm", "alone", RIGHT)
    again = write(tmp_path / "again", "audiollm", "reads", RIGHT, WRONG)
    for wrong, message in [
        ([audio], "0 systems read the text"),
        ([text, few], "3 of 4 utterances are missing (first: b); rerun stage 10"),
        ([text, other], "4 of 4 conversations have other references"),
        ([text, alone], "no answers with the context 'none'"),
        ([text, again], "the same label (first: reads)"),
        ([tmp_path], "there is no system.json; rerun stage 10"),
    ]:
        with pytest.raises(ValueError) as error:
            conversations.score(conversations.read(wrong), resamples=10)
        assert message in str(error.value)


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "b"}'])
def test_a_damaged_line_is_named(directories, line):
    damage(directories[0], line)
    with pytest.raises(ValueError, match="line 2 is not an answered conversation"):
        conversations.read(directories)


def test_tokens_without_nats_are_damage(directories):
    path = directories[0] / "answers.jsonl"
    path.write_text(path.read_text().replace("[0.5, 0.5]", "[0.5]"))
    with pytest.raises(ValueError, match="line 1 is not an answered conversation"):
        conversations.read(directories)


def test_a_system_that_is_none(directories):
    (directories[0] / "system.json").write_text('{"name": "oracle", "label": "x", "set": "talks"}')
    with pytest.raises(ValueError, match="not the name .text, cascade, audiollm."):
        conversations.read(directories)
