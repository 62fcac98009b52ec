"""Stages 7 and 10 as commands on a tiny LLM: what they leave, and what they refuse."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile
from chat_llms import save_tiny_llm
from vllm_stand_in import standing_in
from written_runs import read_store

from espnet_audiollm.bin import generate_responses, respond
from espnet_audiollm.data.kaldi_dir import read_dict, write_data_dir
from espnet_audiollm.model import llm as llms
from espnet_audiollm.score.alignment import AlignmentNumbers
from espnet_audiollm.store.runs import read_run, references_hash
from espnet_audiollm.types import Utterance

TEXTS = {"u1": "the cat sat", "u2": "what is the capital of france", "u3": "hello"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An LLM, a data directory and its response store."""
    root = tmp_path_factory.mktemp("respond")
    save_tiny_llm(root / "llm")
    soundfile.write(root / "a.wav", np.zeros(16_000), 16_000)
    write_data_dir(
        root / "test",
        [Utterance(i, str(root / "a.wav"), "s", 1.0, text) for i, text in TEXTS.items()],
    )
    cmd = ["--llm", f"{root}/llm", "--data", f"{root}/test", "--output", f"{root}/responses"]
    generate_responses.main(cmd)
    return root


def run(made, system, *more, llm="llm", output=None):
    output = output or made / system
    cmd = ["--system", system, "--llm", f"{made}/{llm}", "--data", f"{made}/test"]
    cmd += ["--references", f"{made}/responses", "--output", str(output), *more]
    assert respond.main(cmd) == 0
    return output


def test_the_reference_answers_as_the_store_does(made):
    out = run(made, "reference")
    stored = read_store(made / "responses")
    run_ = read_run(out)
    assert list(run_.responses) == sorted(TEXTS)
    for id_, response in stored.items():
        assert run_.responses[id_] == response.response
        assert tuple(run_.response_ids[id_]) == response.response_ids
    info = run_.info
    assert (info.kind, info.label, info.set, info.context) == (
        "reference",
        "reference text",
        "test",
        "full",
    )
    answered = [(id_, response.response_ids) for id_, response in stored.items()]
    assert info.references == references_hash(answered)


def test_the_references_cost_is_that_of_transformers(made):
    """One utterance at a time through LlamaForCausalLM(labels=...), prompt masked."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = run(made, "reference")
    nats, token_nats = read_dict(out / "nats"), read_dict(out / "token_nats")
    model = AutoModelForCausalLM.from_pretrained(made / "llm")
    tokenizer = AutoTokenizer.from_pretrained(made / "llm")
    for id_, response in read_store(made / "responses").items():
        ids = list(response.response_ids)
        expected = costs(model, tokenizer, TEXTS[id_], ids)
        cost, tokens = nats[id_].split()
        assert int(tokens) == len(ids)
        assert float(cost) == pytest.approx(sum(expected), rel=1e-4)
        found = [float(word) for word in token_nats[id_].split()]
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)
        assert sum(found) == pytest.approx(float(cost), abs=1e-3)


def costs(model, tokenizer, text, response, template=None):
    """transformers' own loss of each response token, by labels that hide all others."""
    import torch

    turns = [{"role": "user", "content": text}]
    prompt = tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, chat_template=template, tokenize=False
    )
    prompt = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    whole = torch.tensor([prompt + response])
    found = []
    for i in range(len(prompt), len(prompt) + len(response)):
        labels = torch.full_like(whole, -100)
        labels[0, i] = whole[0, i]
        with torch.no_grad():
            found.append(model(whole, labels=labels).loss.item())
    return found


