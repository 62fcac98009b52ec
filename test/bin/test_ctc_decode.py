"""Stage 6's command on a tiny recogniser: the same files by one job and by many."""

import json
import shutil

import pytest
import torch

from espnet_audiollm.bin import ctc_decode
from espnet_audiollm.data.kaldi_dir import read_dict
from espnet_audiollm.score.wer import word_errors


def run(systems, output, *more):
    cmd = ["--exp", f"{systems}/ctc", "--data", f"{systems}/data", "--output", str(output)]
    assert ctc_decode.main([*cmd, "--batch_seconds", "3", "--shard_size", "5", *more]) == 0
    return {path.name: path.is_file() and path.read_bytes() for path in output.iterdir()}


@pytest.fixture(scope="module")
def complete(systems, tmp_path_factory):
    return run(systems, tmp_path_factory.mktemp("complete"))


def test_what_there_is(systems, complete, tmp_path, capsys):
    assert set(complete) == {"hyp", "wer.json", "errors.txt", "inputs.json"}
    (tmp_path / "hyp").write_bytes(complete["hyp"])
    hyps, references = read_dict(tmp_path / "hyp"), read_dict(systems / "data" / "text")
    assert len(set(hyps.values())) > 3  # it says something
    errors = word_errors(references, hyps)
    wer = json.loads(complete["wer.json"])
    assert errors.as_dict().items() <= wer.items()
    assert (wer["checkpoint"], wer["normalizer"]) == ("valid.loss.ave.pth", "basic")
    assert wer["by_speaker"] == {"s": errors.as_dict()}
    assert list(wer["by_seconds"]) == ["under 2"]
    assert wer["characters"]["reference_characters"] == sum(map(len, references.values()))
    first = next(iter(references))
    assert f"\n{first}: " in f"\n{complete['errors.txt'].decode()}"
    assert complete["errors.txt"].decode().count("\nref  ") == 12  # it gets none right
    run(systems, tmp_path)
    assert f"{tmp_path}: WER {errors.rate:.2f} % ({errors.errors} /" in capsys.readouterr().out


@pytest.mark.parametrize("num_jobs", [2, 3, 5])
def test_jobs_make_what_one_makes(systems, complete, tmp_path, num_jobs, capsys):
    split = ["--num_jobs", str(num_jobs)]
    for job in range(num_jobs, 0, -1):
        made = run(systems, tmp_path, *split, "--job", str(job))
        assert set(made) <= {".parts"}
    assert run(systems, tmp_path, *split, "--merge") == complete
    assert f"{tmp_path}: WER" in capsys.readouterr().out


def test_a_second_run_loads_nothing(systems, complete, tmp_path, monkeypatch, capsys):
    run(systems, tmp_path)
    monkeypatch.setattr("espnet_audiollm.infer.recognise.load_recogniser", None)
    capsys.readouterr()
    assert run(systems, tmp_path) == complete
    assert run(systems, tmp_path, "--merge") == complete
    assert capsys.readouterr().out.count(": WER ") == 2


def test_another_checkpoint_starts_anew(systems, complete, tmp_path):
    """Neither the parts nor the final files of the checkpoint before are taken for its own."""
    exp = tmp_path / "exp"
    shutil.copytree(systems / "ctc", exp)
    out = tmp_path / "out"
    run(systems, out, "--exp", str(exp))
    state = torch.load(exp / "valid.loss.ave.pth", weights_only=True)
    torch.manual_seed(1)
    other = {name: torch.randn_like(x) if x.is_floating_point() else x for name, x in state.items()}
    torch.save(other, exp / "valid.loss.ave.pth")
    made = run(systems, out, "--exp", str(exp), "--num_jobs", "2", "--job", "2")
    assert set(made) == {".parts"}
    made = run(systems, out, "--exp", str(exp))
    assert made["hyp"] != complete["hyp"] and set(made) == set(complete)


