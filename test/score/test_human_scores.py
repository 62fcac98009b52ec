"""From raters' files to the table: golden numbers, what is missing, what is refused."""

import json
from fractions import Fraction

import pytest
import scipy.stats

from espnet_audiollm.bin.human_eval import main
from espnet_audiollm.score.human.outcome import krippendorff_alpha, sign_flip_p
from espnet_audiollm.score.success import wilson95

CASCADE, AUDIO = "ears then Llama", "Llama with ears"
LEVELS = ("20 % and more", "10 to 20 %", "under 10 %", "all")


def units(*raters):
    """["01.", …], a string for each rater, to [{rater: value}, …] without units of one value."""
    found = [
        {rater: values[i] for rater, values in enumerate(raters) if values[i] != "."}
        for i in range(len(raters[0]))
    ]
    return [unit for unit in found if len(unit) > 1]


@pytest.mark.parametrize(
    "raters, alpha",
    [  # Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), examples A and C
        (("0100000010", "1110010000"), 0.095),
        (("123321412...", "1233224125.3", ".3332342251.", "12332441251."), 0.743),
    ],
)
def test_alpha_of_published_examples(raters, alpha):
    assert krippendorff_alpha(units(*raters)) == pytest.approx(alpha, abs=0.0005)


@pytest.mark.parametrize(
    "successes, total, low, high",
    [  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_intervals_of_published_examples(successes, total, low, high):
    assert wilson95(successes, total) == pytest.approx((100 * low, 100 * high), abs=0.005)


@pytest.mark.parametrize("better, worse, equal", [(9, 2, 7), (0, 6, 3), (5, 5, 0), (0, 0, 4)])
def test_one_rater_is_mcnemars_exact_test(better, worse, equal):
    differences = [Fraction(1)] * better + [Fraction(-1)] * worse + [Fraction(0)] * equal
    expected = 1.0
    if better + worse:
        expected = scipy.stats.binomtest(better, better + worse).pvalue
    assert sign_flip_p(differences) == pytest.approx(expected)


def test_several_raters_are_a_permutation_test():
    text = "1/3 2/3 -1/3 1 1/2 -1/2 1/6 2/3 0 1/4 3/4"
    differences = [Fraction(value) for value in text.split()]
    values = [float(d) for d in differences]
    exact = scipy.stats.permutation_test(
        (values, [0.0] * len(values)),
        lambda one, other: sum(one) - sum(other),
        permutation_type="samples",
        n_resamples=float("inf"),
        vectorized=False,
    )
    assert 0.02 < exact.pvalue < 0.2
    assert sign_flip_p(differences) == pytest.approx(exact.pvalue)


# u00-u03 are under 10 %, u04-u07 at 10 %, u08-u11 at 30 %; u05 has one answer of both.
YES = {CASCADE: {"u00", "u01", "u04", "u05"}, AUDIO: {"u00", "u01", "u05", "u08", "u09"}}


def strict(id, systems):
    return id in YES[systems[0]]


def kind(id, systems):
    return strict(id, systems) or id == "u11"  # both answers of u11


def lines(scored):
    return {(line["system"], line["level"]): line for line in scored["success"]}


def test_one_rater(toy, capsys):
    toy.make_page()
    scored = toy.score(toy.rate("ann", strict))
    table = lines(scored)
    rates = [
        [table[system, level]["success_rate"] for level in LEVELS] for system in (CASCADE, AUDIO)
    ]
    assert rates == [[0, 50, 50, pytest.approx(100 / 3)], [50, 25, 50, pytest.approx(125 / 3)]]
    ranges = [table[AUDIO, level]["success_rate_ci95"] for level in LEVELS]
    for (low, high), (count, of) in zip(ranges, [(2, 4), (1, 4), (2, 4), (5, 12)], strict=True):
        exact = scipy.stats.binomtest(count, of).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((100 * exact.low, 100 * exact.high))
    words = table[CASCADE, "20 % and more"]["word_errors"]
    assert (words["substitutions"], words["reference_words"], words["wer"]) == (12, 40, 30.0)
    assert table[CASCADE, "all"]["word_errors"]["wer"] == pytest.approx(100 * 16 / 120)
    assert table[AUDIO, "all"]["word_errors"] is None
    pair = scored["paired"][-1]
    assert (pair["level"], pair["first"], pair["second"]) == ("all", CASCADE, AUDIO)
    assert (pair["better"], pair["worse"], pair["equal"]) == (1, 2, 9)
    assert pair["difference"] == pytest.approx(-100 / 12)
    assert pair["ci95"][0] < pair["difference"] < pair["ci95"][1]
    assert pair["p_value"] == pytest.approx(1.0)  # 1 against 2
    assert scored["agreement"][-1]["reason"] == "it takes two raters"
    markdown = (toy.root / "scored/human_eval.md").read_text()
    row = "| ears then Llama | 20 % and more | 30.0 (12/40) | 0.0 [0.0, 49.0] | 4 | 4 |"
    assert row in markdown and "Every rater rated every item." in markdown
    assert "it takes two raters" in capsys.readouterr().out


def test_three_raters_one_of_whom_left_items_out(toy, capsys):
    key = toy.make_page()
    paths = [toy.rate("ann", strict), toy.rate("bob", kind), toy.rate("cy", kind, ("u00", "u11"))]
    scored = toy.score(*paths)
    line = lines(scored)[AUDIO, "20 % and more"]
    assert line["successes"] == 2.5  # u08, u09: all; u11: one of two
    assert (line["success_rate"], line["items"], line["ratings"]) == (62.5, 4, 11)
    place = {item["id"]: number for number, item in enumerate(key["items"], 1)}
    missing = {rater["rater"]: rater["missing"] for rater in scored["raters"]}
    assert missing == {"ann": [], "bob": [], "cy": sorted([place["u00"], place["u11"]])}
    screen = capsys.readouterr().out
    assert "cy has not rated 2 of 12 items: " in screen
    for number in missing["cy"]:
        assert str(number) in screen.split("2 of 12 items: ")[1]
    # 23 answers (one is shared). ann and bob differ on both of u11; cy agrees wherever he rated:
    # 21 + 2 * 19 pairs agree, of 23 + 2 * 19
    total = scored["agreement"][-1]
    assert (total["answers"], total["same"], total["pairs"]) == (23, 59, 61)
    # Of 65 ratings 8 + 10 + 6 are yes, 41 no; the two answers of u11 have 2 ordered pairs each
    # that differ: alpha = 1 - (n - 1) * sum of o_ck / (n_yes * n_no * 2)
    assert total["alpha"] == pytest.approx(1 - 64 * 4 / (2 * 24 * 41))
    summary = {rater["rater"]: rater for rater in scored["raters"]}
    assert (summary["ann"]["same"], summary["ann"]["compared"]) == (40, 42)
    assert (summary["cy"]["ratings"], summary["cy"]["wanted"]) == (19, 23)
    seconds = sorted(10 + number for number in range(1, 13))
    assert summary["ann"]["seconds"] == (seconds[5] + seconds[6]) / 2


@pytest.mark.parametrize(
    "verdicts, reason",
    [
        ([lambda *_: True, lambda *_: True], "all ratings are the same"),
        ([lambda *_: True, lambda *_: None], "no answer was rated by two raters"),
    ],
)
def test_alpha_that_does_not_exist(toy, verdicts, reason):
    toy.make_page()
    scored = toy.score(*(toy.rate(f"r{i}", verdict) for i, verdict in enumerate(verdicts)))
    assert scored["agreement"][-1]["alpha"] is None
    assert scored["agreement"][-1]["reason"] == reason


def test_nobody_rated_a_level(toy):
    toy.make_page()
    scored = toy.score(toy.rate("ann", strict, toy.ids[:4]))
    assert lines(scored)[AUDIO, "under 10 %"]["success_rate"] is None
    markdown = (toy.root / "scored/human_eval.md").read_text()
    assert "| Llama with ears | under 10 % | – | – | 0 | 0 |" in markdown
    assert "ann has not rated 4 of 12 items" in markdown


def test_what_raters_write_is_shown_not_obeyed(toy):
    toy.make_page()
    path = toy.rate("ann", strict)
    found = json.loads(path.read_text())
    found["rater"] = "ann | <b>*bold*"
    found["ratings"][0]["comment"] = "# no\n\n<script>alert(1)</script> [x](http://x) `y`"
    path.write_text(json.dumps(found))
    toy.score(path)
    markdown = (toy.root / "scored/human_eval.md").read_text()
    assert "<script>" not in markdown and "<b>" not in markdown
    assert r": # no &lt;script>alert(1)&lt;/script> [x]\(http://x) \`y\`" in markdown
    assert r"| ann \| &lt;b>\*bold\* | 23/23 |" in markdown


def spoiled(change):
    def spoil(toy, path):
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found))

    return spoil


