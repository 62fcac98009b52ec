"""Dialogues of several turns: success, perplexity and p-values by category and context, from
numbers worked out by hand."""

import json
import math

import pytest
from scipy.stats import binomtest
from written_runs import write_run, write_store

from espnet_audiollm.bin.score import main
from espnet_audiollm.report import conversations as report
from espnet_audiollm.score.conversations import as_list, compare_contexts
from espnet_audiollm.score.find import find
from espnet_audiollm.score.results import score
from espnet_audiollm.score.test_set import read_test_set

# Four dialogues of two reference tokens each; category x: a, b; y: c, d.
EXPECTED = {"a": ["paris"], "b": [], "c": ["lima", "the city of lima"], "d": ["rome"]}
REFERENCE = {"a": "it is paris .", "b": "Hello !", "c": "lima .", "d": "rome ."}
RIGHT = {"a": "Paris", "b": "hello", "c": "It is the city of Lima.", "d": "rome"}
WRONG = {"a": "comparison", "b": "hello you", "c": "", "d": "romero"}
HALF = {**RIGHT, "b": "x", "c": "x"}
LAST = "where is it"


class Talks:
    """A file of dialogues with its response store, and runs on it."""

    def __init__(self, root, last_spoken=True):
        (root / "a.wav").touch()
        self.file, self.store, self.exp = root / "talks.jsonl", root / "store", root / "exp"
        self.spoken = {"text": LAST} | ({"audio": "a.wav"} if last_spoken else {})
        lines = [
            {
                "id": id,
                "category": "x" if id in "ab" else "y",
                "turns": [
                    {"role": "user", "text": "hello"},
                    {"role": "assistant"},
                    {"role": "user", **self.spoken},
                ],
                "expected": expected,
            }
            for id, expected in EXPECTED.items()
        ]
        self.file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        write_store(self.store, {id: (text, [5, 2]) for id, text in REFERENCE.items()})

    def run(self, kind, label, full, last_turn=None, nats=1.0, hyp=None):
        """full, last_turn: responses by id. Each token costs `nats` with all turns, one more
        without."""
        turns = [{"role": "user", "text": "hello"}, {"role": "assistant", "text": "yes"}]
        turns.append({"role": "user", **self.spoken})
        directory, recordings = self.exp / label, {f"{id}:3": hyp for id in full} if hyp else {}
        for context, answers, more in (("full", full, 0), ("last_turn", last_turn, 1)):
            if answers is not None:
                made = {id: (a, [1], [nats + more] * 2, turns) for id, a in answers.items()}
                place = directory if context == "full" else directory / context
                where = {"set": "talks", "context": context, "recordings": recordings}
                write_run(place, kind, label, self.store, made, **where)
        return directory

    def three(self):
        self.run("audiollm", "audio", HALF, WRONG, 0.5)
        self.run("reference", "text", RIGHT, WRONG, 0.1)
        self.run("cascade", "hyp", WRONG, WRONG, 2.0, hyp="where it was")

    def scored(self, **how):
        (found,) = find([self.exp], [read_test_set(self.file, self.store, **how)])
        return compare_contexts(score(found.test_set, found.runs, 200), found, 200)

    def arguments(self):
        where = ["--sets", self.file, "--references", self.store, "--runs", self.exp]
        where += ["--output", self.exp, "--resamples", "200", "--max_audio_mb", "0"]
        return ["--recipe", "toy", "--llm", "tiny", *map(str, where)]


@pytest.fixture
def talks(tmp_path):
    return Talks(tmp_path)


@pytest.fixture
def scored(talks):
    talks.three()
    return talks.scored()


def test_groups_are_categories_and_all(scored):
    assert list(scored.groups) == ["x", "y", "all"]
    assert [row.label for row in scored.groups["all"]] == ["text", "hyp", "audio"]


def test_success_with_context_and_without(scored):
    counts = {
        (group, row.label): [cell.success.successes for cell in row.cells.values()]
        for group, rows in scored.groups.items()
        for row in rows
    }
    assert counts["all", "text"] == [4, 0] and counts["all", "audio"] == [2, 0]
    assert counts["x", "audio"] == [1, 0] and counts["y", "hyp"] == [0, 0]
    assert scored.groups["x"][0].cells["full"].success.total == 2


def test_perplexity_is_e_to_the_mean_nats(scored):
    row = scored.groups["all"][2]
    assert row.cells["full"].perplexity.value == pytest.approx(math.exp(0.5))
    assert row.cells["last_turn"].perplexity.value == pytest.approx(math.exp(1.5))
    assert row.cells["last_turn"].perplexity.tokens == 8


def test_p_values_are_mcnemars(scored):
    """Pairs of which one succeeds and the other does not, against a fair coin."""
    text, hyp, audio = scored.groups["all"]
    assert text.p_success == pytest.approx(binomtest(0, 4).pvalue)  # 4 right become wrong
    assert audio.p_success == pytest.approx(binomtest(0, 2).pvalue)
    assert hyp.p_success == 1.0
    assert audio.cells["full"].p_success_text == pytest.approx(binomtest(0, 2).pvalue)
    assert hyp.cells["full"].p_success_text == pytest.approx(binomtest(0, 4).pvalue)
    assert text.cells["full"].p_success_text is text.cells["full"].p_perplexity_text is None
    assert audio.p_perplexity == pytest.approx(2 / 201)  # all 200 resamples agree


