"""local/ablation.sh of both recipes: the list, what is run of it, and the table, with a run.sh that
notes words."""

import json
import re
import shlex
import shutil
import stat
import sys
from pathlib import Path

import pytest
import yaml

from espnet_audiollm.data.task_mixture import read_mixture
from espnet_audiollm.tasks.audiollm import AudioLLMTask
from espnet_audiollm.tasks.speechlm import SpeechLMTask

MINI = Path(__file__).parents[2] / "egs2/mini"
RECIPE = MINI / "audiollm1"

RUN_SH = """#!/usr/bin/env bash
# Notes its words; stages 7 to 10 leave a log and a cost, stage 11 results of all models.
set -eu
echo "$*" >> calls
[[ " $* " != *" --stage ${FAIL:-none} "* ]] || exit 3
option() {
    local name="$1"
    while shift && [ $# -gt 0 ]; do [ "$1" != "$name" ] || echo "$2"; done
}
exp="exp/audiollm_$(option --align_tag "$@")_x"
case "$(option --stage "$@")" in
    7) mkdir -p "${exp}"
       echo "1epoch results: [train] a=1, train_time=0.25, b=2" > "${exp}/train.log"
       echo '{"seconds": 1, "trained": 2, "memory": 2147483648}' > "${exp}/cost.json" ;;
    11) mkdir -p exp/ablation && cp made.json exp/ablation/results.json ;;
esac
"""


