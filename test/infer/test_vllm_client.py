"""What goes wrong between a stage and a vLLM server: nothing is lost, and the cause is named.

The server is a stand-in; the real vLLM is in test_vllm.py."""

import os
import signal
import subprocess
import sys
import threading
import time

import chat_llms
import pytest
import torch
from vllm_stand_in import standing_in

from espnet_audiollm.bin import generate_responses
from espnet_audiollm.infer import vllm_guard
from espnet_audiollm.infer.engines import VllmEngine, load_engine
from espnet_audiollm.infer.generate import generate
from espnet_audiollm.infer.vllm_http import KEY, Server
from espnet_audiollm.infer.vllm_server import started
from espnet_audiollm.model import llm as llms
from espnet_audiollm.store import responses

PROMPTS = [[1, 261 + 7 * i, 300 + 3 * i] for i in range(12)]
LIMITS = [1 + 5 * i for i in range(12)]


@pytest.fixture(scope="module")
def llm_dir(tmp_path_factory):
    return chat_llms.save_tiny_llm(tmp_path_factory.mktemp("llm"), seed=5)


@pytest.fixture(scope="module")
def llm(llm_dir):
    return llms.load(str(llm_dir))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return llms.load(str(chat_llms.save_tiny_llm(tmp_path_factory.mktemp("other"), seed=6)))


def connected(stand_in, llm, patience=20.0, **how):
    return VllmEngine(Server(stand_in.url, patience=patience), llm, **how)


def test_ids_and_embeddings_draw_the_tokens_of_this_process(llm):
    embedding = llm.model.get_input_embeddings()
    mixed = [embedding(torch.tensor(p)) if i % 2 else p for i, p in enumerate(PROMPTS)]
    expected = generate(llm, PROMPTS, LIMITS)
    with standing_in(llm) as stand_in, load_engine("vllm", llm, f"{stand_in.url}/v1") as engine:
        found = engine(llm, mixed, LIMITS)
    assert [(each.ids, each.finish_reason) for each in found] == [
        (each.ids, each.finish_reason) for each in expected
    ]
    assert [each.nats for each in found] == pytest.approx([each.nats for each in expected])
    assert {each.finish_reason for each in found} == {"stop", "length"}


def test_a_server_that_loads_is_waited_for(llm):
    with standing_in(llm, loading=2) as stand_in:
        assert connected(stand_in, llm)(llm, PROMPTS, LIMITS)
        assert stand_in.loading == 0


@pytest.mark.parametrize("faults", [["drop"], ["503", "500"], ["drop"] * 4])
def test_a_server_that_dies_in_the_middle_loses_nothing(llm, faults):
    expected = [each.ids for each in generate(llm, PROMPTS, LIMITS)]
    with standing_in(llm) as stand_in:
        engine = connected(stand_in, llm)
        stand_in.faults, stand_in.loading = faults, 1
        assert [each.ids for each in engine(llm, PROMPTS, LIMITS)] == expected


def test_a_prompt_that_the_server_fails_at_again_and_again_is_named(llm):
    with standing_in(llm) as stand_in:
        engine = connected(stand_in, llm)
        # Between two tries of the prompt the server is checked, by two completions.
        stand_in.faults = ["500", "", "", "500", "", "", "500"]
        with pytest.raises(ValueError, match="3 times at utt7.*status 500.*log"):
            engine(llm, PROMPTS[:1], 5, names=["utt7"])


def test_a_server_that_stays_away_is_named(llm):
    with standing_in(llm) as stand_in:
        engine = connected(stand_in, llm, patience=1.0)
    with pytest.raises(ValueError, match=f"{stand_in.url}.* 1 s.*health.*kept"):
        engine(llm, PROMPTS, LIMITS)


def test_another_llm_is_refused(llm, other):
    with standing_in(other) as stand_in:
        with pytest.raises(ValueError, match="another LLM.*nats.*--model"):
            connected(stand_in, llm)


def test_a_smaller_vocabulary_is_refused(llm):
    smaller = llms.wrap(chat_llms.tiny_llama(300, seed=5), llm.tokenizer, "smaller")
    with standing_in(smaller) as stand_in:
        with pytest.raises(ValueError, match="vocabulary of 4.*--model"):
            connected(stand_in, llm)


