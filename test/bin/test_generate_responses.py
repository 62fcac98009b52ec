"""Stage 7's command, on a random Llama and, when it is here, on a real small one."""

import json
from pathlib import Path

import chat_llms
import pytest
import torch
from tool_mains import imported_for_help
from written_runs import read_store

from espnet_audiollm.bin.generate_responses import main
from espnet_audiollm.data.prompt import encode, user_prompt
from espnet_audiollm.model import llm as llms

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def llm_dir(tmp_path_factory):
    return chat_llms.save_tiny_llm(tmp_path_factory.mktemp("llm"), seed=5)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return chat_llms.write_texts(tmp_path_factory.mktemp("data"), 50, longest=8)


def command(llm_dir, data, output, **options):
    options = {"llm": llm_dir, "data": data, "output": output, "batch_size": 4} | options
    options |= {"shard_size": 16, "device": "cpu"}
    return [str(part) for name, value in options.items() for part in (f"--{name}", value)]


def contents(directory):
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@pytest.fixture(scope="module")
def complete(tmp_path_factory, llm_dir, data):
    output = tmp_path_factory.mktemp("complete") / "responses"
    main(command(llm_dir, data, output))
    return output


def test_answers_are_the_greedy_ones_of_the_llm(llm_dir, data, complete):
    llm = llms.load(str(llm_dir))
    texts = dict(line.split(" ", 1) for line in (data / "text").read_text().splitlines())
    read = read_store(complete)
    for id_ in ("utt00", "utt07", "utt49"):
        prompt = encode(user_prompt(texts[id_]), llm.tokenizer)
        expected = chat_llms.by_transformers(llm, prompt, 4 * len(prompt))
        assert tuple(read[id_].response_ids) == expected
        assert read[id_].prompt == texts[id_]
    for response in read.values():
        ended = response.response_ids[-1] in llm.eos_ids
        assert response.finish_reason == ("stop" if ended else "length")
        limit = 4 * len(encode(user_prompt(response.prompt), llm.tokenizer))
        assert len(response.response_ids) == limit or ended
        assert len(response.response_ids) <= limit
    assert {r.finish_reason for r in read.values()} == {"stop", "length"}


@pytest.mark.parametrize("num_jobs", [3, 7])  # 7: more than there are shards
def test_jobs_make_what_one_makes(llm_dir, data, complete, tmp_path, num_jobs):
    for job in range(num_jobs, 0, -1):
        main(command(llm_dir, data, tmp_path, job=job, num_jobs=num_jobs))
        assert not (tmp_path / "response_ids").exists()
    main(["--merge", "--num_jobs", str(num_jobs), "--output", str(tmp_path)])
    assert contents(tmp_path) == contents(complete)


def test_a_second_run_loads_no_llm(llm_dir, data, complete, capsys, monkeypatch):
    monkeypatch.setattr(llms, "load_llm", None)
    before = contents(complete)
    main(command(llm_dir, data, complete))
    main(command(llm_dir, data, complete, job=2, num_jobs=3))
    assert "nothing left for job 2 of 3" in capsys.readouterr().err
    assert contents(complete) == before


def test_one_process_answers_several_sets(llm_dir, data, complete, tmp_path, monkeypatch, fails):
    """By one LLM that is loaded once; in jobs, too; the error of one run names it."""
    loads, load = [], llms.load
    monkeypatch.setattr(llms, "load", lambda *args: loads.append(args) or load(*args))

    def runs(*names, **more):
        words = [command(llm_dir, data, tmp_path / name, **more) for name in names]
        return [word for each in words for word in (*each, "--run")]

    main(runs("a", "b"))
    main(runs("a", "b"))  # nothing is left
    assert len(loads) == 1
    for more in (["--job", "2"], ["--job", "1"], ["--merge"]):
        main([*runs("c", "d"), "--num_jobs", "2", *more])
    assert len(loads) == 3
    expected = (complete / "response_ids").read_bytes()
    assert all((tmp_path / name / "response_ids").read_bytes() == expected for name in "abcd")
    assert f"{tmp_path}/e: --beam 0" in fails([*runs("a"), *runs("e", beam=0)])