def _cut(toy, path):
    path.write_text(path.read_text()[:200])


def _deep(toy, path):
    path.write_text("[" * 100_000)


def _binary(toy, path):
    path.write_bytes(b"\xff\xfe\x00\x01")


def _list(toy, path):
    path.write_text("[]")


def _twice(found):
    found["ratings"].append(found["ratings"][0])


@pytest.mark.parametrize(
    "spoil, message",
    [
        (_cut, "ann.json: not complete JSON ("),
        (_deep, "ann.json: not complete JSON ("),
        (_binary, "ann.json: not complete JSON ("),
        (_list, "ann.json: not an export of a rating page; ask the rater to export again"),
        (spoiled(lambda f: f.update(format="x")), "not an export of a rating page"),
        (spoiled(lambda f: f.update(version=9)), "its version is 9, and 1 is read"),
        (spoiled(lambda f: f.update(page="feed")), "these are ratings of the page feed, and the"),
        (spoiled(lambda f: f.update(rater=" ")), "damaged (the rater has no name)"),
        (spoiled(lambda f: f.update(rater=7)), "ann.json: damaged ("),
        (spoiled(lambda f: f.pop("ratings")), "damaged (no 'ratings')"),
        (spoiled(_twice), "damaged (item 1 comes twice)"),
        (spoiled(lambda f: f["ratings"][0].update(item=13)), "damaged (the page has no item 13)"),
        (spoiled(lambda f: f["ratings"][0].update(item=True)), "the page has no item True"),
        (spoiled(lambda f: f["ratings"][2].update(answers=[])), "item 3 does not have "),
        (spoiled(lambda f: f["ratings"][0]["answers"].__setitem__(0, 1)), "true, false or null"),
        (spoiled(lambda f: f["ratings"][0].update(comment=[])), "item 1: its comment is not text"),
        (spoiled(lambda f: f["ratings"][0].update(seconds=10**400)), "not a number of seconds"),
        (spoiled(lambda f: f["ratings"][0].update(seconds=float("nan"))), "not a number of sec"),
    ],
)
def test_bad_files(toy, capsys, spoil, message):
    toy.make_page()
    path = toy.rate("ann", strict)
    spoil(toy, path)
    assert message in fails(toy, capsys, path)
    assert not (toy.root / "scored").exists()


def fails(toy, capsys, *paths, key=None):
    capsys.readouterr()
    key = key or toy.output / "key.json"
    with pytest.raises(SystemExit) as stopped:
        main(["score", *map(str, paths), "--key", str(key), "--output", str(toy.root / "scored")])
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_a_rater_counts_once(toy, capsys):
    toy.make_page()
    one, other = toy.rate("Ann", strict), toy.rate("ann ", kind)
    assert f"rated in {one} already; keep the newer export" in fails(toy, capsys, one, other)
    assert "already" in fails(toy, capsys, one, one)


def test_a_key_that_is_none(toy, capsys):
    toy.make_page()
    path = toy.rate("ann", strict)
    assert "ann.json: not the key of a human evaluation" in fails(toy, capsys, path, key=path)
    key = json.loads((toy.output / "key.json").read_text())
    key["items"][0]["answers"] = [["somebody else"]]
    (toy.root / "bad.json").write_text(json.dumps(key))
    error = fails(toy, capsys, path, key=toy.root / "bad.json")
    assert "does not have one answer of every system" in error
    assert "No such file" in fails(toy, capsys, path, key=toy.root / "none.json")
