"""Stage 7 with vLLM as Slurm's jobs: each server is its job's, on its node, and ends with it.

Most tests have a stand-in for vLLM, the slow one vLLM itself."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import chat_llms
import pytest
from recipe_copies import copy_recipe
from slurm_caller import Caller
from slurm_node import descendants
from vllm_stand_in import standing_in

from espnet_audiollm.bin import generate_responses
from espnet_audiollm.infer import vllm_server
from espnet_audiollm.model import llm as llms

CONFIG = """\
default: {mem: 1500M, cpus: 2}
poll: 1
file_delay: 5
"""
PATIENCE = 300.0  # seconds for what takes 10 on a quiet machine
NUM = 24  # utterances
WIDE = {"head_dim": 64, "hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2}


@pytest.fixture(scope="module")
def llm_dir(tmp_path_factory):
    """Heads as wide as vLLM's kernels for processors want them."""
    return chat_llms.save_tiny_llm(tmp_path_factory.mktemp("llm"), seed=5, **WIDE)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    place = tmp_path_factory.mktemp("data")
    lines = (f"utt{i:02d} the cat sat on {'mat ' * (i % 5)}\n" for i in range(NUM))
    (place / "text").write_text("".join(lines))
    return place


@pytest.fixture(scope="module")
def expected(llm_dir, data, tmp_path_factory):
    """The responses that this process gives."""
    out = tmp_path_factory.mktemp("expected") / "out"
    words = ["--llm", str(llm_dir), "--data", str(data), "--output", str(out), "--device", "cpu"]
    generate_responses.main(words)
    return (out / "response_ids").read_bytes()


class Stage:
    """Jobs of stage 7 with one GPU each, all on n3, the only one that has some."""

    def __init__(self, cluster, directory, llm_dir, data):
        self.call = Caller(cluster, directory)
        self.call.configure(CONFIG)
        self.call.env["OMP_NUM_THREADS"] = "1"
        self.out = directory / "responses"
        words = ["--llm", llm_dir, "--data", data, "--output", self.out, "--batch_size", "2"]
        words += ["--device", "cpu", "--llm_engine", "vllm"]
        self.words = [sys.executable, "-m", "espnet_audiollm.bin.generate_responses", *words]

    def start(self, jobs=1):
        """The runner of so many jobs."""
        split = ["--job", "JOB", "--num_jobs", jobs, "--shard_size", 6] if jobs > 1 else []
        return self.call.start("--gpu", 1, f"JOB=1:{jobs}", "job.JOB.log", *self.words, *split)

    def wait_for(self, happened, what):
        self.call.cluster.wait_for(happened, what, PATIENCE)

    def end(self, runner, status=0):
        _, errors = runner.communicate(timeout=PATIENCE)
        assert runner.returncode == status, errors + self.call.text("job.1.log")[-3000:]

    def responses(self, jobs=1):
        if jobs > 1:
            words = self.words + ["--num_jobs", jobs, "--merge"]
            subprocess.run([str(word) for word in words], check=True)
        return (self.out / "response_ids").read_bytes()


@pytest.fixture
def stage(cluster, tmp_path, llm_dir, data):
    return Stage(cluster, tmp_path, llm_dir, data)


def alive(pid):
    return os.path.exists(f"/proc/{pid}")


