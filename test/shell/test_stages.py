"""What audiollm.sh runs, skips and refuses. The Python mains are replaced by one that notes its
words in `calls` and leaves the files that the next stages look for."""

import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import chat_llms
import pytest

ROOT = Path(__file__).parents[2]

FAKE_PYTHON = """#!/usr/bin/env bash
set -euo pipefail
if [ "$1" == utils/config_value.py ]; then
    exec "${PYTHON}" "$@"
elif [ "$1" != -m ]; then
    echo "$(basename "$1" .py) ${*:2}" >> calls # A tool of utils/data.
    exit
fi
module="${2##*.}"
words="${*:3}"
# A line for each run.
sed 's/ --run\\( --num_jobs.*\\| --job .*\\|\\)$//' <<< "${module} ${words}" |
    sed "s/ --run /\\n${module} /g" >> calls
printf '%s\\0' "${@:3}" > "words.${module}"
[ "${module}" != "${FAIL:-}" ] || { echo "${module}: error: the moon is full" >&2; exit 1; }
option() { # option NAME WORD...: the word after NAME
    local name="$1"
    while shift && [ $# -gt 0 ]; do [ "$1" != "${name}" ] || { echo "$2"; return; }; done
}
out="$(option --output "$@")$(option --output_dir "$@")"
case "${module}" in
    data_lengths)
        mkdir -p "${out}" && echo x | tee "${out}"/{speech,text}_shape > "${out}/response_shape" ;;
    format_data)
        [[ " $* " != *" --job "* ]] || exit 0 # Tables are the merge's.
        mkdir -p "$4" && cp "$3"/* "$4" && echo "a 16000" > "$4/utt2num_samples"
        echo x > "$4/.done" ;;
    add_noise) [[ " $* " == *" --job "* ]] || { mkdir -p "${out}" && echo a > "${out}/wav.scp"; } ;;
    tokenize_text)
        mkdir -p "${out}"
        echo x | tee "${out}"/{tokens.txt,tokenizer.json} > "${out}/bpe.model" ;;
    ctc_train | aggregate_stats_dirs)
        mkdir -p "${out}"/{train,valid}
        echo x > "${out}/train/feats_stats.npz"
        for file in {train,valid}/{speech,text}_shape 2epoch.pth valid.loss.ave.pth; do
            echo x > "${out}/${file}"
        done ;;
    ctc_decode) mkdir -p "${out}" && echo "a b" > "${out}/hyp" && echo "${out}: WER 5.00 %" ;;
    respond)
        [ -z "${LOST:-}" ] || for word in "$@"; do
            [ "${word}" != --run ] || echo "a run: 1 dialogues do not fit, not answered (first: a)"
        done ;;
    generate_responses)
        mkdir -p "${out}/teacher" && echo "a 3 4 2" > "${out}/response_ids"
        kept="$(option --teacher_top_k "$@")"
        [ -z "${kept}" ] || echo "${kept}" > "${out}/teacher/top_k"
        [[ " $* " != *" --prompt_ids"* ]] || echo x > "${out}/teacher/prompt_ids"
        [[ " $* " == *" --behaviours "* ]] || exit 0
        echo x | tee "${out}"/{prompt_ids,recording_samples} > "${out}/recordings" ;;
    audiollm_train) mkdir -p "${out}" && echo x > "${out}/valid.loss.ave.pth" ;;
esac
"""