def test_one_process_makes_what_several_make(systems, complete, tmp_path, capsys):
    """Two runs of one process; in jobs, too; the error of one names it."""
    words = ["--exp", f"{systems}/ctc", "--data", f"{systems}/data", "--batch_seconds", "3"]
    words += ["--shard_size", "5"]
    runs = [word for n in "ab" for word in ("--output", f"{tmp_path}/{n}", "--run")]
    assert ctc_decode.main([*runs, *words]) == 0
    assert capsys.readouterr().out.count(": WER ") == 2
    jobs = [word for n in "cd" for word in ("--output", f"{tmp_path}/{n}", "--run")]
    for more in (["--job", "2"], ["--job", "1"], ["--merge"]):
        assert ctc_decode.main([*jobs, *words, "--num_jobs", "2", *more]) == 0
    assert all((tmp_path / name / "hyp").read_bytes() == complete["hyp"] for name in "abcd")
    more = ["--output", f"{tmp_path}/e", "--checkpoint", "no.pth", "--run"]
    with pytest.raises(SystemExit):
        ctc_decode.main([*runs, *more, *words])
    assert f"{tmp_path}/e: " in capsys.readouterr().err


def test_merge_names_the_jobs_that_are_missing(systems, tmp_path, capsys):
    run(systems, tmp_path, "--num_jobs", "3", "--job", "2")
    with pytest.raises(SystemExit):
        run(systems, tmp_path, "--num_jobs", "3", "--merge")
    error = capsys.readouterr().err
    assert "2 of 3 shards are missing (first: shard.00000.jsonl): those of job 1, 3 of 3" in error
    assert not (tmp_path / "hyp").exists()


def test_errors_name_job_shard_and_file(systems, tmp_path, capsys):
    shutil.copytree(systems / "data", tmp_path / "data")
    scp = (tmp_path / "data/wav.scp").read_text()
    (tmp_path / "data/wav.scp").write_text(scp.replace("u07.wav", "gone.wav"))
    with pytest.raises(SystemExit):
        data = ["--data", f"{tmp_path}/data"]
        run(systems, tmp_path / "out", *data, "--num_jobs", "3", "--job", "2")
    error = capsys.readouterr().err
    assert "ctc_decode: error: job 2 of 3: shard.00001.jsonl, u" in error
    assert "gone.wav: cannot be opened" in error


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--job", "4", "--num_jobs", "3"], "--job 4 is not one of 1 to --num_jobs 3"),
        (["--shard_size", "0"], "--shard_size 0 is not positive"),
        (["--data", "no/such"], "no/such: no such file or directory"),
    ],
)
def test_refusals(systems, tmp_path, capsys, more, message):
    with pytest.raises(SystemExit):
        run(systems, tmp_path / "out", *more)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_normalizer_counts_anew_and_hears_nothing_anew(systems, complete, tmp_path, capsys):
    run(systems, tmp_path)
    (tmp_path / "errors.txt").unlink()
    made = run(systems, tmp_path, "--normalizer", "zh")
    wer = json.loads(made["wer.json"])
    assert wer["normalizer"] == "zh" and "every character counts" in wer["normalization"]
    assert made["hyp"] == complete["hyp"] and made["errors.txt"]
    with pytest.raises(SystemExit):
        run(systems, tmp_path, "--normalizer", "english")
    assert "there is no normaliser 'english'" in capsys.readouterr().err