def test_perplexity_of_a_real_llm_is_that_of_transformers(made, tmp_path):
    """From stage 7 to the table: stories260k with a chat template, the mean of
    LlamaForCausalLM(labels=...) over all response tokens, and over those of each position."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from espnet_audiollm.score.perplexity import compare, compare_positions

    stories = Path(__file__).parents[3] / "shared" / "models" / "stories260k"
    if not stories.is_dir():
        pytest.skip("../shared/models/stories260k is not here")
    template = "{{ bos_token }}{{ messages[-1].content }}"
    (tmp_path / "plain.jinja").write_text(template)
    shared = ["--llm", str(stories), "--chat_template", f"{tmp_path}/plain.jinja"]
    shared += ["--data", f"{made}/test"]
    generate_responses.main([*shared, "--output", f"{tmp_path}/responses"])
    (tmp_path / "hyp").write_text("u1 the cat sat\nu2 what is the cattle\nu3\n")
    out = tmp_path / "respond_test" / "cascade"
    more = ["--references", f"{tmp_path}/responses", "--hyp", f"{tmp_path}/hyp"]
    respond.main([*shared, *more, "--system", "cascade", "--output", str(out)])

    model = AutoModelForCausalLM.from_pretrained(stories)
    tokenizer = AutoTokenizer.from_pretrained(stories)
    hyp = read_dict(tmp_path / "hyp")
    expected = [
        costs(model, tokenizer, hyp[id_], list(response.response_ids), template)
        for id_, response in read_store(tmp_path / "responses").items()
    ]
    run_ = read_run(out)
    nats, tokens = (np.array(list(table.values())) for table in (run_.nats, run_.tokens))
    found = compare([nats], tokens, resamples=9).perplexities[0]
    assert found.tokens == sum(map(len, expected))
    assert found.value == pytest.approx(np.exp(np.mean(np.concatenate(expected))), rel=1e-4)
    (positions,) = compare_positions([run_.token_nats], (0, 1, 8), resamples=9)
    first, *_, last = positions
    assert first.value == pytest.approx(np.exp(np.mean([c[0] for c in expected])), rel=1e-4)
    tail = np.concatenate([c[8:] for c in expected])
    assert last.tokens == len(tail) and last.value == pytest.approx(np.exp(tail.mean()), rel=1e-4)


def test_a_perfect_cascade_costs_what_the_reference_does(made, tmp_path):
    hyp = tmp_path / "hyp"
    hyp.write_text("".join(f"{i} {text}\n" for i, text in TEXTS.items()))
    perfect = run(made, "cascade", "--hyp", str(hyp), output=tmp_path / "perfect")
    assert (perfect / "nats").read_text() == (run(made, "reference") / "nats").read_text()
    hyp.write_text("u1 the cat\nu2\nu3 hello\n")
    poor = run(made, "cascade", "--hyp", str(hyp), output=tmp_path / "poor")
    assert read_run(poor).hyp == {"u1": "the cat", "u2": "", "u3": "hello"}
    a, b = read_dict(perfect / "nats"), read_dict(poor / "nats")
    assert a["u3"] == b["u3"] and a["u1"] != b["u1"]


@pytest.mark.parametrize(
    ("system", "more", "label"),
    [
        ("reference", [], "reference text"),
        ("no_prompt", [], "no prompt"),
        ("cascade", ["--checkpoint", "3epoch.pth"], "cascade, epoch 3"),
        ("cascade", ["--checkpoint", "valid.loss.ave.pth"], "cascade, mean of the best 5 epochs"),
        ("cascade", ["--label", "mine"], "mine"),
    ],
)
def test_labels_are_for_readers(made, tmp_path, system, more, label):
    (tmp_path / "valid.loss.ave_5best.pth").touch()
    (tmp_path / "valid.loss.ave.pth").symlink_to("valid.loss.ave_5best.pth")
    (tmp_path / "hyp").write_text("u1 the cat\nu2\nu3 hello\n")
    if system == "cascade":
        more = [*more, "--hyp", f"{tmp_path}/hyp", "--exp", str(tmp_path)]
    assert read_run(run(made, system, *more, output=tmp_path / "out")).info.label == label


def test_no_prompt_reads_nothing(made):
    """Nothing distinguishes the utterances but the limit, which is that of their transcripts."""
    found = read_run(run(made, "no_prompt")).response_ids.values()
    said = [ids.tolist() for ids in found]
    longest = max(said, key=len)
    assert all(ids == longest[: len(ids)] for ids in said)


@pytest.mark.parametrize("system", ["reference", "cascade"])
def test_jobs_make_what_one_makes(made, tmp_path, system):
    (tmp_path / "hyp").write_text("u1 the cat\nu2\nu3 hello\n")
    more = ["--shard_size", "1"] + (["--hyp", f"{tmp_path}/hyp"] if system == "cascade" else [])
    one = run(made, system, *more, output=tmp_path / "one")
    for job in ("4", "2", "1", "3"):
        run(made, system, *more, "--num_jobs", "4", "--job", job, output=tmp_path / "many")
        assert not (tmp_path / "many" / "run.json").exists()
    many = run(made, system, *more, "--num_jobs", "4", "--merge", output=tmp_path / "many")
    assert contents(many) == contents(one)
    assert ".parts" not in contents(many)


def test_other_batches_change_rounding_only(made, tmp_path):
    """Shards of one utterance are batches of one: the same answers, the same costs to 1e-5."""
    alone = run(made, "reference", "--shard_size", "1", output=tmp_path / "alone")
    batch = run(made, "reference", output=tmp_path / "batch")
    assert (alone / "answers.jsonl").read_bytes() == (batch / "answers.jsonl").read_bytes()
    ours, theirs = read_dict(alone / "nats"), read_dict(batch / "nats")
    for id_ in TEXTS:
        assert float(ours[id_].split()[0]) == pytest.approx(float(theirs[id_].split()[0]), rel=1e-5)


def several(made, tmp_path):
    """The words of three runs: two of one store, and one with other options."""
    hyp = tmp_path / "hyp"
    hyp.write_text("u1 the cat\nu2\nu3 hello\n")
    runs = {"reference": [], "cascade": ["--hyp", str(hyp)]}
    runs["no_prompt"] = ["--max_tokens_factor", "2"]
    return {
        system: ["--system", system, "--llm", f"{made}/llm", "--data", f"{made}/test"]
        + ["--references", f"{made}/responses", "--shard_size", "1", *more]
        for system, more in runs.items()
    }


def ask_all(words, output, *shared):
    """One call for all; each answers into a directory of its own."""
    asked = [[*each, "--output", f"{output}/{name}", "--run"] for name, each in words.items()]
    respond.main([*itertools.chain(*asked), *shared])


def test_one_process_makes_what_several_make(made, tmp_path, monkeypatch):
    """With one LLM that is loaded once; in jobs, too."""
    words = several(made, tmp_path)
    for name, each in words.items():
        respond.main([*each, "--output", f"{tmp_path}/apart/{name}"])
    loads = []
    load = llms.load
    monkeypatch.setattr(llms, "load", lambda *args: loads.append(args) or load(*args))
    ask_all(words, tmp_path / "one")
    assert len(loads) == 1
    ask_all(words, tmp_path / "one")
    assert len(loads) == 1  # nothing is left
    for job in ("2", "1"):
        ask_all(words, tmp_path / "jobs", "--num_jobs", "2", "--job", job)
    ask_all(words, tmp_path / "jobs", "--num_jobs", "2", "--merge")
    assert len(loads) == 3
    for name in words:
        apart = contents(tmp_path / "apart" / name)
        assert contents(tmp_path / "one" / name) == contents(tmp_path / "jobs" / name) == apart


def test_a_run_that_fails_is_named_and_the_others_stay(made, tmp_path, capsys):
    words = several(made, tmp_path)
    words["no_prompt"] += ["--system_prompt", "be brief"]  # the references have none
    with pytest.raises(SystemExit):
        ask_all(words, tmp_path)
    error = capsys.readouterr().err
    assert f"no_prompt and the set test ({tmp_path}/no_prompt): " in error
    assert not (tmp_path / "no_prompt/run.json").exists()
    before = contents(tmp_path / "cascade")
    assert "run.json" in before
    words = several(made, tmp_path)
    ask_all(words, tmp_path)  # goes on
    assert (tmp_path / "no_prompt/run.json").exists() and contents(tmp_path / "cascade") == before


def test_what_is_wrong_with_a_later_run_is_found_before_the_llm_is_loaded(
    made, tmp_path, capsys, monkeypatch
):
    words = several(made, tmp_path)
    (tmp_path / "hyp").write_text("u1 the cat\n")
    monkeypatch.setattr(llms, "load", None)
    with pytest.raises(SystemExit):
        ask_all(words, tmp_path)
    error = capsys.readouterr().err
    assert "cascade and the set test" in error and "2 missing, first: u2" in error


def contents(directory):
    return {path.name: path.is_file() and path.read_bytes() for path in directory.iterdir()}


def test_merge_names_the_jobs_that_are_missing(made, tmp_path, capsys):
    more = ["--shard_size", "1", "--num_jobs", "3"]
    run(made, "reference", *more, "--job", "3", output=tmp_path)
    with pytest.raises(SystemExit):
        run(made, "reference", *more, "--merge", output=tmp_path)
    message = "2 of 3 shards are missing (first: shard.00000.jsonl): those of job 1, 2 of 3; rerun"
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run.json").exists()


def test_a_second_run_loads_no_llm_and_changes_nothing(made, tmp_path, monkeypatch):
    out = run(made, "reference", output=tmp_path / "out")
    before = {path.name: path.stat().st_ino for path in out.iterdir()}
    monkeypatch.setattr(respond, "load", None)
    run(made, "reference", output=out)
    run(made, "reference", "--merge", output=out)
    assert {path.name: path.stat().st_ino for path in out.iterdir()} == before


def test_other_inputs_start_anew(made, tmp_path):
    """Parts of a run with another option are not looked at, and final files of it are no longer
    whole once the new run has begun."""
    out = run(made, "reference", "--shard_size", "1", output=tmp_path / "out")
    more = ["--max_tokens_factor", "0.5", "--shard_size", "1"]
    run(made, "reference", *more, "--num_jobs", "3", "--job", "2", output=out)
    assert not (out / "run.json").exists()
    run(made, "reference", *more, "--num_jobs", "3", "--job", "2", output=out)
    assert contents(run(made, "reference", *more, output=out)) == contents(
        run(made, "reference", *more, output=tmp_path / "fresh")
    )


@pytest.mark.parametrize(
    ("system", "more", "message"),
    [
        ("cascade", [], "--system cascade needs --hyp"),
        ("audiollm", [], "--system audiollm needs --exp"),
        ("cascade", ["--hyp", "few"], "has 1 hypotheses for 3 recordings (2 missing, first: u2)"),
    ],
)
def test_refusals(made, capsys, system, more, message):
    (made / "few").write_text("u1 the cat\n")
    more = [str(made / word) if word == "few" else word for word in more]
    with pytest.raises(SystemExit):
        run(made, system, *more)
    assert message in capsys.readouterr().err


def test_a_run_belongs_to_an_engine(made, tmp_path, capsys):
    ours = run(made, "reference", output=tmp_path / "ours")
    with standing_in(llms.load(f"{made}/llm")) as stand_in:
        vllm = ["--llm_engine", "vllm", "--vllm_url", stand_in.url]
        theirs = run(made, "reference", *vllm, output=tmp_path / "theirs")
        with pytest.raises(SystemExit):
            run(made, "reference", *vllm, output=ours)
        assert "give --llm_engine transformers, or remove" in capsys.readouterr().err
    ids = [read_run(place).response_ids for place in (ours, theirs)]
    assert {id_: tuple(ids[0][id_]) for id_ in TEXTS} == {id_: tuple(ids[1][id_]) for id_ in TEXTS}
    assert (ours / "nats").read_bytes() == (theirs / "nats").read_bytes()  # not vLLM's


def test_a_store_of_another_llm_is_refused(made, capsys):
    save_tiny_llm(made / "other", seed=7)
    with pytest.raises(SystemExit):
        run(made, "reference", llm="other", output=made / "refused")
    error = capsys.readouterr().err
    assert "were made with another LLM" in error and "rerun stage 7" in error
    assert not (made / "refused" / "run.json").exists()


def test_a_file_that_is_missing_is_made_anew(made, tmp_path):
    out = run(made, "reference", output=tmp_path / "out")
    before = contents(out)
    (out / "token_nats").unlink()
    assert contents(run(made, "reference", output=out)) == before


def test_similarity_of_every_utterance(systems, tmp_path):
    """The numbers are those of the embeddings that are kept of a few; jobs do not change them."""
    from espnet_audiollm.score.similarity import read_embeddings

    cmd = ["--system", "audiollm", "--llm", f"{systems}/llm", "--exp", f"{systems}/align"]
    cmd += ["--data", f"{systems}/data", "--references", f"{systems}/responses"]
    out = tmp_path / "out"
    respond.main([*cmd, "--output", str(out)])
    texts = read_dict(systems / "data" / "text")
    found = alignments(out)
    assert list(found) == sorted(texts) and len(found) == 12
    for id_, text in texts.items():
        assert found[id_].words == len(text.split())
    for id_, one in read_embeddings(out / "embeddings.npz").items():
        unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (one.text_TD, one.audio_PD)]
        cosine = unit[0] @ unit[1].T
        assert (found[id_].tokens, found[id_].positions) == cosine.shape
        best = np.full(cosine.shape[1], 0.0)  # the best path that ends at or before a position
        for row in cosine:
            best = np.array([max(best[: p + 1]) for p in range(len(row))]) + row
        assert found[id_].path == pytest.approx(best.max() / len(cosine), abs=1e-4)
    for job in ("2", "1", "--merge"):
        more = [job] if job == "--merge" else ["--job", job]
        many = ["--output", f"{tmp_path}/many", "--num_jobs", "2", "--shard_size", "5", *more]
        respond.main([*cmd, *many])
    jobs = alignments(tmp_path / "many")
    for id_ in texts:
        assert jobs[id_].path == pytest.approx(found[id_].path, abs=1e-4)
        assert jobs[id_].path_shuffled == pytest.approx(found[id_].path_shuffled, abs=1e-4)


def alignments(directory):
    found = read_run(directory).similarity
    rows = zip(*found.columns.values(), strict=True)
    names = list(found.columns)
    return {
        id_: AlignmentNumbers(**dict(zip(names, row, strict=True)))
        for id_, row in zip(found.ids, rows, strict=True)
    }
