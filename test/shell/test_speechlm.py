"""What speechlm.sh runs, in which order and on what. The Python mains are replaced by one that
notes its words in `calls` and leaves the files that the next stages look for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAGES = ("1_units", "2_crossmodal", "3_chain")
FAKE_PYTHON = """#!/usr/bin/env bash
set -euo pipefail
option() { # option NAME WORD...: the word after NAME
    local name="$1"
    while shift && [ $# -gt 0 ]; do [ "$1" != "${name}" ] || { echo "$2"; return; }; done
}
if [ "$1" != -m ]; then # A tool of utils/data.
    echo "$(basename "$1" .py) ${*:2}" >> calls
    mkdir -p "$3" && cp -r "$2/." "$3"
    exit
fi
module="${2##*.}"
echo "${module} ${*:3}" >> calls
[ "${module}" != "${FAIL:-}" ] || { echo "${module}: error: the moon is full" >&2; exit 1; }
out="$(option --output "$@")$(option --output_dir "$@")"
leave() { mkdir -p "$(dirname "$1")" && echo "${2:-a 1}" > "$1"; }
case "${module}" in
    synthesise | speak)
        for file in wav.scp text utt2spk; do leave "${out}/${file}"; done
        leave "${out}/utt2num_samples" "a ${SAMPLES:-1}" ;;
    learn_units) leave "${out}/quantiser.json" ;;
    spoken_translations | format_data)
        for file in wav.scp text utt2spk; do leave "$4/${file}"; done ;;
    extract_units) leave "${out}/units" ;;
    extend_llm | export_llm) leave "${out}/unit_vocabulary.json" "${out}" ;;
    prepare_tasks)
        for file in prompt_ids response_ids tasks.json; do
            leave "${out}/${file}" "$(cat "$(option --mixture "$@")")"
        done ;;
    mean_patches | vocoder_train) leave "${out}/valid.loss.ave.pth" ;;
    speechlm_train) leave "${out}/valid.loss.ave.pth" "$(option --llm "$@")" ;;
    respond_tasks)
        leave "${out}/spoken.tts_english/audio/units"
        leave "${out}/spoken.qsa_english/answer_audio/units" "b 1"
        leave "${out}/cvss.s2st_french_english/translation_audio/units" ;;
    judge_speech) leave "${out}/speech.json" ;;
