"""What stage 7 keeps of the teacher: the same whatever the jobs and kills, made anew for another K
without asking the LLM again."""

import json

import chat_llms
import numpy as np
import pytest
import torch
from written_runs import read_store

from espnet_audiollm.bin.generate_responses import main
from espnet_audiollm.data.kaldi_dir import read_dict
from espnet_audiollm.data.prompt import encode, user_prompt
from espnet_audiollm.infer import teacher as infer_teacher
from espnet_audiollm.infer.systems import load_system
from espnet_audiollm.model import llm as llms
from espnet_audiollm.model.response_loss import embed_prompt, response_logits
from espnet_audiollm.store.teacher import TopK
from espnet_audiollm.train.iterators import TableDataset
from espnet_audiollm.types import Dialogue, Turn

FILES = ["inputs.json", "prompt_ids", "top_k", "top_k.bin"]


@pytest.fixture(scope="module")
def llm_dir(tmp_path_factory):
    return chat_llms.save_tiny_llm(tmp_path_factory.mktemp("llm"), seed=5)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return chat_llms.write_texts(tmp_path_factory.mktemp("data"), 20, longest=6)


@pytest.fixture(scope="module")
def run(llm_dir, data):
    """run(OUTPUT, OPTION...): stage 7."""

    def run(output, *options):
        given = ["--llm", llm_dir, "--data", data, "--output", output, "--batch_size", 4]
        given += ["--shard_size", 8, "--device", "cpu", "--max_tokens_factor", 1, *options]
        main([str(word) for word in given])

    return run


@pytest.fixture(scope="module")
def complete(tmp_path_factory, run):
    output = tmp_path_factory.mktemp("complete") / "responses"
    run(output, "--teacher_top_k", 5)
    return output


def contents(directory):
    return {path.name: path.read_bytes() for path in sorted(directory.glob("*")) if path.is_file()}


def test_what_is_kept_is_the_llms_own(llm_dir, data, complete):
    assert sorted(p.name for p in (complete / "teacher").iterdir()) == FILES
    llm, texts = llms.load(str(llm_dir)), read_dict(data / "text")
    answers = read_store(complete)
    prompts, places = (read_dict(complete / "teacher" / name) for name in ("prompt_ids", "top_k"))
    read = TopK(complete / "teacher" / "top_k")
    for id_ in ("utt00", "utt11", "utt19"):
        prompt = encode(user_prompt(texts[id_]), llm.tokenizer)
        assert prompts[id_] == " ".join(map(str, prompt))
        answer = torch.tensor(answers[id_].response_ids)
        logits = response_logits(llm.model, [embed_prompt(llm.model, prompt)], [answer])
        best = logits.log_softmax(-1).topk(5)
        found = read(places[id_])
        assert found["ids"].tolist() == best.indices.tolist()
        assert found["ids"][:, 0].tolist() == answer.tolist()  # decoded greedily
        np.testing.assert_allclose(found["logp"][:, :5], best.values.numpy(), rtol=2e-3, atol=1e-3)
        total = np.exp(found["logp"].astype(np.float64)).sum(-1)
        np.testing.assert_allclose(total, 1, atol=5e-3)
    size = sum(len(r.response_ids) for r in answers.values()) * (6 * 5 + 2)
    assert (complete / "teacher" / "top_k.bin").stat().st_size == size


def test_jobs_make_what_one_makes(complete, run, tmp_path):
    for job in (3, 1, 2):
        run(tmp_path, "--teacher_top_k", 5, "--job", job, "--num_jobs", 3)
    assert not (tmp_path / "teacher" / "top_k").exists()
    run(tmp_path, "--teacher_top_k", 5, "--merge", "--num_jobs", 3)
    assert contents(tmp_path) == contents(complete)
    assert contents(tmp_path / "teacher") == contents(complete / "teacher")


def test_a_killed_run_goes_on_from_its_last_batch(complete, run, tmp_path, monkeypatch):
    """Killed in the third batch of the teacher; the first two are not read again."""
    top_k, calls = infer_teacher.top_k, []

    def counted(llm, prompts, answers, k):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(answers))
        return top_k(llm, prompts, answers, k)

    monkeypatch.setattr(infer_teacher, "top_k", counted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "--teacher_top_k", 5)
    calls[:] = [0] * 3  # as many as it likes
    run(tmp_path, "--teacher_top_k", 5)
    assert sum(calls) == 20 - 8
    assert contents(tmp_path / "teacher") == contents(complete / "teacher")
    assert not list(tmp_path.rglob(".*"))


def test_another_k_asks_for_no_answer_again(complete, run, tmp_path, monkeypatch):
    from espnet_audiollm.infer.systems import System

    run(tmp_path)
    assert not (tmp_path / "teacher").exists()
    monkeypatch.setattr(System, "respond", None)
    before = contents(tmp_path)
    for k in (2, 5, 0):
        run(tmp_path, *(["--teacher_top_k", k] if k else ["--prompt_ids"]))
        places = tmp_path / "teacher" / "top_k"
        assert places.exists() == bool(k)
        assert not k or {line.split()[-1] for line in places.read_text().splitlines()} == {str(k)}
        if k == 5:
            assert contents(tmp_path / "teacher") == contents(complete / "teacher")
    assert (tmp_path / "teacher" / "prompt_ids").exists()
    assert contents(tmp_path) == before