@pytest.fixture
def recipe(tmp_path):
    """A recipe directory in a checkout whose environment is the fake one."""
    template = tmp_path / "egs2/TEMPLATE"
    shutil.copytree(ROOT / "egs2/TEMPLATE", template)
    shutil.copytree(ROOT / "utils", tmp_path / "utils")
    (tmp_path / "tools/bin").mkdir(parents=True)
    (tmp_path / "tools/activate").write_text(f'export PATH="{tmp_path}/tools/bin:${{PATH}}"\n')
    executable(tmp_path / "tools/bin/python", FAKE_PYTHON)
    path = tmp_path / "egs2/fake/audiollm1"
    subprocess.run([template / "common/setup.sh", path], check=True, capture_output=True)
    executable(path / "local/data.sh", '#!/bin/sh\necho data.sh "$@" >> calls\n')
    for split in ("train", "valid", "test"):
        (path / "data" / split).mkdir(parents=True)
        (path / "data" / split / "wav.scp").write_text("a a.wav\n")
        (path / "data" / split / "text").write_text("a hello\n")
    for name in ("ctc", "align_small", "align_other"):
        (path / f"conf/train_{name}.yaml").write_text("encoder: conformer\n")
    return path


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def run(recipe, *words, **environment):
    """Run audiollm.sh; the result, with the mains that were called."""
    (recipe / "calls").unlink(missing_ok=True)
    words = ["--llm", "my llm", "--align_configs", "conf/train_align_small.yaml", *words]
    done = subprocess.run(
        ["./audiollm.sh", *words],
        cwd=recipe,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, **environment},
        check=False,
    )
    calls = recipe / "calls"
    done.calls = calls.read_text().splitlines() if calls.exists() else []
    done.mains = [call.split()[0] for call in done.calls]
    return done


def test_every_stage_runs_and_a_second_run_trains_nothing(recipe):
    first = run(recipe)
    assert first.returncode == 0, first.stderr
    assert sorted(set(first.mains)) == sorted(
        "data.sh validate format_data tokenize_text data_lengths ctc_train ctc_decode "
        "generate_responses audiollm_train respond score".split()
    )
    second = run(recipe)
    assert second.returncode == 0, second.stderr
    # These look for themselves whether their work is whole.
    assert set(second.mains) == {"data.sh", "format_data", "generate_responses", "score"}


def test_an_edit_during_a_run_does_no_harm(recipe):
    """Stage 1 writes lines into the middle of audiollm.sh, and behind its end."""
    edit = """#!/bin/sh
    sed 's/^## Machine/echo edited >> calls\\n&/' audiollm.sh > new
    echo 'echo edited >> calls' >> new
    cat new > audiollm.sh
    """
    executable(recipe / "local/data.sh", edit)
    before = (recipe / "audiollm.sh").read_text()
    done = run(recipe, "--stop_stage", "3")
    assert done.returncode == 0 and done.stderr == ""
    assert sorted(set(done.mains)) == ["format_data", "tokenize_text", "validate"]
    assert (recipe / "audiollm.sh").read_text().count("edited") == 2 > before.count("edited")


def test_words_arrive_complete(recipe):
    done = run(recipe, "--stop_stage", "7", "--chat_template", "a b.jinja")
    call = next(call for call in done.calls if call.startswith("generate_responses"))
    assert call == (
        "generate_responses --llm my llm --chat_template a b.jinja "
        "--data dump/train --output dump/train/responses --device cpu"
    )


def test_behaviours_have_places_of_their_own(recipe):
    """With them stages 7 to 9 leave alone what was trained without, and read one store alone."""
    (recipe / "conf/some.yaml").write_text("- {name: answer, weight: 1}\n")
    words = ["--behaviours", "conf/some.yaml", "--behaviours_per_utterance", "2"]
    assert run(recipe, *words).returncode == 0
    calls = run(recipe, *words, "--stage", "7", "--stop_stage", "9").calls
    stores = [re.search(r"--output (\S+) ", call)[1] for call in calls]
    drawn = ["dump/train/responses_some", "dump/valid/responses_some"]
    assert stores == [*drawn, "dump/test/responses"]
    assert all("--behaviours conf/some.yaml --behaviours_per_utterance 2" in c for c in calls[:2])
    assert "behaviours" not in calls[2]
    trained = (recipe / "words.audiollm_train").read_text().split("\0")
    assert trained[trained.index("--output_dir") + 1] == "exp/audiollm_some_small"
    sources = [word.split(",", 1) for word in trained if word.startswith("dump/train")]
    assert [name for _, name in sources] == [
        "speech,recordings",
        "recording_samples,text_int",
        "prompt,text_int",
        "response,text_int",
    ]
    assert {path.rsplit("/", 1)[0] for path, _ in sources} == {drawn[0]}
    counted = (recipe / "words.data_lengths").read_text().split("\0")
    assert counted[counted.index("--samples") + 1] == f"{drawn[1]}/recording_samples"

    plain = run(recipe, "--stage", "7", "--stop_stage", "9")
    assert not [call for call in plain.calls if "some" in call]
    assert plain.mains == ["generate_responses"] * 3 + ["data_lengths"] * 2 + ["audiollm_train"]
    (recipe / "dump/train/responses_some/prompt_ids").write_text("y")
    assert "audiollm_train" in run(recipe, *words, "--stage", "9", "--stop_stage", "9").mains