esac
"""


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def recipe(tmp_path):
    """The mini recipe where the environment is the fake one, and what audiollm1 leaves."""
    shutil.copytree(ROOT / "egs2/TEMPLATE", tmp_path / "egs2/TEMPLATE", symlinks=True)
    for name in ("mini", "cvss"):
        own = f"egs2/{name}/speechlm1"
        shutil.copytree(ROOT / own, tmp_path / own, symlinks=True)
    shutil.copytree(ROOT / "utils", tmp_path / "utils")
    executable(tmp_path / "tools/bin/python", FAKE_PYTHON)
    (tmp_path / "tools/activate").write_text(f'export PATH="{tmp_path}/tools/bin:${{PATH}}"\n')
    given_by_audiollm1(tmp_path / "egs2/mini/audiollm1", "answers", "responses/response_ids")
    given_by_audiollm1(tmp_path / "egs2/cvss/audiollm1", "translation", "translation_audio")
    for exp in ("mini/audiollm1/exp/ctc_long", "cvss/audiollm1/exp/ctc_25hz"):
        (tmp_path / "egs2" / exp).mkdir(parents=True)
        (tmp_path / "egs2" / exp / "valid.loss.ave.pth").write_text("weights\n")
    return tmp_path / "egs2/mini/speechlm1"


def given_by_audiollm1(other, *more):
    """Its data, and a run.sh that notes its words."""
    executable(other / "run.sh", '#!/bin/sh\nprintf "%s|" "$@" >> words\n')
    for split in ("train", "valid", "test"):
        for name in ("wav.scp", "text", "utt2spk", *more):
            path = other / "dump" / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("a 1\n")


def run(place, *words, **variables):
    (place / "calls").unlink(missing_ok=True)
    command = [
        place / "run.sh",
        "--nj",
        "1",
        "--inference_nj",
        "1",
        "--vocoder",
        "train",
        *map(str, words),
    ]
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, **variables}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    calls = place / "calls"
    return done, calls.read_text().splitlines() if calls.exists() else []


def option(call, name):
    words = call.split()
    return words[words.index(name) + 1]


def of(calls, module):
    return [call for call in calls if call.split()[0] == module]


ONE_SET = ["--answer_unit_source", ""]


@pytest.mark.parametrize("words", [[], ONE_SET], ids=["two_sets", "one_set"])
def test_one_training_and_speech(recipe, words):
    done, calls = run(recipe, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [option(c, "--text").split("/")[-2] for c in of(calls, "synthesise")] == [
        "train",
        "valid",
        "test",
    ]
    extracted = of(calls, "extract_units")
    assert len(extracted) == 7 and len(of(calls, "prepare_tasks")) == 3
    [training] = of(calls, "speechlm_train")
    assert option(training, "--llm").startswith("exp/joint_")
    [vocoder] = of(calls, "vocoder_train")
    for split, kinds in (("train", extracted[6:]), ("valid", extracted[3:4])):
        data, units = (option(vocoder, f"--{split}_{kind}") for kind in ("data", "units"))
        [made] = kinds
        assert (option(made, "--data"), option(made, "--output")) == (data, units)
    [taken] = [c for c in of(calls, "subset") if option(vocoder, "--train_data") in c]
    assert "dump/train/answers_en_us_edward " in taken and taken.endswith("--random 1")
    spoken = of(calls, "speak")
    kinds = 2 if words else 1  # with units of their own, TTS is of the answers
    assert len(spoken) == 2 * kinds + 1  # two controls of each, TTS: nobody answered QSA in speech
    assert sum("--shuffle true" in call for call in spoken) == kinds
    assert all(" --voice=" not in call for call in spoken)  # the vocoder has one voice
    judged = [c for c in of(calls, "judge_speech") if "--beside" in c]
    assert ["--answers" in call.split() for call in judged] == [not words, True]  # TTS, QSA
    assert "spoken.qsa_english has no answer in speech" in done.stdout
    assert len(of(calls, "listen_speech")) == 2 and len(of(calls, "score_tasks")) == 2
    again, calls = run(recipe, *words)
    assert again.returncode == 0, again.stderr
    assert {call.split()[0] for call in calls} == {"listen_speech", "score_tasks"}


def test_units_that_are_spoken_are_of_the_answers(recipe):
    done, calls = run(recipe, "--merge_repeats", "true")
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = of(calls, "learn_units")
    assert option(first, "--data") == "../audiollm1/dump/train" and " --size 500 " in first
    assert "--source fbank:8 --data dump/train/answers_en_us_edward --size 500 " in second
    read, spoken = (option(call, "--output") for call in (first, second))
    assert (read, spoken) == ("exp/units/ctc_long_6_500", "exp/units/spoken_fbank_8_500")
    [extended] = of(calls, "extend_llm")
    assert f"--quantiser {read} {spoken} " in extended
    both = "ctc_long_6_500_spoken_fbank_8_500_merged"
    assert option(extended, "--output") == f"exp/joint_{both}"
    for call in of(calls, "extract_units"):
        heard = option(call, "--data").startswith("../audiollm1")
        assert option(call, "--quantiser") == (read if heard else spoken)
        made = Path(read if heard else spoken).name
        assert option(call, "--output").endswith((f"units_{made}_merged", ".data.units"))
    mixture = (recipe / option(of(calls, "prepare_tasks")[0], "--mixture")).read_text()
    units = "dump/train/answers_en_us_edward_units_spoken_fbank_8_500_merged"
    assert mixture.count(f'audio: "{units}"') == 2  # of answers, of TTS
    [training] = of(calls, "speechlm_train")
    assert option(training, "--output_dir") == f"exp/speechlm_{both}"
    [vocoder] = of(calls, "vocoder_train")
    assert option(vocoder, "--output_dir") == "exp/vocoder_answer_audio_spoken_fbank_8_500_merged"
    [answered] = of(calls, "respond_tasks")
    assert both in option(answered, "--llm")


def test_answers_that_are_spoken_anew(recipe):
    run(recipe, "--stop_stage", 11)
    responses = recipe.parent / "audiollm1/dump/test/responses/response_ids"
    responses.write_text("a 2\n")
    done, calls = run(recipe, "--stop_stage", 11, SAMPLES="2")  # the same paths in wav.scp
    assert done.returncode == 0, done.stdout + done.stderr
    spoken = "dump/test/answers_en_us_edward"
    assert [option(call, "--output") for call in of(calls, "synthesise")] == [spoken]
    assert [option(call, "--data") for call in of(calls, "extract_units")] == [spoken]
    assert any(f"{spoken} dump/test/judged" in call for call in of(calls, "subset"))
    assert not of(calls, "learn_units") and not of(calls, "vocoder_train")


def test_a_directory_that_was_removed_is_made_again(recipe):
    """Its marker lies beside it."""
    run(recipe, "--stop_stage", 6)
    [joint] = [path for path in recipe.glob("exp/joint_*") if path.suffix != ".log"]
    shutil.rmtree(joint)
    done, calls = run(recipe, "--stop_stage", 6)
    assert done.returncode == 0 and [call.split()[0] for call in calls] == ["extend_llm"]


@pytest.mark.parametrize("key, made", [("one", ["old"]), ("two", ["new"])])
def test_who_waited_for_the_same_work_takes_what_was_made(tmp_path, key, made):
    """Another run of the same command wrote the log that this one waited for."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d/old").touch()
    (tmp_path / "d.log").mkdir()
    (tmp_path / "d.log/.made").write_text("one\n")
    command = [ROOT / "utils/anew.sh", "d", "bash", "-c", "mkdir d && touch d/new"]
    environment = {"PATH": "/usr/bin:/bin", "JOB_KEY": key}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert [path.name for path in (tmp_path / "d").iterdir()] == made
    assert (tmp_path / "d.log/.made").read_text() == f"{key}\n"


