"""What audiollm.sh runs, skips, makes again and refuses; the mains are those of noted_stages."""

import re

import pytest
from noted_stages import executable, make_recipe, outputs, run, words_of


@pytest.fixture
def recipe(tmp_path):
    return make_recipe(tmp_path)


def test_every_stage_runs_and_a_second_run_trains_nothing(recipe):
    first = run(recipe)
    assert first.returncode == 0, first.stderr
    assert sorted(set(first.mains)) == sorted(
        "data.sh validate format_data tokenize_text data_lengths ctc_train ctc_decode "
        "generate_responses audiollm_train respond score".split()
    )
    second = run(recipe)
    assert second.returncode == 0, second.stderr
    # These look for themselves whether their work is complete.
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
    """With them stages 7 to 9 do not touch what was trained without, and read only one store."""
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
    assert sorted(words_of(recipe, "ctc_decode")[-5:]) == sorted(
        ["--run", "--num_jobs", "2", "--merge", ""]
    )
    assert done.mains.count("ctc_decode") == 3  # two jobs and a merge
    assert done.mains.count("generate_responses") == 3 * 3  # of three sets
    assert done.stdout.count(": WER 5.00 % (1 / 0)") == 1


def test_a_stage_that_fails_leaves_no_marker(recipe):
    done = run(recipe, "--stop_stage", "6", FAIL="ctc_decode")
    assert done.returncode == 1 and done.stderr.splitlines()[-1].endswith("go on with --stage 6")
    assert not list(recipe.glob("exp/*/decode_*/.done"))
    done = run(recipe, "--stage", "6", "--stop_stage", "6")
    assert done.returncode == 0 and len(list(recipe.glob("exp/*/decode_*/.done"))) == 1
    assert not run(recipe, "--stage", "6", "--stop_stage", "6").mains


def test_answers_are_one_call_whose_failure_leaves_no_marker(recipe):
    """Two jobs and a merge do all; afterwards only what changed is answered."""
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


def test_recordings_that_changed_under_their_names_are_noticed(recipe):
    """By what stage 2 says of them, and, of conversations, by the files themselves."""
    (recipe / "data/audio").mkdir()
    recording = recipe / "data/audio/a b.wav"
    recording.write_text("one")
    talk = '{"id": "a", "turns": [{"role": "user", "text": "b", "audio": "audio/a b.wav"}]}\n'
    (recipe / "data/talks.jsonl").write_text(talk)
    words = ["--conversations", "data/talks.jsonl"]
    assert run(recipe, *words).returncode == 0
    again = run(recipe, *words, "--stage", "3", "--stop_stage", "10")
    assert again.mains == ["generate_responses"] * 4
    (recipe / "dump/test/.done").write_text("others\n")
    done = run(recipe, *words, "--stage", "3", "--stop_stage", "10")
    answered = [call for call in done.calls if call.split()[0] in ("ctc_decode", "respond")]
    assert len(answered) == 5 and all("--data dump/test" in call for call in answered)
    recording.write_text("another")
    done = run(recipe, *words, "--stage", "3", "--stop_stage", "10")
    answered = [call for call in done.calls if call.split()[0] in ("ctc_decode", "respond")]
    assert len(answered) == 4 and all("--data data/talks.jsonl" in call for call in answered)
    (recipe / "dump/train/.done").write_text("others\n")
    done = run(recipe, *words, "--stage", "5", "--stop_stage", "9", "--skip_stages", "6 7")
    assert done.mains == ["ctc_train", "audiollm_train"]


def test_recordings_of_noise_are_noticed(recipe):
    (recipe / "noise").mkdir()
    (recipe / "noise/a.wav").write_text("one")
    words = ["--noises", "files:noise:10", "--stop_stage", "2", "--nj", "1"]
    assert run(recipe, *words).mains.count("add_noise") == 1
    assert run(recipe, *words).mains.count("add_noise") == 0
    (recipe / "noise/b.wav").write_text("two")
    assert run(recipe, *words).mains.count("add_noise") == 1
    done = run(recipe, "--noises", "files:none:10", "--stop_stage", "2")
    assert done.returncode and "files:none:10: none is no directory" in done.stderr


def test_another_tokenizer_in_the_same_directory_is_noticed(recipe):
    (recipe / "llm").mkdir()
    (recipe / "llm/tokenizer.json").write_text("{}")
    words = ["--llm", "llm", "--token_type", "llm", "--vocab_size", "0", "--stop_stage", "3"]
    assert run(recipe, *words).mains.count("tokenize_text") == 1
    assert run(recipe, *words).mains.count("tokenize_text") == 0
    (recipe / "llm/tokenizer.json").write_text("{ }")
    assert run(recipe, *words).mains.count("tokenize_text") == 1


def test_figures_of_a_model_card_are_those_of_the_resultsdir(recipe):
    words = ["--resultsdir", "exp/r"]
    assert run(recipe, *words, "--stop_stage", "11").returncode == 0
    for place in ("exp", "exp/r"):
        (recipe / place).mkdir(exist_ok=True)
        (recipe / place / "results.json").write_text("{}")
    for more, place in ((words, "exp/r"), ([], "exp")):
        done = run(recipe, *more, "--stage", "12", "--stop_stage", "12")
        assert [f"--results {place}/results.json" in call for call in done.calls] == [True]


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
        (["--conversations", "data/talks/test.jsonl"], "are called test, and would have one place"),
        (["--stage", "5", "--ctc_config", "conf/no.yaml"], "conf/no.yaml cannot be read"),
    ],
)
def test_mistakes_are_refused_before_anything_runs(recipe, words, message):
    done = run(recipe, *words)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.calls == []
