"""bin/learn_units, bin/extract_units and bin/report_units."""

import json
import re

import pytest

from espnet_audiollm.data.unit_tables import iter_levels, iter_units, read_set


@pytest.fixture(scope="module")
def quantiser(systems, tmp_path_factory):
    from espnet_audiollm.bin import learn_units

    made = tmp_path_factory.mktemp("units") / "fbank6"
    words = ["--source", "fbank", "--data", f"{systems}/data", "--output", str(made), "--size", "6"]
    assert learn_units.main(words) == 0
    return made


def tables(directory):
    return {path.name: path.read_text() for path in directory.iterdir() if path.is_file()}


def test_the_seed_decides(systems, quantiser, run, tmp_path):
    def learn(output, *more):
        words = ["--source", "fbank", "--data", f"{systems}/data", "--size", 6, *more]
        return run("learn_units", *words, "--output", output)

    learn(quantiser).says("6 units of fbank:4 at 25 a second", "12 utterances")
    learn(quantiser, "--seed", 1).fails("is there already")
    learn(tmp_path / "both", "--data", *[f"{systems}/data"] * 2).says("24 utterances")
    learn(tmp_path / "half", "--max_hours", 0.002).says("6 units")
    learned = json.loads((tmp_path / "half/quantiser.json").read_text())["learned"]
    assert 0 < int(re.search(r"(\d+) utterances", learned)[1]) < 12


def test_units_of_jobs_are_those_of_one(systems, quantiser, run, tmp_path):
    words = ["--quantiser", quantiser, "--data", f"{systems}/data", "--shard_size", 5]
    run("extract_units", *words, "--output", tmp_path / "one").says("units of 12 recordings")
    for job in (2, 1):
        split = ["--num_jobs", 2, "--job", job]
        run("extract_units", *words, *split, "--output", tmp_path / "two").says()
    done = run("extract_units", *words, "--num_jobs", 2, "--merge", "--output", tmp_path / "two")
    done.says("units of 12 recordings")
    assert tables(tmp_path / "one") == tables(tmp_path / "two")
    rows = list(iter_units(tmp_path / "one"))
    assert len(rows) == 12 and {unit for row in rows for unit in row.units} == set(range(6))
    lengths = [round(25 * float(line.split()[1])) for line in open(f"{systems}/data/utt2dur")]
    assert all(abs(len(row.units) - n) <= 1 for row, n in zip(rows, lengths, strict=True))


def test_merged_repeats_say_the_same(systems, quantiser, run, tmp_path):
    words = ["--quantiser", quantiser, "--data", f"{systems}/data"]
    run("extract_units", *words, "--output", tmp_path / "plain").says()
    merged = [*words, "--merge_repeats", "true", "--output", tmp_path / "merged"]
    run("extract_units", *merged).says()
    again = run("extract_units", *merged)
    assert "nothing left" in again.err
    plain, short = (list(iter_units(tmp_path / name)) for name in ("plain", "merged"))
    assert [row.frames for row in short] == [row.units for row in plain]
    assert sum(len(row.units) for row in short) < sum(len(row.units) for row in plain)
    assert read_set(tmp_path / "merged").merged and not read_set(tmp_path / "plain").merged
    run("extract_units", *words, "--output", tmp_path / "merged").says()  # the other way
    assert not (tmp_path / "merged/durations").exists()
    assert list(iter_units(tmp_path / "merged")) == plain


def test_what_is_refused(systems, quantiser, run, tmp_path):
    data = ["--data", f"{systems}/data"]
    learn = ["--source", "fbank", *data, "--output", tmp_path / "q"]
    run("learn_units", *learn, "--size", 100_000).fails("different frames", "--size")
    run("learn_units", *learn, "--size", 1).fails("--size 1")
    run("learn_units", "--source", "mfcc", *data, "--output", tmp_path / "q").fails("'mfcc'")
    assert not (tmp_path / "q").exists()
    extract = [*data, "--output", tmp_path / "u"]
    run("extract_units", "--quantiser", tmp_path, *extract).fails("is no quantiser")
    ctc = ["--source", f"ctc:{systems}/ctc", *data, "--size", 4, "--output", tmp_path / "ctc"]
    run("learn_units", *ctc).says("4 units of ctc")
    moved = ["--quantiser", tmp_path / "ctc", "--encoder", tmp_path / "gone", *extract]
    run("extract_units", *moved).fails("not a trained experiment")
    assert not (tmp_path / "u/units").exists()


def test_a_report(systems, quantiser, run, tmp_path):
    data = ["--data", f"{systems}/data"]
    for merged in ("false", "true"):
        words = ["--merge_repeats", merged, "--output", tmp_path / merged]
        run("extract_units", "--quantiser", quantiser, *data, *words).says()
    sets = [tmp_path / "false", tmp_path / "true"]
    done = run("report_units", *sets, *data, "--output", tmp_path / "report.json")
    done.says("tells the words", "12  ", str(sets[0]), str(sets[1]))
    plain, short = json.loads((tmp_path / "report.json").read_text()).values()
    assert plain["units_per_second"] == 25.0 and short["units_per_second"] < 25.0
    assert plain["used"] == 6 and plain["recordings"] == 12 and plain["speakers"] == 1
    assert {name for name in plain if plain[name] != short[name]} == {"units", "units_per_second"}
    run("report_units", *sets[:1], *data, "--max_recordings", 5).says("        4")
    (tmp_path / "other").mkdir()
    for name in ("text", "utt2spk"):
        (tmp_path / "other" / name).write_text("u00 x\n")
    wrong = run("report_units", *sets, "--data", tmp_path / "other")
    wrong.fails("11 of 12 recordings", "first: u01", "--data")