def test_what_the_other_recipe_is_told(recipe):
    (recipe / "conf/site.yaml").write_text("default: {}\n")
    words = ["--slurm_config", "conf/site.yaml", "--test_set", "hard", "--drop_bad_audio", "true"]
    run(recipe, *words, "--stop_stage", 1)
    asked = (recipe.parent / "audiollm1/words").read_text()
    assert "--slurm_config|../speechlm1/conf/site.yaml|" in asked
    assert "--test_sets|hard|" in asked and "--drop_bad_audio|true|" in asked
    assert "--nj|1|--inference_nj|1|" in asked and "--train_set|train|--valid_set|valid|" in asked


def test_a_recogniser_that_was_trained_on(recipe):
    run(recipe, "--stop_stage", 5)
    (recipe.parent / "audiollm1/exp/ctc_long/valid.loss.ave.pth").write_text("others\n")
    done, calls = run(recipe, "--stop_stage", 5)
    assert done.returncode == 0, done.stdout + done.stderr
    [learned] = of(calls, "learn_units")
    assert option(learned, "--source").startswith("ctc:")


def test_other_answers_of_the_same_utterances_are_judged_anew(recipe):
    run(recipe, "--stop_stage", 11)
    [answered] = recipe.glob("exp/speechlm_*/respond_test")
    table = answered / "spoken.tts_english/audio/units"
    table.write_text("a 2\n")
    done, calls = run(recipe, "--stage", 11, "--stop_stage", 11)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [option(call, "--units") for call in of(calls, "speak")] == [
        str(table.parent.relative_to(recipe))
    ]
    [judged] = of(calls, "judge_speech")
    assert "spoken.tts_english/judged/audio" in option(judged, "--output")
    (recipe.parent / "audiollm1/dump/test/answers").write_text("a 3\n")
    _, calls = run(recipe, "--stage", 11, "--stop_stage", 11)
    judged = {option(call, "--output").split("/")[-1] for call in of(calls, "judge_speech")}
    assert judged == {"judged", "answer_audio"} or judged == {"judged", "audio", "answer_audio"}
    assert all("--success_rule contains" in call for call in of(calls, "judge_speech"))