def test_another_llm_after_the_outage_is_refused(llm, other):
    with standing_in(llm) as stand_in:
        engine = connected(stand_in, llm)
        stand_in.faults = ["drop"] * 4
        stand_in.before_return = lambda: setattr(stand_in, "llm", other)
        with pytest.raises(ValueError, match="another LLM"):
            engine(llm, PROMPTS, LIMITS)


def test_embeddings_must_be_enabled_where_there_is_audio(llm):
    with standing_in(llm, embeds=False) as stand_in:
        assert connected(stand_in, llm, audio=False)(llm, PROMPTS, LIMITS)
        with pytest.raises(ValueError, match="--enable-prompt-embeds"):
            connected(stand_in, llm)


def test_a_key_comes_from_the_environment(llm, monkeypatch):
    with standing_in(llm, key="a-secret") as stand_in:
        monkeypatch.setenv(KEY, "another")
        with pytest.raises(ValueError, match=KEY) as refused:
            connected(stand_in, llm)
        assert "another" not in str(refused.value)
        monkeypatch.setenv(KEY, "a-secret")
        assert connected(stand_in, llm)


def test_what_vllm_cannot_do(llm):
    with standing_in(llm) as stand_in:
        with pytest.raises(ValueError, match="--beam 3.*transformers"):
            connected(stand_in, llm)(llm, PROMPTS, LIMITS, beam=3)
    with pytest.raises(ValueError, match="begins with http"):
        Server("localhost:8000")


# --- stage 7 ------------------------------------------------------------------------------------


def stage7(llm_dir, data, output, *words):
    where = ["--llm", str(llm_dir), "--data", str(data), "--output", str(output)]
    generate_responses.main([*where, "--device", "cpu", "--batch_size", "4", *words])


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    lines = (f"utt{i:02d} the cat sat on {'mat ' * (i % 5)}\n" for i in range(12))
    (tmp_path / "data/text").write_text("".join(lines))
    return tmp_path / "data"


def test_a_store_belongs_to_an_engine(llm, llm_dir, data, tmp_path, capsys):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    stage7(llm_dir, data, ours)
    with standing_in(llm) as stand_in:
        vllm = ["--llm_engine", "vllm", "--vllm_url", stand_in.url]
        stage7(llm_dir, data, theirs, *vllm)
        with pytest.raises(SystemExit):
            stage7(llm_dir, data, ours, *vllm)
        before = stand_in.completions
        stage7(llm_dir, data, theirs, *vllm)  # all is there: the server is not asked
        assert stand_in.completions == before
    with pytest.raises(SystemExit):
        stage7(llm_dir, data, theirs)
    assert capsys.readouterr().err.count("another --llm_engine") == 2
    assert (ours / "response_ids").read_bytes() == (theirs / "response_ids").read_bytes()
    assert "engine" not in responses.read_about(ours)  # as stores were before there were engines


def test_a_server_that_fails_leaves_what_was_answered(llm, llm_dir, data, tmp_path, capsys):
    complete, broken = tmp_path / "complete", tmp_path / "broken"
    stage7(llm_dir, data, complete)
    with standing_in(llm) as stand_in:
        vllm = ["--llm_engine", "vllm", "--vllm_url", stand_in.url]
        stand_in.faults = [*[""] * 5, *["404"] * 4]  # after the check and a batch of four
        with pytest.raises(SystemExit):
            stage7(llm_dir, data, broken, *vllm)
        assert "status 404" in capsys.readouterr().err
        stand_in.faults, before = [], stand_in.completions
        stage7(llm_dir, data, broken, *vllm)
        assert stand_in.completions - before == 1 + 8  # the check; not the first batch
    assert (complete / "response_ids").read_bytes() == (broken / "response_ids").read_bytes()


# --- a server of one's own ----------------------------------------------------------------------


def test_vllm_is_not_installed(llm, tmp_path, monkeypatch):
    monkeypatch.setenv("AUDIOLLM_VLLM_VENV", str(tmp_path))
    with pytest.raises(ValueError, match="not installed.*install_vllm.sh.*--vllm_url"):
        with load_engine("vllm", llm, log=tmp_path / "vllm.log"):
            pass


