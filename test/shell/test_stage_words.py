"""Which systems answer, with which words: the options of audiollm.sh reach their stages."""

import re

import chat_llms
import pytest
from noted_stages import make_recipe, outputs, run, words_of


@pytest.fixture
def recipe(tmp_path):
    return make_recipe(tmp_path)


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


def test_noisy_copies_are_recognised_and_nothing_is_answered_again(recipe):
    (recipe / "my/noise").mkdir(parents=True)
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


def test_noise_is_recognised_by_the_checkpoints_asked_for(recipe):
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
    from espnet_audiollm.bin.several import parse_runs
    from espnet_audiollm.data.prompt import AUDIO_SLOT, encode, user_prompt
    from espnet_audiollm.tasks.audiollm import AudioLLMTask
    from espnet_audiollm.train.loading import read_config
    from espnet_audiollm.types import Audio

    done = run(recipe, *words)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(recipe)
    parsers = {
        "generate_responses": lambda words: parse_runs(generate_responses.get_parser(), words)[0],
        "audiollm_train": AudioLLMTask.get_parser().parse_args,
        "respond": lambda words: parse_runs(respond.get_parser(), words)[0],
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
    """Same checkpoints, places of their own; the language model is known only to stage 6."""
    words = ["--token_type", "llm", "--ctc_beam", "10", "--lm_weight", "0.3", "--stop_stage", "10"]
    done = run(recipe, *words)
    assert done.returncode == 0, done.stderr
    decoded = [call for call in done.calls if call.startswith("ctc_decode ")]
    assert [" --ctc_beam 10 --lm_weight 0.3 --llm my llm" in call for call in decoded] == [0, 1]
    hyps = re.findall(r"--hyp [^\n]+/decode_valid.loss.ave(\S*)_test/hyp", "\n".join(done.calls))
    assert hyps == ["", "_beam10_lm0.3"]
    runs = re.findall(r"--output [^\n]+/(cascade_\S+)", "\n".join(done.calls))
    assert runs == ["cascade_valid.loss.ave", "cascade_valid.loss.ave_beam10_lm0.3"]
    greedy = run(recipe, "--ctc_beam", "4", "--stage", "3", "--stop_stage", "6")
    decoded = [call for call in greedy.calls if call.startswith("ctc_decode ")]
    assert [call.count("--ctc_beam 4") for call in decoded] == [0, 1]
    refused = run(recipe, "--lm_weight", "0.3")
    assert (
        refused.returncode == 1
        and "needs a language model: n-grams (--lm_order 4)" in refused.stderr
    )
    assert not refused.calls


def test_n_grams_are_learned_once_and_searched_with(recipe):
    """Of the transcripts, of a text, and of a file that was there; each in places of its own."""
    (recipe / "my text.txt").write_text("hello\n")
    (recipe / "my.arpa").write_text("x\n")
    words = ["--ctc_beam", "10", "--lm_weight", "0.3", "--stop_stage", "10"]
    tokens = "data/token_list/bpe_unigram1500"
    learned = {"4gram": "--text dump/train/text", "4gram_my text": "--sentences my text.txt"}
    for name, source in learned.items():
        more = ["--lm_text", "my text.txt"] if "--sentences" in source else []
        done = run(recipe, *words, "--lm_order", "4", *more)
        assert done.returncode == 0, done.stderr
        (call,) = (call for call in done.calls if call.startswith("ngram_train "))
        assert f"{source} --valid_text dump/valid/text --order 4 --token_type bpe" in call
        assert call.endswith(f"--output {tokens}/{name}/lm.arpa")
        assert f"{tokens}/{name}/lm.arpa: 4-gram of much" in done.stdout
        (decoded,) = (c for c in done.calls if c.startswith("ctc_decode ") and "--ctc_beam" in c)
        assert decoded.endswith(f"--lm_weight 0.3 --lm_arpa {tokens}/{name}/lm.arpa")
        assert f"/decode_valid.loss.ave_beam10_{name}_lm0.3_test" in decoded
        assert any(f"cascade_valid.loss.ave_beam10_{name}_lm0.3" in c for c in done.calls)
        again = run(recipe, *words, "--lm_order", "4", *more)
        assert not {"ngram_train", "ctc_decode"} & set(again.mains)
    (recipe / "my text.txt").write_text("hello you\n")
    again = run(recipe, *words, "--lm_order", "4", *more)
    assert [each for each in again.mains if "ngram" in each or "decode" in each] == ["ngram_train"]
    done = run(recipe, *words, "--lm_arpa", "my.arpa")
    assert "ngram_train" not in done.mains
    (decoded,) = (call for call in done.calls if call.startswith("ctc_decode "))
    assert decoded.endswith("--lm_weight 0.3 --lm_arpa my.arpa") and "_beam10_my_lm0.3_" in decoded
    (recipe / "my.arpa").write_text("y\n")
    assert run(recipe, *words, "--lm_arpa", "my.arpa").mains.count("ctc_decode") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lm_order", "4", "--lm_weight", "1"], "--lm_order 4 needs a beam: give --ctc_beam"),
        (["--lm_order", "4", "--ctc_beam", "9"], "--lm_order 4 does nothing without a weight"),
        (["--lm_order", "2.5"], "--lm_order 2.5 is no number from 0"),
        (["--lm_text", "x"], "--lm_text x needs --lm_order"),
        (["--lm_arpa", "x"], "--lm_arpa x is missing or empty"),
        (["--lm_arpa", "x", "--lm_order", "3"], "are two language models: give one"),
    ],
)
def test_n_grams_that_cannot_be(recipe, words, message):
    refused = run(recipe, *words)
    assert refused.returncode == 1 and message in refused.stderr
    assert not refused.calls