def test_a_share_of_the_training_utterances(recipe):
    done, calls = run(recipe, "--train_share", "0.25")
    assert done.returncode == 0, done.stdout + done.stderr
    prepared = {option(call, "--output"): call for call in of(calls, "prepare_tasks")}
    assert [place for place, call in prepared.items() if "--share 0.25" in call] == [
        place for place in prepared if place.startswith("dump/train/tasks_share25_")
    ]
    [training] = of(calls, "speechlm_train")
    assert "_share25" in option(training, "--output_dir")
    assert option(training, "--train_tasks").startswith("dump/train/tasks_share25_")
    done, calls = run(recipe, "--train_share", "1.5")
    assert done.returncode != 0 and not calls and "is no share" in done.stdout + done.stderr


def test_another_llm_than_the_one_that_answers(recipe):
    base = recipe.parent / "audiollm1/exp/llm-narrow"
    base.mkdir(parents=True)
    (base / "config.json").write_text("{}")
    done, calls = run(recipe, "--base_llm", "../audiollm1/exp/llm-narrow")
    assert done.returncode == 0, done.stdout + done.stderr
    [extended] = of(calls, "extend_llm")
    assert option(extended, "--llm") == "../audiollm1/exp/llm-narrow"
    assert option(extended, "--output").startswith("exp/joint_")
    [training] = of(calls, "speechlm_train")
    places = [option(extended, "--output"), option(training, "--output_dir")]
    places += [option(call, "--output") for call in of(calls, "prepare_tasks")]
    assert all(place.endswith("_llm_narrow") for place in places)
    asked = (recipe.parent / "audiollm1/words").read_text()
    assert "--llm|exp/llm|" in asked and "narrow" not in asked


def test_compared_with_the_alignment_on_the_same_recogniser(recipe):
    other = recipe.parent / "audiollm1"
    runs = ["text/respond_test/reference", "ctc_long/respond_test/cascade_valid.loss.ave"]
    runs += [f"audiollm_{name}_bridge/respond_test/valid.loss.ave" for name in ("long", "mini")]
    for place in runs:
        (other / "exp" / place).mkdir(parents=True)
        (other / "exp" / place / "run.json").write_text("{}")
    made = "exp/speechlm_ctc_long_6_500_spoken_fbank_8_500/llm_valid.loss.ave.log/.done"
    examples = "dump/test/tasks_ctc_long_6_500_spoken_fbank_8_500"
    for name in (made, f"{examples}/tasks.json", f"{examples}/response_ids"):
        (recipe / name).parent.mkdir(parents=True, exist_ok=True)
        (recipe / name).write_text('{"tag": "[SQA English]"}')
    for words, aligned in (([], ["long"]), (["--align_tag", ""], ["long", "mini"])):
        (other / "words").unlink(missing_ok=True)
        done, calls = run(recipe, "--stage", 13, *words)
        assert "Stage 13" in done.stdout, done.stderr
        [compared] = of(calls, "compare_systems")
        found = [name for name in ("long", "mini") if f"audiollm_{name}_bridge" in compared]
        assert found == aligned and all(f"../audiollm1/exp/{r}" in compared for r in runs[:2])
        asked = (other / "words").read_text() if (other / "words").exists() else ""
        assert ("--stage|6|--stop_stage|10|" in asked) == (not words)
        assert ("--ctc_tag|long|" in asked and "--align_tag|long|" in asked) == (not words)


