"""The real vLLM on the processor: its tokens are those of this process, its death loses nothing.

One server for all, which is killed once, and one that a stage starts: each takes a minute."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import chat_llms
import pytest
import torch
from bench import bench_serve
from slurm_node import descendants
from tiny_tasks import task_options

from espnet_audiollm.bin import generate_responses
from espnet_audiollm.infer import vllm_guard, vllm_server
from espnet_audiollm.infer.engines import VllmEngine
from espnet_audiollm.infer.stream import Sampling
from espnet_audiollm.infer.systems import load_system
from espnet_audiollm.infer.vllm_http import KEY, Server
from espnet_audiollm.model import llm as llms
from espnet_audiollm.serve.engine import Begun, Request
from espnet_audiollm.serve.remote_engine import RemoteEngine
from espnet_audiollm.types import Audio, Dialogue, Turn

pytestmark = pytest.mark.slow
WORDS = "the cat sat on mat and dog ran to park what is capital of france paris".split()
SECRET = "a-key-of-the-test"


@pytest.fixture(scope="module")
def llm_dir(tmp_path_factory):
    """Heads as wide as vLLM's kernels for processors want them."""
    place = tmp_path_factory.mktemp("llm")
    sizes = {"head_dim": 64, "hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2}
    return chat_llms.save_tiny_llm(place, seed=5, **sizes)


@pytest.fixture(scope="module")
def llm(llm_dir):
    return llms.load(str(llm_dir))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as place:
        return place.getsockname()[1]


class Vllm:
    """vLLM at one address, started again and again."""

    def __init__(self, llm, log):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        guard = [sys.executable, "-I", "-S", vllm_guard.__file__, str(vllm_server.find_python())]
        self.command = [*guard, *vllm_server.arguments(llm, self.port)]
        self.environment, self.log = vllm_server.environment(SECRET, llm), open(log, "ab")
        self.start()

    def start(self):
        how = {"stdout": self.log, "stderr": subprocess.STDOUT, "stdin": subprocess.PIPE}
        how["start_new_session"] = True
        self.process = subprocess.Popen(self.command, env=self.environment, **how)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def installed():
    try:
        vllm_server.find_python()
    except ValueError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def vllm(llm, tmp_path_factory, installed):
    made = Vllm(llm, tmp_path_factory.mktemp("vllm") / "log")
    os.environ[KEY] = SECRET
    try:
        Server(made.url).wait("it loads the LLM")
        yield made
    finally:
        del os.environ[KEY]
        made.kill()
        made.log.close()


def dialogues(data):
    """Two hundred, all different: text, a recording, or both, in one turn or several."""
    random = torch.Generator().manual_seed(0)
    made = []
    for i in range(200):
        drawn = torch.randint(len(WORDS), (6,), generator=random).tolist()
        text = " ".join(WORDS[word] for word in drawn)
        audio = Audio(str(data / f"u{i % 8}.wav"), text)
        turns = (Turn("user", (text, audio)),)
        if i % 4 == 0:
            turns = (Turn("user", audio), Turn("assistant", None), Turn("user", text))
        made.append(Dialogue(f"d{i:03d}", turns))
    return made


def differing(found, expected):
    pairs = list(zip(found, expected, strict=True))
    share = sum(a.response_ids != b.response_ids for a, b in pairs) / len(pairs)
    print(f"{100 * share:.1f} % of {len(pairs)} answers differ from those of transformers")
    return share


@pytest.fixture(scope="module")
def align_exp(llm_dir, data, ctc_exp, tmp_path_factory):
    """An AudioLLM of this LLM."""
    from espnet_audiollm.tasks.audiollm import AudioLLMTask

    exp = tmp_path_factory.mktemp("align")
    cmd = task_options(data, exp, "response_ids,response,text_int", max_epoch=1)
    init = f"{ctc_exp}/valid.loss.ave.pth"
    AudioLLMTask.main(cmd=[*cmd, "--llm", str(llm_dir), "--init_ctc", init])
    return exp


@pytest.fixture(scope="module")
def systems(llm, align_exp):
    """What reads and what hears, both in this process."""
    return load_system("reference", llm), load_system("audiollm", llm, align_exp)


@pytest.mark.parametrize("number, kind", enumerate(["text", "audio"]))
def test_the_tokens_are_those_of_transformers(vllm, llm, systems, data, number, kind):
    system, asked = systems[number], dialogues(data)
    server = Server(vllm.url)
    remote = replace(system, generate=VllmEngine(server, llm))
    expected, found = system.respond(asked), remote.respond(asked)
    server.close()
    assert {each.finish_reason for each in expected} == {"stop", "length"}
    assert differing(found, expected) == 0
    assert found == expected


class Told:
    """What an engine tells about a request."""

    def __init__(self):
        self.events, self.over = [], threading.Event()

    def __call__(self, event):
        self.events.append(event)
        if isinstance(event, Exception) or getattr(event, "finish_reason", None):
            self.over.set()

    @property
    def tokens(self):
        return [e.token for e in self.events if not isinstance(e, Begun | Exception)]


def ask(engine, turns, tokens, sampling=Sampling()):  # noqa: B008
    events = Told()
    request = Request(turns, tokens, sampling, (), events)
    engine.submit(request)
    return request, events


def endless(system):
    """A system whose answers do not end before their limit."""
    return replace(system, llm=replace(system.llm, eos_ids=(system.llm.tokenizer.vocab_size - 1,)))


def running(vllm):
    """Requests in vLLM, by its own count."""
    import httpx2

    text = httpx2.get(f"{vllm.url}/metrics", trust_env=False).text
    lines = [li for li in text.splitlines() if li.startswith("vllm:num_requests_running")]
    assert lines
    return sum(float(line.split()[-1]) for line in lines)


def test_the_benchmark_of_the_server(vllm, align_exp, llm_dir, data, capsys):
    words = [str(align_exp), "--llm", str(llm_dir), "--recordings", str(data), "--vllm", vllm.url]
    sizes = ["--clients", "2", "--seconds", "2", "--rounds", "2", "--dialogues", "0"]
    bench_serve.main([*words, *sizes])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| AudioLLM")]
    assert [row[1] for row in rows] == ["in its process", "vLLM"]
    assert all(row[2] == "2" and float(row[3]) > 0 for row in rows)


def stage7(llm_dir, place):
    """Words of a stage that answers 400 prompts."""
    (place / "data").mkdir()
    asked = [f"utt{i:03d} {WORDS[i % 16]} {WORDS[i % 7]} {i}\n" for i in range(400)]
    (place / "data/text").write_text("".join(asked))
    words = ["--llm", str(llm_dir), "--data", f"{place}/data", "--device", "cpu"]
    return [*words, "--batch_size", "8"]


def test_a_killed_vllm_of_the_stage_is_started_again(llm_dir, tmp_path, capfd, installed):
    """Killed is its largest process, as by the kernel for want of memory."""
    words = stage7(llm_dir, tmp_path)
    generate_responses.main([*words, "--output", f"{tmp_path}/complete"])
    broken, seen = tmp_path / "broken", []
    others = processes_of_vllm()  # of the server of the other tests

    def kill():
        until(lambda: any(broken.glob("*shard*")))
        seen.extend(pid for pid in processes_of_vllm() if pid not in others)
        os.kill(max(seen, key=memory), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    generate_responses.main([*words, "--output", f"{broken}", "--llm_engine", "vllm"])
    killer.join()
    assert len(seen) > 1 and "(1 of 3 times without" in capfd.readouterr().err
    ids = [(tmp_path / name / "response_ids").read_bytes() for name in ("complete", "broken")]
    assert ids[0] == ids[1]
    until(lambda: set(processes_of_vllm()) == set(others), 30.0)


def processes_of_vllm():
    """What this process, or those that it started, run of vLLM's Python."""
    python = vllm_server.find_python()
    return [pid for pid in descendants(os.getpid()) if memory(pid) and runs(pid, python)]


def runs(pid, python):
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    return command.startswith((os.fsencode(python), b"VLLM::"))


def memory(pid):
    """Pages in use."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0


def test_a_killed_vllm_loses_nothing(vllm, llm, llm_dir, systems, data, tmp_path, capfd):
    """A stage and a server are at work when it dies; both go on when it is back."""
    words = stage7(llm_dir, tmp_path)
    generate_responses.main([*words, "--output", f"{tmp_path}/complete"])

    system = endless(systems[1])
    remote = RemoteEngine(system, 4, VllmEngine(Server(vllm.url), system.llm))
    turns = dialogues(data)[1].turns
    try:
        left, answer = ask(remote, turns, 400)
        until(lambda: len(answer.events) > 3)
        left.cancel()
        until(lambda: not remote.writing and running(vllm) == 0)  # it is over there, too
        assert len(answer.tokens) < 400 and not answer.over.is_set()

        stage = threading.Thread(
            target=generate_responses.main,
            args=(
                [*words, "--output", f"{tmp_path}/broken", "--llm_engine", "vllm"]
                + ["--vllm_url", vllm.url],
            ),
        )
        stage.start()
        until(lambda: any(Path(tmp_path / "broken").glob("*shard*")))
        _, answer = ask(remote, turns, 400)
        until(lambda: len(answer.events) > 3)
        vllm.kill()
        assert answer.over.wait(60) and isinstance(answer.events[-1], RuntimeError)
        until(lambda: not remote.alive)
        _, refused = ask(remote, turns, 5)
        assert refused.over.wait(60) and isinstance(refused.events[-1], RuntimeError)
        vllm.start()
        stage.join(900)
        assert not stage.is_alive()
        until(lambda: remote.alive)
        _, again = ask(remote, turns, 5)
        assert again.over.wait(60) and len(again.tokens) == 5
        came = answer.tokens[:5]  # the kill may have come before the fifth
        assert came and again.tokens[: len(came)] == came
    finally:
        remote.close()
    assert "waiting for the vLLM server" in capfd.readouterr().err
    ids = [(tmp_path / name / "response_ids").read_bytes() for name in ("complete", "broken")]
    assert ids[0] == ids[1]


def until(true, limit=900.0):
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