def test_merge_names_the_jobs_that_are_missing(llm_dir, data, tmp_path, fails):
    main(command(llm_dir, data, tmp_path, job=2, num_jobs=4))
    message = fails(["--merge", "--num_jobs", "4", "--output", str(tmp_path)])
    assert "3 of 4 shards are missing (first: shard.00000.jsonl): those of job 1, 3, 4" in message
    assert not (tmp_path / "response_ids").exists()


def test_a_batch_that_does_not_fit(llm_dir, data, complete, tmp_path, capsys, monkeypatch):
    """PyTorch's own error, for more than two rows: half the rows, and the same answers."""
    from espnet_audiollm.infer.decoder import Decoder

    read = Decoder.read

    def full(self, rows):
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return read(self, rows)

    monkeypatch.setattr(Decoder, "read", full)
    main(command(llm_dir, data, tmp_path))
    warning = capsys.readouterr().err
    assert "4 hypotheses at a time (first prompt: utt" in warning and "2 from here on" in warning
    assert contents(tmp_path).keys() == contents(complete).keys()
    assert read_store(tmp_path) == read_store(complete)


@pytest.fixture
def fails(capsys):
    """Run the command: it must end with status 1 and one line, which is returned."""

    def run(arguments):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 1
        message = capsys.readouterr().err.strip().splitlines()[-1]
        assert message.startswith("generate_responses: error: ")
        return message

    return run


def test_a_store_of_another_llm(data, complete, tmp_path, fails):
    other = chat_llms.save_tiny_llm(tmp_path / "other", seed=6)
    before = contents(complete)
    assert "were made with another LLM: delete" in fails(command(other, data, complete))
    assert contents(complete) == before


def test_a_changed_template(llm_dir, data, complete, tmp_path, fails):
    template = tmp_path / "t.jinja"
    template.write_text(chat_llms.CHATML)
    message = fails(command(llm_dir, data, complete, chat_template=template))
    assert "were made with another chat template: delete" in message


def test_a_changed_transcript(llm_dir, data, complete, tmp_path, fails):
    text = (data / "text").read_text()
    (tmp_path / "text").write_text(text.replace("cat", "dog", 1))
    assert "were made with other prompts: delete" in fails(command(llm_dir, tmp_path, complete))


def test_errors_of_one_job_of_several_name_it(llm_dir, data, tmp_path, fails):
    text = (data / "text").read_text()
    (tmp_path / "text").write_text(text + "utt99 \n")
    message = fails(command(llm_dir, tmp_path, tmp_path / "out", job=2, num_jobs=3))
    assert "error: job 2 of 3: 1 of 51 transcripts are empty (first: utt99)" in message


def test_prompts_beyond_the_context(data, tmp_path, fails):
    short = chat_llms.save_tiny_llm(tmp_path / "llm", context=8)
    message = fails(command(short, data, tmp_path / "out"))
    assert "prompts do not fit the LLM's context of 8 tokens with an answer (first: utt" in message


@pytest.mark.parametrize(
    "options, message",
    [
        ({"llm_dir": "no/such/llm"}, "the LLM directory no/such/llm does not exist"),
        ({"data": "no/such/data"}, "no/such/data: no such file or directory"),
        ({"job": 3, "num_jobs": 2}, "--job 3 is not one of 1 to --num_jobs 2"),
        ({"batch_size": 0}, "--batch_size 0 is not positive"),
    ],
)
def test_bad_arguments(llm_dir, data, tmp_path, fails, options, message):
    given = {"llm_dir": llm_dir, "data": data, "output": tmp_path / "out"} | options
    assert message in fails(command(**given))
    assert not (tmp_path / "out").exists()


def test_help_needs_no_torch():
    assert imported_for_help("generate_responses", ["torch"]) == []


def test_stories260k(data, tmp_path):
    stories = ROOT.parent / "shared" / "models" / "stories260k"
    if not stories.is_dir():
        pytest.skip("../shared/models/stories260k is not here")
    template = tmp_path / "plain.jinja"
    template.write_text("{{ bos_token }}{{ messages[-1].content }}")
    main(command(stories, data, tmp_path / "out", chat_template=template))
    assert len(read_store(tmp_path / "out")) == 50
    assert json.loads((tmp_path / "out" / "store.json").read_text())["llm"] == str(stories)