def test_a_model_that_was_trained_again_is_not_compared_by_its_old_answers(recipe):
    made = "exp/speechlm_ctc_long_6_500_spoken_fbank_8_500/llm_valid.loss.ave.log/.done"
    examples = "dump/test/tasks_ctc_long_6_500_spoken_fbank_8_500"
    for name in (made, f"{examples}/tasks.json", f"{examples}/response_ids"):
        (recipe / name).parent.mkdir(parents=True, exist_ok=True)
        (recipe / name).write_text('{"tag": "[SQA English]"}')
    other = recipe / "exp/speechlm_other"
    for name in ("respond_test/run/run.json", "respond_test/run/.done"):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_text("{}")
    words = ["--stage", 13, "--align_tag", ""]
    done, calls = run(recipe, *words)
    [compared] = of(calls, "compare_systems")
    assert "exp/speechlm_other/respond_test/run" in compared, done.stderr
    own = recipe / made
    os.utime(own, (own.stat().st_mtime + 9, own.stat().st_mtime + 9))  # exported again, as it was
    done, calls = run(recipe, *words)
    assert "left out" not in done.stdout
    export = other / "2_crossmodal/llm_valid.loss.ave.log/.done"
    export.parent.mkdir(parents=True)
    export.write_text("later")
    after = (other / "respond_test/run/.done").stat().st_mtime + 1
    os.utime(export, (after, after))
    done, calls = run(recipe, *words)
    [compared] = of(calls, "compare_systems")
    assert "exp/speechlm_other" not in compared
    assert "left out: exp/speechlm_other was trained again" in done.stdout