def test_behaviours_that_are_not_there(recipe):
    assert run(recipe, "--stop_stage", "6").returncode == 0
    done = run(recipe, "--stage", "7", "--behaviours", "conf/none.yaml")
    assert done.returncode == 1 and "--behaviours conf/none.yaml is missing" in done.stderr


def test_changed_configuration_is_noticed(recipe):
    assert run(recipe).returncode == 0
    (recipe / "conf/train_align_small.yaml").write_text("encoder: whisper\n")
    done = run(recipe, "--stage", "4", "--stop_stage", "9")
    assert done.mains == ["generate_responses"] * 3 + ["audiollm_train"]


@pytest.mark.parametrize(
    ("config", "words", "wanted"),
    [
        ("normalize: global_mvn # of all speakers\n", [], True),
        ("{'normalize': 'global_mvn'}\n", ["--ctc_args", "--normalize utterance_mvn"], False),
        ("max_epoch: 1\n", ["--ctc_args", "--max_epoch 2 --normalize=global_mvn"], True),
        ("encoder: conformer\n# normalize: global_mvn\n", [], False),
    ],
)
def test_global_statistics_are_collected_where_they_are_wanted(recipe, config, words, wanted):
    (recipe / "conf/train_ctc.yaml").write_text(config)
    done = run(recipe, "--stop_stage", "5", "--nj", "2", *words)
    assert done.returncode == 0, done.stderr
    stats = "--normalize_conf=stats_file=exp/ctc_stats_unigram1500/train/feats_stats.npz"
    assert ("aggregate_stats_dirs" in done.mains) == (stats in done.calls[-1]) == wanted
    assert done.mains[-1] == "ctc_train"
    assert [call for call in done.calls if "--collect_stats true" in call] == [
        call for call in done.calls[:-1] if call.startswith("ctc_train")
    ]


def test_inference_in_jobs_is_merged(recipe):
    done = run(recipe, "--stop_stage", "7", "--inference_nj", "2")
    assert done.returncode == 0, done.stderr
    calls = [call for call in done.calls if call.startswith("ctc_decode")]
    assert sorted(call.split(" --device cpu ")[1] for call in calls) == [
        "--job 1 --num_jobs 2",
        "--job 2 --num_jobs 2",
        "--num_jobs 2 --merge",
    ]
    assert calls[-1].endswith("--merge")


def test_answers_are_one_call_whose_failure_leaves_no_marker(recipe):
    """Two jobs and a merge do all; afterwards what changed is answered alone."""
    done = run(recipe, "--inference_nj", "2", FAIL="respond")
    assert done.returncode == 1 and done.stderr.splitlines()[-1].endswith("go on with --stage 10")
    assert not list(recipe.glob("exp/*/respond_test/*/.done"))
    done = run(recipe, "--stage", "10", "--stop_stage", "10", "--inference_nj", "2")
    assert done.returncode == 0, done.stderr
    assert len(list(recipe.glob("exp/*/respond_test/*/.done"))) == len(done.mains) // 3 == 4
    (recipe / "exp/audiollm_small/valid.loss.ave.pth").write_text("y")
    again = run(recipe, "--stage", "10", "--stop_stage", "10")
    assert outputs(again, "respond") == ["exp/audiollm_small/respond_test/valid.loss.ave"]
    assert again.stdout.count("up to date: ") == 3
    assert words_of(recipe, "respond")[-2:] == ["--run", ""]