@pytest.mark.parametrize("token_type", ["char", "word"])
def test_recognisers_of_characters_and_words(systems, tmp_path, token_type):
    """From the transcripts of stage 3 to those of stage 6."""
    from tiny_tasks import task_options

    from espnet_audiollm.bin import ctc_train, data_lengths, tokenize_text
    from espnet_audiollm.train.loading import read_config

    kind = ["--token_type", token_type]
    lists, data = tmp_path / "list", tmp_path / "data"
    shutil.copytree(systems / "data", data)
    shutil.copy(data / "shape", data / "utt2num_samples")
    text = ["--text", f"{data}/text", "--output", str(lists), "--min_count", "2"]
    assert tokenize_text.main([*kind, *text]) == 0
    kind += ["--token_list", f"{lists}/tokens.txt"]
    lengths = ["--data", str(data), "--output", f"{tmp_path}/stats"]
    assert data_lengths.main([*kind, *lengths]) == 0
    texts = read_dict(data / "text")
    count = len if token_type == "char" else lambda text: len(text.split())
    shape = read_dict(tmp_path / "stats" / "text_shape")
    assert shape == {id_: str(count(text)) for id_, text in texts.items()}
    still = {"lr": 1e-9}  # random weights say more than trained ones, which say only blanks
    exp = tmp_path / "exp"
    cmd = task_options(data, exp, "text,text,text", max_epoch=1, optim_conf=still)
    assert ctc_train.main([*cmd, *kind]) == 0
    config = read_config(exp)
    assert (config.token_type, config.bpemodel) == (token_type, None)
    made = run(systems, tmp_path / "out", "--exp", str(exp), "--data", str(data))
    words = " ".join(read_dict(tmp_path / "out" / "hyp").values())
    known = set(config.token_list)
    assert words and set(words.split() if token_type == "word" else words.replace(" ", "")) <= known
    assert json.loads(made["wer.json"])["reference_words"] == 39


def test_tokens_that_are_too_small_for_the_frames_are_refused(systems, tmp_path, capsys):
    """Of eight characters in a tenth of a second nothing could be learned, and nobody would see."""
    from tiny_tasks import task_options

    from espnet_audiollm.bin import ctc_train, tokenize_text

    text = ["--text", f"{systems}/data/text", "--output", str(tmp_path), "--token_type", "char"]
    assert tokenize_text.main(text) == 0
    (tmp_path / "speech_shape").write_text("u0 1600\nu1 48000\nu2 1600\n")
    (tmp_path / "text_shape").write_text("u0 8\nu1 8\nu2 9\n")
    cmd = task_options(systems / "data", tmp_path / "exp", "text,text,text", max_epoch=1)
    at = cmd.index("--train_shape_file")
    shapes = [f"--train_shape_file={tmp_path}/{name}_shape" for name in ("speech", "text")]
    cmd[at : at + 2] = [*shapes, "--token_type", "char", "--token_list", f"{tmp_path}/tokens.txt"]
    with pytest.raises(SystemExit):
        ctc_train.main(cmd)
    error = capsys.readouterr().err
    assert "2 of the first 3 utterances of" in error
    assert "frames of 80 ms (first: u0, 8 tokens, 1 frames)" in error


@pytest.fixture(scope="module")
def of_llm_tokens(systems, tmp_path_factory):
    """An untrained recogniser whose tokens are the LLM's."""
    from tiny_tasks import task_options

    from espnet_audiollm.bin import ctc_train, tokenize_text

    root = tmp_path_factory.mktemp("llm_tokens")
    kind = ["--token_type", "llm"]
    text = ["--text", f"{systems}/data/text", "--output", str(root), "--vocab_size", "0"]
    assert tokenize_text.main([*kind, *text, "--llm", f"{systems}/llm"]) == 0
    kind += ["--token_list", f"{root}/tokens.txt", "--bpemodel", f"{root}/tokenizer.json"]
    still = {"lr": 1e-9}
    data, exp = systems / "data", root / "exp"
    cmd = task_options(data, exp, "text,text,text", max_epoch=1, optim_conf=still)
    assert ctc_train.main([*cmd, *kind]) == 0
    return exp