def test_two_jobs_of_a_node_have_a_server_each(stage, vllm_processes, expected):
    made = vllm_processes(delay=0.2)
    stage.call.env["AUDIOLLM_VLLM_VENV"] = str(made.place)
    stage.end(stage.start(jobs=2))
    one, two = sorted(made.servers(), key=lambda each: each["SLURM_ARRAY_TASK_ID"])
    assert one["SLURMD_NODENAME"] == two["SLURMD_NODENAME"] == "n3"
    assert {one["CUDA_VISIBLE_DEVICES"], two["CUDA_VISIBLE_DEVICES"]} == {"0", "1"}
    assert one["OMP_NUM_THREADS"] == two["OMP_NUM_THREADS"] == "2"
    assert one["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert one["port"] != two["port"] and one["SLURM_JOB_ID"] != two["SLURM_JOB_ID"]
    assert not alive(one["pid"]) and not alive(two["pid"])
    assert stage.responses(jobs=2) == expected
    assert (stage.out / "log/vllm.1.log").exists() and (stage.out / "log/vllm.2.log").exists()


def stage_process(stage):
    """That of the job: the parent of the guard of its server."""
    (pid,) = (
        pid
        for pid in descendants(stage.call.cluster.daemons["n3"].pid)
        if command(pid)[:3] == [sys.executable, "-m", "espnet_audiollm.bin.generate_responses"]
    )
    return pid


def command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def at_the_time_limit(stage, job):
    stage.call.cluster.run(["scontrol", "update", f"JobId={job}", "TimeLimit=1"])


ENDS = {
    "scancel": lambda stage, job: stage.call.cluster.run(["scancel", job]),
    "kill -9": lambda stage, job: os.kill(stage_process(stage), signal.SIGKILL),
    "requeue": lambda stage, job: stage.call.cluster.run(["scontrol", "requeue", job]),
    "time limit": at_the_time_limit,
}
LIMITED = pytest.param("time limit", marks=pytest.mark.slow)  # of a minute, the shortest


@pytest.mark.parametrize("how", ["scancel", "kill -9", "requeue", LIMITED])
def test_a_server_ends_with_its_job_and_the_work_goes_on(stage, vllm_processes, expected, how):
    made = vllm_processes(delay=10.0 if how == "time limit" else 0.2)
    stage.call.env["AUDIOLLM_VLLM_VENV"] = str(made.place)
    runner = stage.start()
    stage.wait_for(lambda: made.answered() > 4, "some answers")
    (server,) = made.servers()
    ENDS[how](stage, server["SLURM_JOB_ID"])
    stage.wait_for(lambda: not alive(server["pid"]), "the end of the server")
    if how != "requeue":
        stage.end(runner, status=1)
        made.set(delay=0.2)
        runner = stage.start()
    stage.end(runner)
    assert stage.responses() == expected
    assert ("restart 1" in stage.call.text("job.1.log")) == (how == "requeue")
    first, second = made.servers()
    assert first["pid"] != second["pid"] and not alive(second["pid"])
    assert made.answered() < 2 * NUM  # what was answered before is not asked again


def test_the_recipes_jobs_ask_a_server_that_runs(cluster, root, tmp_path, llm_dir, data, expected):
    recipe = copy_recipe(root, tmp_path, "mini")
    (recipe / "slurm.yaml").write_text(CONFIG)
    (recipe / "dump/train").mkdir(parents=True)
    (recipe / "dump/train/text").write_bytes((data / "text").read_bytes())
    options = ["--cmd_backend", "slurm", "--slurm_config", "slurm.yaml", "--inference_nj", "2"]
    options += ["--llm", str(llm_dir), "--stage", "7", "--stop_stage", "7", "--behaviours", ""]
    options += ["--valid_set", "train", "--test_sets", "train", "--conversations", ""]
    with standing_in(llms.load(str(llm_dir)), key="a-secret") as server:
        options += ["--llm_engine", "vllm", "--vllm_url", server.url]
        env = {**cluster.env, "AUDIOLLM_VLLM_KEY": "a-secret", "OMP_NUM_THREADS": "1"}
        done = cluster.run([recipe / "run.sh", *options], check=False, env=env, timeout=PATIENCE)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert server.completions >= NUM
    store = recipe / "dump/train/responses"
    assert (store / "response_ids").read_bytes() == expected
    logs = "".join(path.read_text() for path in store.glob("log/*.log"))
    assert "# job: " in logs and "a-secret" not in logs


def of_vllm():
    """Processes of the real vLLM that this process, or the nodes, started."""
    python = os.fsencode(vllm_server.find_python()).decode()
    mine = descendants(os.getpid())
    return [pid for pid in mine if (command(pid) or [""])[0].startswith((python, "VLLM::"))]


@pytest.mark.slow
def test_the_real_vllm(stage, expected, monkeypatch):
    """Two of one node at a time: cancelled, then by the same command to their end."""
    try:
        stage.call.env["AUDIOLLM_VLLM_VENV"] = str(vllm_server.find_python().parents[1])
    except ValueError as error:
        pytest.skip(str(error))
    runner = stage.start(jobs=2)
    logs = [stage.out / f"log/vllm.{n}.log" for n in (1, 2)]
    stage.call.cluster.wait_for(
        lambda: (
            all(log.exists() and "startup complete" in log.read_text() for log in logs)
            or runner.poll() is not None
        ),
        "two servers",
        1500,
    )
    assert len(of_vllm()) >= 4, [log.read_text()[-2000:] for log in logs]
    stage.call.cluster.run(["scancel", "--user=root"])
    stage.wait_for(lambda: not of_vllm(), "the end of both servers")
    runner.communicate(timeout=PATIENCE)
    again = stage.start(jobs=2)
    again.communicate(timeout=1500)
    assert again.returncode == 0, stage.call.text("job.1.log")[-3000:]
    assert stage.responses(jobs=2) == expected
    assert not of_vllm()