def test_changed_data_is_noticed(recipe):
    assert run(recipe).returncode == 0
    (recipe / "data/train/text").write_text("a goodbye\n")
    done = run(recipe, "--stop_stage", "5")
    assert done.mains.count("tokenize_text") == 1
    assert done.mains.count("ctc_train") == 1


def test_number_of_jobs_changes_nothing(recipe):
    assert run(recipe).returncode == 0
    done = run(recipe, "--stage", "3", "--stop_stage", "6", "--nj", "7")
    assert done.mains == []


def test_other_recordings_are_noticed(recipe):
    assert run(recipe).returncode == 0
    (recipe / "data/valid/wav.scp").write_text("a b.wav\n")
    done = run(recipe, "--stop_stage", "9", "--skip_stages", "1 3 4 6 8")
    assert {"ctc_train", "audiollm_train"} < set(done.mains)


@pytest.mark.parametrize("first, second", [([], ["--ngpu", "1"]), (["--ngpu", "1"], [])])
def test_the_device_changes_nothing(recipe, first, second):
    fake_gpu = {"CUDA_VISIBLE_DEVICES": "0"}
    done = run(recipe, *first, **fake_gpu)
    assert done.returncode == 0, done.stderr
    assert "--device cuda" in " ".join(done.calls) or not first
    again = run(recipe, *second, "--stage", "3", "--stop_stage", "10", "--skip_stages", "7")
    assert (again.returncode, again.mains) == (0, [])


def test_the_engine_decides_what_is_up_to_date_and_its_address_does_not(recipe):
    assert run(recipe).returncode == 0
    url = ["--vllm_url", "http://a:1"]
    vllm = ["--llm_engine", "vllm", "--stage", "7", "--stop_stage", "10"]
    done = run(recipe, *vllm, *url)
    assert done.returncode == 0, done.stderr
    asked = [call for call in done.calls if call.startswith(("generate_responses", "respond"))]
    assert len(asked) > 4 and all("--llm_engine vllm --vllm_url http://a:1" in c for c in asked)
    again = run(recipe, *vllm, "--vllm_url", "http://b:2", "--skip_stages", "7")
    assert (again.returncode, again.mains) == (0, [])


@pytest.mark.parametrize(
    "words, step",
    [
        (["--llm_engine", "vllm", "--beam", "10"], "--llm_engine transformers"),
        (["--vllm_url", "http://a:1"], "--llm_engine vllm"),
        (["--llm_engine", "vlm"], "transformers nor vllm"),
    ],
)
def test_engines_that_cannot_be(recipe, words, step):
    done = run(recipe, *words)
    assert done.returncode == 1 and step in done.stderr and not done.calls


def test_what_an_earlier_version_left_is_made_again(recipe):
    assert run(recipe).returncode == 0
    stages = recipe.parents[1] / "TEMPLATE/common/stages.sh"
    stages.write_text(re.sub("^FORMAT=2$", "FORMAT=3", stages.read_text(), flags=re.M))
    done = run(recipe, "--stage", "9", "--stop_stage", "10")
    assert done.mains == ["audiollm_train"] + ["respond"] * 4


def test_stages_can_be_chosen_and_skipped(recipe):
    assert run(recipe).returncode == 0
    assert run(recipe, "--stage", "11").mains == ["score"]
    done = run(recipe, "--stage", "7", "--stop_stage", "11", "--skip_stages", "7 8 9 10")
    assert done.mains == ["score"]
    assert run(recipe, "--stage", "12", "--stop_stage", "12").mains == ["pack"]