def test_a_server_that_does_not_start_shows_its_last_lines(llm, tmp_path, monkeypatch):
    place = tmp_path / "lib/python3.11/site-packages/vllm"
    place.mkdir(parents=True)
    (place / "__init__.py").touch()
    (tmp_path / "bin").mkdir()
    script = '#!/bin/sh\necho "$VLLM_API_KEY" | wc -c\necho no memory\n'
    (tmp_path / "bin/python").write_text(script)
    (tmp_path / "bin/python").chmod(0o755)
    monkeypatch.setenv("AUDIOLLM_VLLM_VENV", str(tmp_path))
    with pytest.raises(ValueError, match="(?s)has ended.*no memory.*same command"):
        with load_engine("vllm", llm, log=tmp_path / "log/vllm.log"):
            pass
    size, said, ended = (tmp_path / "log/vllm.log").read_text().splitlines()
    assert int(size) > 20 and said == "no memory" and ended.endswith("exit status 0")


def test_a_server_of_the_stage_that_is_killed_is_started_again(
    llm_dir, data, tmp_path, capsys, vllm_processes
):
    made = vllm_processes(delay=0.2)
    stage7(llm_dir, data, tmp_path / "complete")
    output = tmp_path / "broken"

    def kill():
        until(lambda: made.answered() > 6)  # the comparison, and the first batch of four
        os.kill(made.servers()[0]["pid"], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    stage7(llm_dir, data, output, "--llm_engine", "vllm")
    killer.join()
    said = capsys.readouterr().err
    assert said.count("(1 of 3 times without an answer between)") == 1 and "vllm.1.log" in said
    assert "killed by signal 9" in (output / "log/vllm.1.log").read_text()
    ids = [(tmp_path / name / "response_ids").read_bytes() for name in ("complete", "broken")]
    assert ids[0] == ids[1]
    first, second = made.servers()
    assert first["port"] == second["port"]
    # Both were compared with the LLM of the stage; what the first one had answered was kept.
    assert made.answered() <= 12 + 2 * 2 + 4
    until(lambda: not any(alive(each["pid"]) for each in (first, second)))


def test_a_server_that_cannot_be_started_again_says_how_often_it_was_tried(
    llm_dir, data, tmp_path, capsys, vllm_processes
):
    made = vllm_processes(dies_at=4, starts=1)
    with pytest.raises(SystemExit):
        stage7(llm_dir, data, tmp_path / "out", "--llm_engine", "vllm")
    said = capsys.readouterr().err
    assert len(made.servers()) == 4 and "started 4 times" in said
    assert [f"({n} of 3 times" in said for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert "no memory for another server" in said and "same command goes on" in said


def test_a_prompt_that_kills_every_server_is_named(llm_dir, data, tmp_path, capsys, vllm_processes):
    made = vllm_processes(dies_at=2)  # the comparison has one completion where there is no audio
    with pytest.raises(SystemExit):
        stage7(llm_dir, data, tmp_path / "out", "--llm_engine", "vllm", "--batch_size", "1")
    said = capsys.readouterr().err
    assert "failed 3 times at utt00" in said and "started 3 times" in said
    assert "killed by signal 9" in said and len(made.servers()) == 3


def test_a_port_is_held_while_its_server_loads(llm, tmp_path, vllm_processes):
    made = vllm_processes()
    with started(llm, tmp_path / "1.log") as one, started(llm, tmp_path / "2.log") as two:
        assert one.url != two.url
        assert [each["held"] for each in made.servers()] == [True, True]
    until(lambda: not any(alive(each["pid"]) for each in made.servers()))


def test_nothing_is_left_of_a_server_whose_stage_is_killed(tmp_path):
    """The stage: a process that holds the guard's standard input, and is killed."""
    code = (
        "import subprocess, sys, time\n"
        "guard = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, start_new_session=True)\n"
        "time.sleep(60)"
    )
    server = f"sleep 600 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/pid; wait"
    words = [sys.executable, "-I", "-S", vllm_guard.__file__, "sh", "-c", server]
    with subprocess.Popen([sys.executable, "-c", code, *words]) as stage:
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        pids = [int((tmp_path / name).read_text()) for name in ("child", "pid")]
        stage.kill()
    until(lambda: not any(alive(pid) for pid in pids))


def until(true, limit=30.0):
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_os_environ_is_not_changed(llm, monkeypatch):
    from espnet_audiollm.infer.vllm_server import environment

    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    made = environment("a-key", llm)
    assert "PYTHONPATH" not in made and made["VLLM_API_KEY"] == "a-key"
    assert "VLLM_API_KEY" not in os.environ