def test_a_beam_and_the_llm_decode_otherwise_and_say_so(systems, of_llm_tokens, tmp_path, capsys):
    """Greedy inputs.json names no search, so what was decoded before stays up to date."""
    from espnet_audiollm.infer.labels import label_of
    from espnet_audiollm.store.kinds import KINDS

    searches = {
        "greedy": [],
        "beam": ["--ctc_beam", "3"],
        "lm": ["--ctc_beam", "3", "--lm_weight", "0.5", "--llm", f"{systems}/llm"],
    }
    made, labels = {}, {}
    for name, words in searches.items():
        made[name] = run(systems, tmp_path / name, "--exp", str(of_llm_tokens), *words)
        hyp = tmp_path / name / "hyp"
        labels[name] = label_of(KINDS["cascade"], of_llm_tokens, "1epoch.pth", hyp)
    assert len({files["hyp"] for files in made.values()}) == 3
    assert "search" not in json.loads(made["greedy"]["inputs.json"])
    assert json.loads(made["lm"]["inputs.json"])["search"]["lm_weight"] == 0.5
    assert labels == {
        "greedy": "cascade, epoch 1",
        "beam": "cascade, epoch 1, beam 3",
        "lm": "cascade, epoch 1, beam 3, LM 0.5",
    }
    again = [*searches["lm"], "--num_jobs", "2"]
    for job in ("1", "2"):
        run(systems, tmp_path / "jobs", "--exp", str(of_llm_tokens), *again, "--job", job)
    merged = run(systems, tmp_path / "jobs", "--exp", str(of_llm_tokens), *again, "--merge")
    assert merged["hyp"] == made["lm"]["hyp"]


def test_n_grams_of_any_tokens(systems, tmp_path, capsys):
    """Estimated from transcripts, then decoded with; another content of the file starts anew."""
    from espnet_audiollm.bin import ngram_train
    from espnet_audiollm.infer.labels import label_of
    from espnet_audiollm.store.kinds import KINDS
    from espnet_audiollm.train.loading import read_config

    config = read_config(systems / "ctc")
    (tmp_path / "tokens.txt").write_text("".join(f"{token}\n" for token in config.token_list))
    arpa = tmp_path / "lm.arpa"
    cmd = ["--token_list", f"{tmp_path}/tokens.txt", "--bpemodel", str(config.bpemodel)]
    cmd += ["--output", str(arpa), "--text", f"{systems}/data/text"]
    assert ngram_train.main([*cmd, "--order", "3"]) == 0
    lm = ["--ctc_beam", "3", "--lm_weight", "2", "--lm_arpa", str(arpa)]
    made = run(systems, tmp_path / "lm", *lm)
    beam = run(systems, tmp_path / "beam", "--ctc_beam", "3")
    assert made["hyp"] != beam["hyp"]
    search = json.loads(made["inputs.json"])["search"]
    assert (search["lm_order"], search["lm_weight"]) == (3, 2.0)
    label = label_of(KINDS["cascade"], systems / "ctc", "1epoch.pth", tmp_path / "lm/hyp")
    assert label == "cascade, epoch 1, beam 3, 3-gram 2"
    assert ngram_train.main([*cmd, "--order", "2"]) == 0
    again = run(systems, tmp_path / "lm", *lm)
    assert json.loads(again["inputs.json"])["search"]["lm_order"] == 2
    assert again["hyp"] != made["hyp"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--ctc_beam", "0"], "--ctc_beam 0: give 1"),
        (["--lm_weight", "-1"], "--lm_weight -1.0: give 0"),
        (["--lm_weight", "0.3"], "0.3 needs the language model: --lm_arpa or --llm"),
        (["--lm_arpa", "no.arpa"], "--lm_arpa no.arpa does not exist"),
        (["--lm_arpa", __file__], "does nothing without --lm_weight"),
        (["--lm_weight", "1", "--lm_arpa", __file__], "there is no \\data\\ section"),
        (["--lm_weight", "1", "--lm_arpa", __file__, "--llm", "x"], "there are two, give one of"),
        (["--lm_weight", "0.3", "--llm", "x"], "are of the type bpe"),
    ],
)
def test_searches_that_cannot_be(systems, tmp_path, capsys, more, message):
    with pytest.raises(SystemExit):
        run(systems, tmp_path / "out", *more)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