def test_failure_shows_cause_and_next_step(recipe):
    done = run(recipe, FAIL="ctc_train")
    assert done.returncode == 1
    assert "ctc_train: error: the moon is full" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("go on with --stage 5")
    assert not list(recipe.glob("exp/ctc_*/.done"))
    assert run(recipe, "--stage", "5", "--stop_stage", "5").mains == ["ctc_train"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stage", "9"], "is missing or empty; run the stages before 9 first"),
        (["--stage", "8"], "is missing or empty; run the stages before 8 first"),
        (["--llm", ""], "stage 7 needs --llm"),
        (["--ngpus", "1"], "unknown option --ngpus; the nearest is --ngpu"),
        (["--cmd_backend", "cloud"], "unknown cmd_backend 'cloud'"),
        (["9"], "'9' is no option"),
        (["--stage", "08"], "--stage '08': stages are whole numbers from 1 to 12"),
        (["--stage", "1.5"], "--stage '1.5': stages are whole numbers"),
        (["--stop_stage", "1e3"], "--stop_stage '1e3': stages are whole numbers"),
        (["--stage", "99"], "--stage '99': stages are whole numbers"),
        (["--stage", "0"], "--stage '0': stages are whole numbers"),
        (["--stop_stage", "18446744073709551617"], "--stop_stage '18446744073709551617': stages"),
        (["--skip_stages", "4 five"], "--skip_stages '4 five': stages are whole numbers"),
        (["--stage", "7", "--stop_stage", "6"], "--stop_stage 6 comes before --stage 7"),
        (["--stage", "5", "--ctc_config", "conf/no.yaml"], "conf/no.yaml cannot be read"),
    ],
)
def test_mistakes_are_refused_before_anything_runs(recipe, words, message):
    done = run(recipe, *words)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.calls == []


def outputs(done, main):
    """Where the calls of a main write, in order."""
    calls = [call.split() for call in done.calls if call.startswith(f"{main} ")]
    return [call[call.index("--output") + 1] for call in calls]


TWO = ["--ctc_checkpoints", "2epoch.pth valid.loss.ave.pth"]
TWO += ["--align_configs", "conf/train_align_small.yaml conf/train_align_other.yaml"]


def test_cascades_and_alignments_become_systems(recipe):
    done = run(recipe, *TWO)
    assert done.returncode == 0, done.stderr
    ctc = "exp/ctc_unigram1500"
    assert outputs(done, "respond") == [
        "exp/text/respond_test/reference",
        "exp/text/respond_test/no_prompt",
        f"{ctc}/respond_test/cascade_2epoch",
        f"{ctc}/respond_test/cascade_valid.loss.ave",
        "exp/audiollm_small/respond_test/valid.loss.ave",
        "exp/audiollm_other/respond_test/valid.loss.ave",
    ]
    training = next(call for call in done.calls if "--resume true" in call)
    assert "--keep_epochs 2" in training


def test_without_a_recogniser(recipe):
    """No CTC to start from and no cascades: stages 3 to 6 are not needed, and not run."""
    (recipe / "data/talks.jsonl").write_text("{}\n")
    words = ["--ctc_checkpoints", "", "--init_checkpoint", "", "--noises", "room"]
    done = run(recipe, *words, "--conversations", "data/talks.jsonl")
    assert done.returncode == 0, done.stderr
    assert not {"tokenize_text", "ctc_train", "ctc_decode"} & set(done.mains)
    training = next(call for call in done.calls if call.startswith("audiollm_train"))
    assert "--init_ctc" not in training
    assert "cascade" not in " ".join(done.calls) and "exp/ctc_" not in " ".join(done.calls)
    answered = [call for call in done.calls if call.startswith("respond ")]
    assert sum("--data data/talks.jsonl" in call for call in answered) == 2


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ([], "exp/ctc_unigram1500/valid.loss.ave.pth"),
        (["--init_checkpoint", "CTC/2epoch.pth"], "exp/ctc_unigram1500/2epoch.pth"),
        (["--init_checkpoint", "my ctc/best.pth"], "my ctc/best.pth"),
    ],
)
def test_the_encoder_starts_from_a_path(recipe, words, path):
    (recipe / "my ctc").mkdir()
    (recipe / "my ctc/best.pth").write_text("x")
    done = run(recipe, *words)
    assert done.returncode == 0, done.stderr
    training = next(call for call in done.calls if call.startswith("audiollm_train"))
    assert f"--init_ctc {path} --resume" in training