def test_a_cascades_errors_are_those_of_its_recordings(scored):
    """ "where is it" recognised as "where it was": two words of three replaced."""
    text, hyp, audio = scored.groups["all"]
    assert (hyp.word_errors.errors, hyp.word_errors.reference_words) == (8, 12)
    assert scored.groups["y"][1].word_errors.rate == pytest.approx(200 / 3)
    assert text.word_errors is None and audio.word_errors is None
    assert scored.results.rows[1].prompt_wer == pytest.approx(200 / 3)


def test_the_numbers_go_to_results_json(talks):
    talks.three()
    main(talks.arguments())
    results = json.loads((talks.exp / "results.json").read_text())
    assert [(s["name"], s["success_rate"]) for s in results["systems"]] == [
        ("reference", 100),
        ("cascade", 0),
        ("audiollm", 50),
    ]
    text, _, audio = results["conversations"]
    assert (text["name"], text["label"], text["set"]) == ("reference", "text", "talks")
    assert (audio["success_rate"], audio["num_dialogues"]) == (50, 4)
    assert audio["response_ppl"] == pytest.approx(math.exp(0.5))
    full, last_turn = (audio["groups"]["all"][context] for context in ("full", "last_turn"))
    assert full["successes"] == 2 and full["num_dialogues"] == 4
    # Wilson's interval of 2 / 4, %: from its formula by hand, z = 1.96
    assert full["success_rate_ci95"] == pytest.approx([15.0, 85.0], abs=0.05)
    assert last_turn["response_ppl"] == pytest.approx(math.exp(1.5))
    assert audio["as_the_text_answers"]["all"]["last_turn"] == 4


def test_the_report_shows_both_contexts(talks, scored):
    part = report.part(scored, "")
    assert part.title == "Conversations: talks"
    main_section, all_section = part.sections[:2]
    assert main_section.tables[0].rows[2][3] == "50.0 (2/4)"
    assert all_section.title == "All dialogues" and "single spoken turns" in all_section.notes[0]
    row = all_section.tables[0].rows[2]
    assert row[0] == "audio" and row[2].startswith("50.0 (2/4) [15, 85]")
    assert row[3] == "0.0 (0/4)"


def test_the_page_lists_dialogues(talks):
    talks.three()
    main(talks.arguments())
    page = (talks.exp / "report.html").read_text()
    [listed] = json.loads(page.split('id="data">')[1].split("</script>")[0])
    item = listed["utterances"][0]
    assert item["text"] == "user: hello / assistant: … / user (spoken): where is it"
    assert item["systems"][1]["hyp"][1] == ["substitute", "is it", "it was"]


def test_what_carries_over_is_counted_where_the_last_turn_is_spoken(scored):
    """With all turns "audio" answers a and d as "text" does; without all four, as both err."""
    rows = {(row.label, row.group): row for row in scored.carried}
    assert set(rows) == {(s, g) for s in ("hyp", "audio") for g in ("x", "y", "all")}
    row = rows["audio", "all"]
    assert (row.several.successes, row.single.successes, row.single.total) == (2, 4, 4)
    assert row.p == pytest.approx(binomtest(0, 2).pvalue)
    (section,) = [s for s in report.part(scored, "").sections if "carry over" in s.title]
    assert ("audio: all", "50.0 (2/4)", "100.0 (4/4)", "p = 0.500") in section.tables[0].rows


def test_written_last_turns_do_not_count_as_carried(tmp_path):
    talks = Talks(tmp_path, last_spoken=False)
    talks.run("reference", "text", RIGHT, WRONG)
    talks.run("audiollm", "audio", HALF, WRONG)
    scored = talks.scored()
    assert scored.carried == [] and scored.results.test_set.texts is None


def test_one_context_has_no_p(talks):
    talks.run("reference", "text", RIGHT)
    talks.run("audiollm", "audio", HALF)
    scored = talks.scored()
    assert scored.groups["all"][1].p_success is None and scored.carried == []
    assert report.table(scored.groups["all"]).rows[1][3] == "–"


def test_without_the_text_system_nothing_is_compared_with_it(talks):
    talks.run("audiollm", "audio", HALF, WRONG)
    scored = talks.scored()
    assert scored.groups["all"][0].cells["full"].p_success_text is None and scored.carried == []
    assert as_list(scored)[0]["success_rate"] == 50


def test_the_rule_and_the_normalizer_hold_for_dialogues_too(talks):
    """c answers "It is the city of Lima.": contained, not equal. "l'homme" has two French words."""
    talks.run("reference", "text", RIGHT)
    talks.run("cascade", "hyp", RIGHT, hyp="l'homme")
    contains, exact = talks.scored(), talks.scored(rule="exact", normalize="fr")
    successes = [s.results.rows[0].success.successes for s in (contains, exact)]
    assert successes == [4, 3]
    errors = [s.results.rows[1].word_errors for s in (contains, exact)]
    # of "where is it", twelve words: one replaced and two deleted; two replaced and one deleted
    assert [(e.substitutions, e.deletions) for e in errors] == [(4, 8), (8, 4)]


def test_refusals(talks, tmp_path):
    talks.three()
    talks.run("audiollm", "few", {"a": "x"}, {"a": "x"})
    with pytest.raises(ValueError, match=r"3 of 4 utterances are missing \(first: b\); rerun"):
        talks.scored()
    with pytest.raises(ValueError, match="no such file|no such data directory"):
        read_test_set(tmp_path / "none.jsonl", talks.store)
    write_store(tmp_path / "other", {"a": ("x", [1])})
    with pytest.raises(ValueError, match=r"talks: .* 3 of 4 ids are unknown \(first: b\)"):
        read_test_set(talks.file, tmp_path / "other")