def test_the_corpus_own_speakers_and_no_vocoder(recipe):
    words = ["--answer_voice", "", *ONE_SET, "--tasks", "conf/other.yaml", "--stage", 4]
    (recipe / "conf/other.yaml").write_text("tasks of text\n")
    done, calls = run(recipe, *words, "--vocoder", "none")
    assert done.returncode == 0, done.stdout + done.stderr
    made = {call.split()[0] for call in calls}
    assert not made & {"synthesise", "vocoder_train", "speak", "judge_speech", "mean_patches"}
    done, calls = run(recipe, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    [vocoder] = of(calls, "vocoder_train")
    assert "answers" not in vocoder
    assert all(" --voice=1 " in call for call in of(calls, "speak"))  # of utt2spk
    assert not any("answer_audio" in call for call in of(calls, "judge_speech"))


def test_three_trainings_each_from_the_one_before(recipe):
    words = ["--lm_stages", "conf/speechgpt", "--stop_stage", 9]
    done, calls = run(recipe, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    trainings = of(calls, "speechlm_train")
    assert [Path(option(call, "--config")).stem for call in trainings] == list(STAGES)
    places = [option(call, "--output_dir") for call in trainings]
    begun = [option(call, "--llm") for call in trainings]
    assert begun[1:] == [f"{place}/llm_valid.loss.ave" for place in places[:2]]
    assert begun[0].startswith("exp/joint_")
    assert [Path(place).name for place in places] == list(STAGES)
    read = [Path(option(call, "--train_tasks")).name for call in trainings]
    assert [name.startswith(f"speechgpt_{s}_tasks") for name, s in zip(read, STAGES, strict=True)]
    prepared = [option(call, "--output") for call in of(calls, "prepare_tasks")]
    assert len(prepared) == 7 and "test/speechgpt_test_tasks_" in prepared[-1]
    [answered] = of(calls, "respond_tasks")
    assert option(answered, "--llm") == f"{places[2]}/llm_valid.loss.ave"
    again, calls = run(recipe, *words)
    assert again.returncode == 0 and not calls
    config = recipe / "conf/speechgpt/2_crossmodal.yaml"
    config.write_text(config.read_text() + "# changed\n")
    done, calls = run(recipe, *words)
    assert [Path(option(c, "--config")).stem for c in of(calls, "speechlm_train")] == [
        "2_crossmodal"
    ]


def test_tasks_that_were_held_out_are_asked(recipe):
    words = ["--tasks", "conf/other.yaml", "--test_tasks", "conf/tasks.yaml"]
    (recipe / "conf/other.yaml").write_text("tasks of text\n")
    done, calls = run(recipe, *words, "--stop_stage", 9)
    assert done.returncode == 0, done.stdout + done.stderr
    made = [Path(option(call, "--output")) for call in of(calls, "prepare_tasks")]
    names = [(place.parent.name, place.name.split("_ctc")[0]) for place in made]
    assert names == [("train", "other"), ("valid", "other"), ("test", "tasks")]
    [answered] = of(calls, "respond_tasks")
    assert option(answered, "--tasks") == str(made[2])
    done, calls = run(recipe, "--stage", 7, "--test_tasks", "none.yaml")
    assert (
        done.returncode and "none.yaml are missing or empty (--tasks, --test_tasks)" in done.stderr
    )


def test_spoken_translations(recipe):
    place = recipe.parents[1] / "cvss/speechlm1"
    words = ["--lang", "fr", "--llm", "conf/llm/llama3.2_1b_instruct.yaml"]
    words += ["--local_data_opts", "--subset true", "--audiollm_args", "--max_audio 9"]
    done, calls = run(place, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    asked = (place.parent / "audiollm1/words").read_text()
    assert "--llm|../speechlm1/conf/llm/llama3.2_1b_instruct.yaml|--max_audio|9|" in asked
    assert (
        "--local_data_opts|--subset true|--ctc_config|../speechlm1/conf/train_ctc_25hz.yaml|"
        in asked
    )
    assert "--ctc_tag|25hz|" in asked and "--stage|7|" not in asked  # no task has answers
    given = [call.split()[1:] for call in of(calls, "spoken_translations")]
    for split, (data, out, *speaker) in zip(("train", "valid", "test"), given, strict=True):
        assert data == f"../audiollm1/dump/{split}" and out == f"dump/{split}/translations.given"
        assert speaker == ["--speaker", "cvss_c"]
    [learned] = of(calls, "learn_units")
    assert "--data ../audiollm1/dump/train dump/train/translations " in learned
    assert len(of(calls, "format_data")) == 3 and len(of(calls, "extract_units")) == 7
    prepared = of(calls, "prepare_tasks")
    assert all("--language fr --translation_language en" in call for call in prepared)
    mixture = (place / option(prepared[0], "--mixture")).read_text()
    assert 'translation_audio: "dump/train/translations_units_' in mixture
    [vocoder] = of(calls, "vocoder_train")
    assert option(vocoder, "--valid_data") == "dump/valid/translations"
    assert all(" --voice=1 " in call for call in of(calls, "speak"))
    judged = [call for call in of(calls, "judge_speech") if "--beside" in call]
    assert any("translation_audio" in call for call in judged)
    assert all("audiollm1" not in call for call in of(calls, "judge_speech"))  # no French


def test_spoken_translations_in_units_of_their_own(recipe):
    place = recipe.parents[1] / "cvss/speechlm1"
    words = ["--llm", "conf/llm/llama3.2_1b_instruct.yaml", "--answer_unit_source", "fbank:4"]
    done, calls = run(place, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    read, spoken = of(calls, "learn_units")
    assert "--data ../audiollm1/dump/train --size 1024 " in read
    assert "--data dump/train/translations --size 500 " in spoken
    used = {option(c, "--data"): option(c, "--quantiser") for c in of(calls, "extract_units")}
    for split in ("train", "valid", "test"):
        assert used[f"../audiollm1/dump/{split}"] == option(read, "--output")
        assert used[f"dump/{split}/translations"] == option(spoken, "--output")


def test_a_stage_that_fails_is_gone_on_with(recipe):
    words = ["--lm_stages", "conf/speechgpt", "--stop_stage", 9]
    done, calls = run(recipe, *words, FAIL="export_llm")
    assert done.returncode and "--stage 8" in done.stderr and len(of(calls, "speechlm_train")) == 1
    done, calls = run(recipe, *words, "--stage", 8)
    assert done.returncode == 0, done.stderr
    assert len(of(calls, "speechlm_train")) == 2


@pytest.mark.parametrize(
    "words, says",
    [
        (["--lm_stages", "conf"], "--lm_stages conf: there is no training"),
        (["--vocoder", "some"], "train, patches or none"),
        (["--stage", 7, "--answer_voice", ""], "nothing is: give --answer_voice NAME"),
        (["--stage", 7, "--answer_voice", "", *ONE_SET], "--answer_voice NAME says who"),
        (["--stage", 7, "--tasks", "../../cvss/speechlm1/conf/tasks.yaml"], "spoken translations"),
        (["--stage", 3, "--llm", ""], "stage 3 needs --llm"),
        (["--stage", 7, "--tasks", "none.yaml"], "none.yaml are missing"),
    ],
)
def test_what_is_refused(recipe, words, says):
    done, calls = run(recipe, *words)
    assert done.returncode and says in done.stderr and not calls