def test_a_second_run_loads_no_llm(complete, run, monkeypatch):
    monkeypatch.setattr(llms, "load_llm", None)
    before = contents(complete / "teacher")
    run(complete, "--teacher_top_k", 5)
    assert contents(complete / "teacher") == before


def test_more_than_the_vocabulary(run, tmp_path, llm_dir):
    """All tokens are kept, and nothing is left for the others."""
    run(tmp_path, "--teacher_top_k", 100_000)
    _, value = (tmp_path / "teacher" / "top_k").read_text().splitlines()[0].split(" ", 1)
    found = TopK(tmp_path / "teacher" / "top_k")(value)
    vocabulary = llms.load_config(str(llm_dir)).vocab_size
    assert sorted(found["ids"][0].tolist()) == list(range(vocabulary))
    assert np.isneginf(found["logp"][:, -1]).all()


def test_given_references_are_read_too(llm_dir, tmp_path):
    """And the LLM's own answer in an earlier turn is part of the prompt."""
    first, last = ({"role": "user", "text": text} for text in ("the cat", "dog ran"))
    about = {"category": "talk", "expected": ["sat"]}
    given = {"id": "a", "turns": [first], "reference": "sat on", **about}
    open_ = {"id": "b", "turns": [first, {"role": "assistant"}, last], **about}
    talks = tmp_path / "talks.jsonl"
    talks.write_text("".join(json.dumps(talk) + "\n" for talk in (given, open_)))
    options = ["--llm", llm_dir, "--data", talks, "--output", tmp_path / "out", "--device", "cpu"]
    main([str(word) for word in [*options, "--teacher_top_k", 3, "--max_tokens_factor", 1]])
    answers = read_store(tmp_path / "out")
    places = read_dict(tmp_path / "out" / "teacher" / "top_k")
    for id_, answer in answers.items():
        assert places[id_].split()[1:] == [str(len(answer.response_ids)), "3"]
    system = load_system("reference", str(llm_dir))
    begin = Turn("user", "the cat")
    [said] = system.respond([Dialogue("b", (begin,))], 1.0)
    turns = (begin, Turn("assistant", said.response), Turn("user", "dog ran"))
    expected = encode(turns, system.llm.tokenizer)
    prompts = read_dict(tmp_path / "out" / "teacher" / "prompt_ids")
    assert prompts["b"] == " ".join(map(str, expected))


# --- what reads it ------------------------------------------------------------------------------


def test_a_sample_has_both_arrays(complete):
    table = f"{complete}/teacher/top_k"
    dataset = TableDataset(
        [
            (f"{complete}/response_ids", "response", "text_int"),
            (table, "teacher", "top_k"),
        ]
    )
    for row in (0, 7, 19):
        _, sample = dataset[row]
        tokens = len(sample["response"])
        assert sample["teacher_ids"].shape == (tokens, 5)
        assert sample["teacher_logp"].shape == (tokens, 6)
        assert (sample["teacher_ids"].dtype, sample["teacher_logp"].dtype) == (np.int64, np.float32)
        assert sample["teacher_ids"][:, 0].tolist() == sample["response"].tolist()


def test_damaged_files(complete, tmp_path):
    table = tmp_path / "top_k"
    table.write_text((complete / "teacher" / "top_k").read_text())
    sources = [(str(table), "teacher", "top_k")]
    with pytest.raises(ValueError, match="top_k.bin does not exist: rerun stage 7"):
        TableDataset(sources)
    cut = (complete / "teacher" / "top_k.bin").read_bytes()[:-1]
    (tmp_path / "top_k.bin").write_bytes(cut)
    with pytest.raises(ValueError, match="utt19: .*cut short: delete it and rerun stage 7"):
        TableDataset(sources)[19]
    table.write_text("utt00 5 x\n")
    with pytest.raises(ValueError, match="utt00: '5 x' is not OFFSET TOKENS K; rerun stage 7"):
        TableDataset(sources)[0]


def test_a_damaged_shard_of_responses(run, tmp_path, capsys):
    run(tmp_path)
    shard = tmp_path / "shard.00001.jsonl"
    lines = shard.read_text().splitlines(keepends=True)
    shard.write_text("".join(lines[:3] + lines[5:]))
    with pytest.raises(SystemExit):
        run(tmp_path, "--teacher_top_k", 2)
    message = capsys.readouterr().err
    assert (
        "shard.00001.jsonl: 2 of 8 answers are missing (first: utt11); delete the file" in message
    )


def test_a_negative_number_is_refused(run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path / "out", "--teacher_top_k", "-1")
    assert "--teacher_top_k -1: from 0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