def test_levels(systems, quantiser, run, tmp_path):
    data = ["--data", f"{systems}/data"]
    learn = ["--source", "fbank", *data, "--size", 6, "--output", tmp_path / "q"]
    done = run("learn_units", *learn, "--levels", 3)
    done.says("6 units of fbank:4", "level 1: ", "level 3: ")
    left = [float(share) for share in re.findall(r"level \d: ([\d.]+) %", done.out)]
    assert 100 > left[0] > left[1] > left[2] > 0
    units = ["--quantiser", tmp_path / "q", *data, "--output", tmp_path / "u"]
    run("extract_units", *units, "--merge_repeats", "true").fails("3 levels", "--merge_repeats")
    run("extract_units", *units).says("units of 12 recordings")
    rows = list(iter_levels(tmp_path / "u"))
    assert len(rows) == 12 and all(len(row.levels) == 3 for row in rows)
    one = ["--quantiser", quantiser, *data, "--output", tmp_path / "one"]
    run("extract_units", *one).says()
    assert [row.units for row in iter_units(tmp_path / "one")] == [row.levels[0] for row in rows]
    done = run("report_units", tmp_path / "u", *data, "--output", tmp_path / "report.json")
    done.says(f"{tmp_path}/u level 1", f"{tmp_path}/u level 3", "bits/s")
    found = list(json.loads((tmp_path / "report.json").read_text()).values())
    assert len(found) == 3 and all(0 < each["bits_per_second"] <= 25 * 2.6 for each in found)
    one = ["--quantiser", quantiser, *data, "--output", tmp_path / "u"]
    run("extract_units", *one).says()  # of one level, in the same place
    assert not (tmp_path / "u/units_2").exists()
    run("learn_units", *learn[:-1], tmp_path / "x", "--levels", 0).fails("0 levels")


def test_an_llm_gains_the_units(systems, quantiser, run, tmp_path):
    words = ["--llm", f"{systems}/llm", "--quantiser", quantiser, "--output", tmp_path / "joint"]
    run("extend_llm", *words).says("8 more for 6 units of fbank:4 (mean)")
    run("extend_llm", *words).says("8 more")  # the same: it stays
    run("extend_llm", *words, "--init", "normal").fails("is there already")
    assert (tmp_path / "joint/unit_vocabulary.json").exists()
    again = ["--llm", tmp_path / "joint", "--quantiser", quantiser, "--output", tmp_path / "twice"]
    run("extend_llm", *again).fails("has 8 tokens of units already")
    run("extend_llm", *words[:4], "--output", tmp_path / "x", "--init", "ones").fails(
        "none of mean"
    )
    run("extend_llm", *words[:2], "--quantiser", tmp_path, "--output", "x").fails("no quantiser")
    assert not (tmp_path / "twice").exists() and not (tmp_path / "x").exists()


def test_tasks_are_prepared(systems, quantiser, run, tmp_path):
    words = ["--quantiser", quantiser, "--data", f"{systems}/data", "--output", tmp_path / "units"]
    run("extract_units", *words).says()
    run("extend_llm", "--llm", f"{systems}/llm", *words[:2], "--output", tmp_path / "joint").says()
    fields = f"{{audio: {tmp_path}/units, text: {systems}/data/text}}"
    source = "{name: a, language: English, tasks: ['[ASR English]', '[TTS English]'], fields: "
    (tmp_path / "mix.yaml").write_text(f"sources: [{source}{fields}}}]\n")
    words = ["--mixture", tmp_path / "mix.yaml", "--output", tmp_path / "tasks"]
    done = run("prepare_tasks", *words, "--llm", tmp_path / "joint")
    done.says("a.asr_english", "a.tts_english", "50.0")
    assert len((tmp_path / "tasks/prompt_ids").read_text().splitlines()) == 24
    source = "{name: a, language: '{language}', tasks: ['[ASR {language}]'], fields: "
    (tmp_path / "cy.yaml").write_text(f"system_prompt: Do it.\nsources: [{source}{fields}}}]\n")
    again = ["--mixture", tmp_path / "cy.yaml", "--output", tmp_path / "more", "--language", "cy"]
    run("prepare_tasks", *again, "--llm", tmp_path / "joint").says("a.asr_welsh")
    facts = json.loads((tmp_path / "more/tasks.json").read_text())
    assert facts["system_prompt"] == "Do it."  # for who asks the trained model
    run("prepare_tasks", *words, "--llm", f"{systems}/llm").fails("no units in its vocabulary")
    run("prepare_tasks", *words, "--llm", tmp_path / "joint", "--max_tokens", 0).fails("at least 1")