@pytest.fixture
def ablation(tmp_path, monkeypatch):
    """The module in a recipe whose run.sh is the one above."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(RECIPE / "local"))
    import ablation

    run_sh = tmp_path / "run.sh"
    run_sh.write_text(RUN_SH)
    run_sh.chmod(run_sh.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "exp/ctc_x").mkdir(parents=True)
    (tmp_path / "exp/ctc_x/valid.loss.ave.pth").touch()
    (tmp_path / "a.yaml").touch()
    write(tmp_path, [{"name": "one", "label": "One", "config": "a.yaml"}, TWO])
    rows = [row("cascade", "cascade, greedy", "ctc", 50.0), row("cascade", "beam", "ctc", 60.0)]
    models = [
        f"audiollm_ablation_{name}_seed{seed}_x" for name in ("one", "two") for seed in (1, 2)
    ]
    rows += [row("audiollm", model, model, 70.0 + i) for i, model in enumerate(models)]
    (tmp_path / "made.json").write_text(json.dumps({"test_set": "test", "systems": rows}))
    yield ablation
    for name in ("ablation", "ablation_runs"):
        sys.modules.pop(name)


TWO = {"name": "two", "config": "a.yaml", "args": "--ctc_weight 1", "options": "--beam 2"}


def write(place, items):
    (place / "list.yaml").write_text(yaml.safe_dump(items))


def row(name, label, model, success):
    ppl = {"response_ppl": 1.5, "response_ppl_ci95": [1.25, 2.0]}
    success = {"success_rate": success, "success_rate_ci95": [success - 1, success + 1]}
    return {"name": name, "label": label, "model": model, **ppl, **success}


def test_every_system_has_every_seed_and_places_of_its_own(ablation, tmp_path, capfd):
    words = ["--list", "list.yaml", "--seeds", "1 2", "--", "--nj", "1"]
    assert ablation.main(words) == 0
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 4 + 1
    assert calls[1] == (
        "--nj 1 --align_tag ablation_two_seed1 --align_configs a.yaml "
        "--align_args --ctc_weight 1 --seed 1 --beam 2 --stage 7 --stop_stage 10"
    )
    assert "--resultsdir exp/ablation --stage 11" in calls[-1]
    table = capfd.readouterr().out.split("\n| ")[1:]
    assert len(table) == 7
    assert table[2].startswith("beam | – | 60.0 [59.0, 61.0] | 1.500 [1.250, 2.000] | – | – |")
    one = r"One \| 1 \| 70\.0 \[69\.0, 71\.0\] \| 1\.500 \[1\.250, 2\.000\] \| 0\.25 \| 2\.0 \|"
    assert re.match(one, table[3])
    assert [line.split(" | ")[:2] for line in table[4:]] == [
        ["One", "2"], ["two", "1"], ["two", "2"]
    ]  # fmt: skip
    assert (tmp_path / "exp/ablation/table.md").read_text().count("\n") == 7


def test_a_system_that_was_trained_twice_is_named(ablation, tmp_path, capsys):
    words = ["--list", "list.yaml", "--seeds", "1"]
    assert ablation.main(words) == 0
    (tmp_path / "exp/audiollm_ablation_two_seed1_y").mkdir()
    with pytest.raises(SystemExit):
        ablation.main(words)
    said = capsys.readouterr().err
    assert "two_seed1 was trained 2 times" in said and "ablation_two_seed1_x" in said


def test_a_stage_that_fails_is_named(ablation, monkeypatch, capsys):
    monkeypatch.setenv("FAIL", "7")
    with pytest.raises(SystemExit):
        ablation.main(["--list", "list.yaml", "--seeds", "1"])
    assert "one_seed1: run.sh in stages 7 to 10 ended with exit status 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("items", "more", "message"),
    [
        ([], [], "is no list of systems"),
        ([{"label": "One"}], [], "system 1 of 1 needs a name"),
        ([TWO | {"align_args": "--x 1"}], [], "system 1 of 1 needs a name, and may have"),
        ([TWO | {"name": "a/b"}], [], "system 1: no name for a directory"),
        ([TWO | {"config": "b.yaml"}], [], "two: b.yaml does not exist"),
        ([TWO, TWO], [], "two systems have one name"),
        ([TWO], ["--names", "six"], "it has no system 'six' (there are two)"),
        ([TWO], ["--seeds", "x"], "--seeds 'x': give whole numbers"),
        ([TWO], ["--seeds", ""], "there is nothing to train"),
        ([TWO], ["--", "--align_args", "--max_epoch 1"], "--align_args is each system's own"),
        ([TWO], ["--", "--align_tag=x"], "--align_tag=x is each system's own"),
    ],
)
def test_what_is_refused(ablation, tmp_path, capsys, items, more, message):
    write(tmp_path, items)
    with pytest.raises(SystemExit):
        ablation.main(["--list", "list.yaml", *more])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "calls").exists()


def test_without_a_main_job_it_says_so(ablation, tmp_path, capsys):
    shutil.rmtree(tmp_path / "exp/ctc_x")
    with pytest.raises(SystemExit):
        ablation.main(["--list", "list.yaml"])
    assert "run the main job (./run.sh) first" in capsys.readouterr().err


def test_the_list_names_all_that_is_to_be_told_apart(ablation, monkeypatch):
    monkeypatch.chdir(RECIPE)
    entries = sys.modules["ablation_runs"].read_list("local/ablation.yaml", [1, 2, 3], None)
    assert len({entry.key for entry in entries}) == len(entries) == 33
    names = "paper behaviours distribution hidden ctc bridge bridge_hard ctc_alone risk"
    names += " bridge_behaviours all"
    assert [entry.name for entry in entries[:11]] == names.split()
    parser = AudioLLMTask.get_parser()
    settings = set()
    for entry in entries[:11]:  # no two train the same
        words = ["--config", entry.config, *shlex.split(entry.args)]
        options = vars(parser.parse_args(words)) | {"config": None, "run": entry.options}
        settings.add(repr(sorted(options.items())))
    assert len(settings) == 11


SPEECH_RUN_SH = """#!/usr/bin/env bash
# Notes its words; leaves a log and results.
set -eu
echo "$*" >> calls
option() {
    local name="$1"
    while shift && [ $# -gt 0 ]; do [ "$1" != "$name" ] || echo "$2"; done
}
exp="exp/speechlm_$(option --lm_tag "$@")_sets"
mkdir -p "${exp}"
echo "1epoch results: [train] a=1, train_time=0.5, b=2" > "${exp}/train.log"
cp made.json "${exp}/results.json"
"""


def measure(block, step, name, value):
    interval = None if value is None else [value - 1, value + 1]
    return {"block": block, "step": step, "name": name, "value": value, "ci95": interval}


@pytest.fixture
def speech_ablation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(MINI / "speechlm1/local"))
    import speech_ablation

    run_sh = tmp_path / "run.sh"
    run_sh.write_text(SPEECH_RUN_SH)
    run_sh.chmod(run_sh.stat().st_mode | stat.S_IXUSR)
    measures = [
        measure("spoken.asr_english", "ASR", "WER %", 5.0),
        measure("spoken.asr_sqa_sqsa_english", "ASR", "WER %", 6.0),
        measure("spoken.sqa_english", "SQA", "success %", 70.0),
        measure("spoken.asr_sqa_sqsa_english", "SQSA", "spoken success %", 30.0),
        measure("answers.tts_english", "TTS", "ASR-WER %", None),
    ]
    (tmp_path / "made.json").write_text(json.dumps({"task_systems": [{"measures": measures}]}))
    yield speech_ablation
    for name in ("speech_ablation", "ablation_runs"):
        sys.modules.pop(name)


def test_speech_lms_have_a_row_of_their_own_results(speech_ablation, tmp_path, capfd):
    write(tmp_path, [{"name": "one", "options": "--merge_repeats true"}, {"name": "two"}])
    assert speech_ablation.main(["--list", "list.yaml", "--seeds", "1 2", "--", "--nj", "1"]) == 0
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 4
    assert calls[0] == (
        "--nj 1 --lm_tag ablation_one_seed1 --lm_args --seed 1 --merge_repeats true "
        "--stage 3 --stop_stage 12"
    )
    rows = [line.strip("| ").split(" | ") for line in capfd.readouterr().out.splitlines()[-4:]]
    assert [row[:2] for row in rows] == [["one", "1"], ["one", "2"], ["two", "1"], ["two", "2"]]
    asr, qa, sqa, chain, spoken, spoken_chain, tts, units, seconds, _ = rows[0][2:]
    assert (asr, sqa, spoken_chain, seconds) == (
        "5.0 [4.0, 6.0]", "70.0 [69.0, 71.0]", "30.0 [29.0, 31.0]", "0.50"
    )  # fmt: skip
    assert {qa, chain, spoken, tts, units} == {"–"}


def test_the_speech_list_trains_nothing_twice(speech_ablation, monkeypatch):
    recipe = MINI / "speechlm1"
    monkeypatch.chdir(recipe)
    entries = sys.modules["ablation_runs"].read_list("local/ablation.yaml", [1], None)
    parser, settings = SpeechLMTask.get_parser(), set()
    for entry in entries:
        words = ["--config", "conf/train_speechlm.yaml", *shlex.split(entry.args)]
        options = vars(parser.parse_args(words)) | {"config": None, "run": entry.options}
        settings.add(repr(sorted(options.items())))
        for word in shlex.split(entry.options):
            assert not word.startswith("conf/") or read_mixture(recipe / word).sources
    assert len(settings) == len(entries)