def test_a_missing_start_is_noticed(recipe):
    done = run(recipe, "--init_checkpoint", "nowhere/best.pth")
    assert done.returncode == 1
    assert "nowhere/best.pth is missing or empty" in done.stderr


def test_what_is_not_answered_is_said_on_the_screen(recipe):
    assert "not answered" not in run(recipe).stdout
    done = run(recipe, "--stage", "10", "--stop_stage", "10", "--beam", "2", LOST="1")
    assert done.stdout.count("1 dialogues do not fit, not answered (first: a)") == 4


def test_dialogues_are_answered_by_text_cascade_and_audio(recipe):
    (recipe / "data/talks.jsonl").write_text("{}\n")
    words = [*TWO, "--conversations", "data/talks.jsonl"]
    done = run(recipe, *words)
    assert done.returncode == 0, done.stderr
    assert outputs(done, "respond")[-4:] == [
        "exp/text/respond_talks/reference",
        "exp/ctc_unigram1500/respond_talks/cascade_valid.loss.ave",
        "exp/audiollm_small/respond_talks/valid.loss.ave",
        "exp/audiollm_other/respond_talks/valid.loss.ave",
    ]
    assert outputs(done, "ctc_decode")[-1] == "exp/ctc_unigram1500/decode_valid.loss.ave_talks"
    assert outputs(done, "generate_responses")[-1] == "dump/dialogues/talks/responses"
    calls = [call for call in done.calls if call.startswith("respond ")][-4:]
    assert all("--data data/talks.jsonl" in call for call in calls)
    assert all("--references dump/dialogues/talks/responses" in call for call in calls)
    assert "respond" not in run(recipe, *words).mains
    (recipe / "data/talks.jsonl").write_text("{} \n")
    assert run(recipe, *words).mains.count("respond") == 4


def test_noisy_copies_are_heard_and_nothing_is_answered_again(recipe):
    words = ["--noises", "babble:-5 files:my/noise:10", "--nj", "1"]
    done = run(recipe, *words, "--test_sets", "test valid")
    assert done.returncode == 0, done.stderr
    copies = ("test_babble-5", "test_filesmy_noise_10")
    assert [call for call in done.calls if call.startswith("add_noise")] == [
        "add_noise --data dump/test --noise babble:-5 --output dump/test_babble-5",
        "add_noise --data dump/test --noise files:my/noise:10 --output dump/test_filesmy_noise_10",
    ]
    answered = [call.split(" --data ")[1] for call in done.calls if "generate_responses" in call]
    assert not [words for words in answered if words.startswith("dump/test_")]
    for copy in copies:
        calls = [call for call in done.calls if f"--data dump/{copy} " in call]
        mains = [call.split()[0] for call in calls]
        assert mains == ["ctc_decode", "respond", "respond"]  # a cascade and an AudioLLM
        assert all("--references dump/test/responses " in call for call in calls[1:])
    _, sets, stores, rest = re.split(" --(?:sets|references|runs) ", done.calls[-1])
    names = ("test", "valid", *copies)
    assert sets.split() == [f"dump/{name}" for name in names]
    assert stores.split() == [
        f"dump/{name}/responses" for name in ("test", "valid", "test", "test")
    ]
    assert rest.startswith("exp --recipe ")
    assert run(recipe, *words).mains.count("add_noise") == 0


def test_noise_is_heard_by_the_checkpoints_asked_for(recipe):
    done = run(
        recipe,
        "--noises", "room",
        "--ctc_checkpoints", "2epoch.pth valid.loss.ave.pth",
        "--noise_checkpoints", "2epoch.pth",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cascades = [place for place in outputs(done, "respond") if "/cascade_" in place]
    assert [place.removeprefix("exp/ctc_unigram1500/respond_") for place in cascades] == [
        "test/cascade_2epoch",
        "test/cascade_valid.loss.ave",
        "test_room/cascade_2epoch",
    ]
    assert sum(call.startswith("ctc_decode") for call in done.calls) == 3


def test_two_noises_of_one_name_are_refused(recipe):
    done = run(recipe, "--noises", "files:a/b:10 files:a_b:10")
    assert done.returncode == 1 and done.calls == []
    assert "two of them would be called test_filesa_b_10" in done.stderr


def test_token_types_have_places_of_their_own(recipe):
    words = ["--token_type", "word", "--vocab_size", "50", "--min_count", "2"]
    done = run(recipe, "--stage", "1", "--stop_stage", "5", *words)
    assert done.returncode == 0, done.stderr
    list_ = "data/token_list/word50"
    calls = {call.split()[0]: call for call in done.calls}
    assert calls["tokenize_text"].endswith(
        f"--token_type word --bpe_type unigram --vocab_size 50 --min_count 2 --output {list_}"
    )
    kind = f"--token_type word --token_list {list_}/tokens.txt"
    for main in ("data_lengths", "ctc_train"):
        assert kind in calls[main] and "--bpemodel" not in calls[main]
    assert (recipe / "exp/ctc_word50/.done").exists() and (recipe / list_ / "tokens.txt").exists()


def test_tokens_of_the_llm_are_a_recognisers(recipe):
    done = run(
        recipe, "--stage", "1", "--stop_stage", "5", "--token_type", "llm", "--vocab_size", "0"
    )
    assert done.returncode == 0, done.stderr
    calls = {call.split()[0]: call for call in done.calls}
    assert "--token_type llm --llm my llm --bpe_type" in calls["tokenize_text"]
    list_ = "data/token_list/llm_my llm_0"
    kind = f"--token_list {list_}/tokens.txt --bpemodel {list_}/tokenizer.json"
    for main in ("data_lengths", "ctc_train"):
        assert kind in calls[main]


def test_tokens_of_the_llm_need_one(recipe):
    done = run(recipe, "--stop_stage", "3", "--token_type", "llm", "--llm", "")
    assert done.returncode == 1 and "--token_type llm needs --llm" in done.stderr


def test_a_ctc_loss_takes_the_transcripts(recipe):
    done = run(recipe, "--stage", "1", "--stop_stage", "9")
    assert "dump/train/text,text,text" not in words_of(recipe, "audiollm_train")
    done = run(recipe, "--stage", "9", "--stop_stage", "9", "--align_args", "--ctc_weight 0.5")
    assert done.returncode == 0, done.stderr
    assert "dump/train/text,text,text" in words_of(recipe, "audiollm_train")


def words_of(recipe, module):
    return (recipe / f"words.{module}").read_text().split("\0")


def test_forms_of_prompts_and_of_comparison_reach_their_stages(recipe):
    casing = ["--prompt_casing", "truecase", "--casing_text", "my text"]
    done = run(recipe, *casing, "--normalizer", "de+numbers")
    assert done.returncode == 0, done.stderr
    asking = [
        call for call in done.calls if "--prompt_casing truecase --casing_text my text" in call
    ]
    assert {call.split()[0] for call in asking} == {"generate_responses", "respond"}
    comparing = [call for call in done.calls if "--normalizer de+numbers" in call]
    assert {call.split()[0] for call in comparing} == {"ctc_decode", "score"}


def test_what_is_kept_of_the_teacher_reaches_the_training(recipe):
    done = run(recipe, "--teacher_top_k", "8", "--teacher_prompts", "true")
    assert done.returncode == 0, done.stderr
    asked = [call for call in done.calls if call.startswith("generate_responses")]
    keeping = [call for call in asked if call.endswith(" --teacher_top_k 8 --prompt_ids")]
    assert len(asked) == 3 and len(keeping) == 2 and not [c for c in keeping if "test" in c]
    (training,) = (call for call in done.calls if call.startswith("audiollm_train"))
    for split in ("train", "valid"):
        for table in ("top_k,teacher,top_k", "prompt_ids,text_prompt,text_int"):
            flag = f"--{split}_data_path_and_name_and_type"
            assert f"{flag} dump/{split}/responses/teacher/{table}" in training
    again = run(recipe, "--teacher_top_k", "4", "--teacher_prompts", "true", "--stop_stage", "9")
    assert again.mains[-1] == "audiollm_train"  # of other distributions
    paper = run(recipe, "--stage", "9", "--stop_stage", "9")
    assert paper.mains == ["audiollm_train"] and "teacher" not in paper.calls[0]


SYSTEM_PROMPTS = {  # words of run.sh: (the system prompt, what stands before the audio)
    (): (None, chat_llms.LLAMA2_BEGIN),
    ("--system_prompt", "none"): (None, chat_llms.LLAMA2_BEGIN),
    ("--system_prompt", ""): ("", chat_llms.LLAMA2_PREFIX),
}


@pytest.mark.parametrize("words", SYSTEM_PROMPTS)
def test_the_papers_prompt_can_be_asked_for(recipe, words, monkeypatch):
    """From the recipe's words to the tokens of the prompt: stages 7, 9 (through its config.yaml),
    10 and 12 agree, and an empty system turn is not the same as none."""
    from espnet2.utils.yaml_no_alias_safe_dump import yaml_no_alias_safe_dump

    from espnet_audiollm.bin import generate_responses, pack, respond
    from espnet_audiollm.data.prompt import AUDIO_SLOT, encode, user_prompt
    from espnet_audiollm.tasks.audiollm import AudioLLMTask
    from espnet_audiollm.train.loading import read_config
    from espnet_audiollm.types import Audio

    done = run(recipe, *words)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(recipe)
    parsers = {
        "generate_responses": generate_responses.get_parser().parse_args,
        "audiollm_train": AudioLLMTask.get_parser().parse_args,
        "respond": lambda words: respond.parse_runs(words)[0],
    }
    options = {name: parse(words_of(recipe, name)[:-1]) for name, parse in parsers.items()}
    config = recipe / "config.yaml"
    config.write_text(yaml_no_alias_safe_dump(vars(options["audiollm_train"])))
    config.write_text(yaml_no_alias_safe_dump(pack.portable(vars(read_config(recipe)))))
    options["packed"] = read_config(recipe)
    prompt, prefix = SYSTEM_PROMPTS[words]
    assert {name: each.system_prompt for name, each in options.items()} == dict.fromkeys(
        options, prompt
    )
    llama2 = chat_llms.llama2_published()
    asked = encode(user_prompt(Audio(), options["packed"].system_prompt), llama2)
    assert asked == [*prefix, AUDIO_SLOT, *chat_llms.LLAMA2_SUFFIX]


def test_a_search_stands_beside_the_greedy_cascade(recipe):
    """Same checkpoints, places of their own; the language model is known to stage 6 alone."""
    words = ["--token_type", "llm", "--ctc_beam", "10", "--lm_weight", "0.3", "--stop_stage", "10"]
    done = run(recipe, *words)
    assert done.returncode == 0, done.stderr
    decoded = [call for call in done.calls if call.startswith("ctc_decode ")]
    assert [" --ctc_beam 10 --lm_weight 0.3 --llm my llm" in call for call in decoded] == [0, 1]
    hyps = re.findall(r"--hyp [^\n]+/decode_valid.loss.ave(\S*)_test/hyp", "\n".join(done.calls))
    assert hyps == ["", "_beam10_lm0.3"]
    runs = re.findall(r"--output [^\n]+/(cascade_\S+)", "\n".join(done.calls))
    assert runs == ["cascade_valid.loss.ave", "cascade_valid.loss.ave_beam10_lm0.3"]
    alone = run(recipe, "--ctc_beam", "4", "--stage", "3", "--stop_stage", "6")
    decoded = [call for call in alone.calls if call.startswith("ctc_decode ")]
    assert [call.count("--ctc_beam 4") for call in decoded] == [0, 1]
    refused = run(recipe, "--lm_weight", "0.3")
    assert refused.returncode == 1 and "needs --token_type llm" in refused.stderr
    assert not refused.calls
