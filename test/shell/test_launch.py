"""utils/launch.py: what becomes of a training whose processes fail, hang or are killed."""

import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import launch
import pytest
from jobs import nodes

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "utils/launch.py"
TRAINING = Path(__file__).parent / "light_training.py"
FOREVER = 100_000  # steps
MARK = {"LAUNCHED_BY_TEST": str(os.getpid())}  # in the environment of all that is started here


both = pytest.mark.parametrize("procs", [1, 2])


def start(procs, *command, options=(), **environment):
    """`launch.py`, with output on one pipe; and a mark by which all its processes are known."""
    words = [sys.executable, LAUNCH, "--num_procs", procs, *options, "--", *command]
    return subprocess.Popen(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment, **MARK},
        preexec_fn=mind_interrupts,
    )


def mind_interrupts() -> None:
    """A shell that runs the tests in the background has them ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def train(procs, *behaviour, limit=60, **options):
    """Exit status, output and seconds of a training that is over; nothing of it may be left."""
    begin = time.monotonic()
    with start(procs, sys.executable, TRAINING, *behaviour, **options) as process:
        output, _ = process.communicate(timeout=limit)
    assert left_over() == []
    return process.returncode, output, time.monotonic() - begin


def left_over():
    """Trainings, and what they started, that came of a launch.py of this process, and still run."""
    found, mark = [], "=".join(*MARK.items()).encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                ours = mark in (entry / "environ").read_bytes().split(b"\0")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            training = str(TRAINING).encode() in words or words[:2] == [b"sleep", b"1000"]
            if ours and training and state != "Z":
                found.append(int(entry.name))
    return found


def wait_until_gone(limit=5.0):
    deadline = time.monotonic() + limit
    while left_over() and time.monotonic() < deadline:
        time.sleep(0.05)
    return left_over() == []


def wait_for(process, line):
    for read in process.stdout:
        if line in read:
            return
    raise AssertionError(f"no line '{line}'")


@both
def test_training_that_ends_well(procs):
    status, output, _ = train(procs, "well", "all", 3)
    assert status == 0
    assert "launch.py" not in output
    assert [f"rank {rank} step 3\n" in output for rank in (0, 1)] == [True, procs == 2]


def test_processes_know_their_places_and_share_the_threads(tmp_path):
    names = "RANK LOCAL_RANK WORLD_SIZE MASTER_ADDR OMP_NUM_THREADS"
    code = f"import os, sys; names = '{names}'.split()\n"
    code += "words = [os.environ[name] for name in names] + sys.argv[1:]\n"
    code += "os.write(1, (' '.join(words) + chr(10)).encode())"
    odd = "a  b $(touch broken) ' --num_procs"
    process = start(2, sys.executable, "-c", code, odd, OMP_NUM_THREADS="7")
    output, _ = process.communicate(timeout=60)
    assert sorted(output.splitlines()) == [f"{r} {r} 2 127.0.0.1 3 {odd}" for r in (0, 1)]


LOST_STORE = """
import datetime, subprocess, sys
import launch
launch.import_silent_torchrun()
import torch.distributed as dist
port = sys.argv[1]
words = f"'127.0.0.1', {port}, 2, True, datetime.timedelta(seconds=20)"
server = f"import datetime, torch.distributed as d; s = d.TCPStore({words}); print(flush=True)"
process = subprocess.Popen([sys.executable, "-c", server], stdout=subprocess.PIPE)
store = dist.TCPStore("127.0.0.1", int(port), 2, False, datetime.timedelta(seconds=20))
process.stdout.readline()
try:
    store.wait(["never"])
except dist.DistNetworkError:
    print("lost")
"""


def test_a_store_that_ends_first_prints_no_stack():
    command = [sys.executable, "-c", LOST_STORE, str(free_port())]
    environment = {**os.environ, "PYTHONPATH": str(LAUNCH.parent)}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert (ended.stdout, ended.stderr) == ("lost\n", "")


@pytest.mark.parametrize("level", ["", "INFO"])
def test_a_process_has_the_log_level_of_the_user(level):
    words = "'level=' + os.environ.get('TORCH_CPP_LOG_LEVEL', '') + chr(10)"
    code = f"import os; os.write(1, ({words}).encode())"  # one write: two processes share the pipe
    given = {"TORCH_CPP_LOG_LEVEL": level} if level else {}
    with start(2, sys.executable, "-c", code, **given) as process:
        output, _ = process.communicate(timeout=60)
    assert output.splitlines().count(f"level={level}") == 2


def free_port() -> int:
    """A TCP port of this machine that nobody uses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_the_place_of_an_outer_training_is_not_a_trainings_own():
    outer = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "n7"}
    outer |= {"MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "9", "PET_NNODES": "4"}
    names = "|".join(outer)
    process = start(1, "sh", "-c", f"env | grep -E '^({names})='; echo none", **outer)
    assert process.communicate(timeout=60)[0] == "none\n"
    process = start(2, "sh", "-c", "echo $RANK $WORLD_SIZE $MASTER_ADDR", **outer)
    assert sorted(process.communicate(timeout=60)[0].splitlines()) == [
        "0 2 127.0.0.1",
        "1 2 127.0.0.1",
    ]


@pytest.mark.parametrize(
    "procs, status, then", [(1, 0, 0), (1, 2, 2), (1, 3, 1), (1, 75, 75), (2, 76, 76), (2, 3, 1)]
)
def test_exit_status_of_a_command_that_knows_no_supervision(procs, status, then):
    process = start(procs, "sh", "-c", f"exit {status}")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == then
    assert (f"exit status {status}" in output) == (status != 0)


def test_command_that_is_not_there():
    output, _ = (process := start(1, "no-such-command")).communicate(timeout=60)
    assert process.returncode == 1 and "no-such-command: No such file" in output


@both
def test_what_the_user_can_mend_is_one_sentence_once(procs):
    status, output, _ = train(procs, "user", "all")
    assert status == 2
    assert output.count("error: data/wav.scp has no such line") == 1
    assert "Traceback" not in output and "launch.py" not in output


def test_error_of_one_rank_ends_the_others():
    status, output, seconds = train(2, "bug", 1, FOREVER)
    assert status == 1 and seconds < 60
    assert "AssertionError: 5 + 3 == 7\nThat ended rank 1 of 2 on " in output
    assert "in misbehave" in output  # the traceback
    assert "rank 0 of 2" not in output  # it was ended, and is not to blame


@pytest.mark.parametrize("behaviour, status", [("kill", 76), ("saved-kill", 75)])
@both
def test_killed_rank(procs, behaviour, status):
    found, output, seconds = train(procs, behaviour, procs - 1, FOREVER)
    assert found == status and seconds < 60
    assert f"rank {procs - 1} of {procs} on " in output and "(train, step 2)" in output
    assert "killed by signal 9 (SIGKILL): out of memory" in output
    assert "what was saved is complete" in output or status == 76


def test_rank_that_lost_its_peer_is_not_the_cause():
    """Rank 0 says that the connection is closed, because rank 1 was killed."""
    status, output, _ = train(2, "lost-peer", 1, FOREVER)
    assert status == 76
    first, second = [line for line in output.splitlines() if "rank" in line and "launch.py" in line]
    assert "launch.py: rank 0 of 2" in first and "Connection closed by peer" in first
    assert "launch.py: rank 1 of 2" in second and "killed by signal 9" in second


@both
def test_stopped_process_is_a_hang(procs):
    status, output, seconds = train(procs, "freeze", 0, FOREVER, options=("--stall_limit", 2))
    assert status == 76 and seconds < 60
    assert f"rank 0 of {procs} on " in output and "it is stopped (SIGSTOP" in output
    assert "step 2) hung: nothing for 2 s" in output


@pytest.mark.parametrize("procs, status", [(1, 0), (2, 76)])
def test_a_single_process_that_works_is_not_hung(procs, status):
    """Of two, the other one waits, and the batch may be an endless loop."""
    found, output, _ = train(procs, "work", 0, 5, options=("--stall_limit", 3))
    assert found == status and ("hung" in output) == (status == 76)


def test_a_single_process_has_minutes():
    place = nodes.Place(0, 1, 1, "127.0.0.1", 1)
    assert launch.stall_limit(place, None) == 600
    assert launch.stall_limit(dataclasses.replace(place, procs=2), None) == 45
    assert launch.stall_limit(place, 7.0) == 7


def test_hang_shows_where():
    status, output, _ = train(1, "lock", 0, FOREVER, options=("--stall_limit", 2))
    assert status == 76
    assert "in hold_a_lock_forever" in output


def test_start_and_saving_may_take_longer():
    options = ("--stall_limit", 1.5, "--slow_limit", 60)
    assert train(2, "save-slowly", "all", 10, options=options)[0] == 0
    options = ("--stall_limit", 1.5, "--slow_limit", 3)
    status, output, _ = train(1, "save-slowly", "all", 10, options=options)
    assert status == 76 and "(save, step 3) hung: nothing for 3 s" in output


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
@both
def test_signal_asks_all_ranks_to_save_and_stop(procs, number):
    with start(procs, sys.executable, TRAINING, "well", "all", FOREVER) as process:
        for rank in range(procs):
            wait_for(process, f"rank {rank} step ")
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 75
    assert f"{number.name}: the processes are asked" in output


@both
def test_signal_before_anything_has_begun_ends_it(procs):
    with start(procs, "sh", "-c", "echo begun; exec sleep 1000") as process:
        wait_for(process, "begun")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 76
    assert left_over() == []


def test_stop_without_anything_saved_is_no_progress():
    with start(1, sys.executable, TRAINING, "unsaved", 0, FOREVER) as process:
        wait_for(process, "rank 0 step ")
        process.send_signal(signal.SIGUSR1)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 76 and "nothing was saved since the start" in output


@both
def test_interrupt_ends_everything(procs):
    with start(procs, sys.executable, TRAINING, "offspring", "all", FOREVER) as process:
        wait_for(process, "step 1")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in output
    assert left_over() == []


@both
def test_children_of_a_worker_end_with_it(procs):
    """They are in a session of their own, and their parent is gone when they are looked for."""
    status, _, _ = train(procs, "offspring", "all", 3)
    assert status == 0


@both
def test_nothing_outlives_a_killed_launcher(procs):
    with start(procs, sys.executable, TRAINING, "well", "all", FOREVER) as process:
        for rank in range(procs):
            wait_for(process, f"rank {rank} step ")
        assert len(left_over()) > procs
        process.kill()
        process.wait()
        assert wait_until_gone()


def test_one_verdict_of_several_nodes(tmp_path):
    table = [
        ({}, 0, 0),
        ({}, 137, 137),
        ({0: 0, 1: 0}, 0, 0),
        ({0: 75, 1: 76}, 76, 75),
        ({1: 75}, 137, 75),  # the other node was killed
        ({0: 76, 1: 2}, 76, 2),
        ({0: 1, 1: 75}, 75, 1),
        ({0: 0, 1: 76}, 76, 76),
    ]
    for i, (left, answered, expected) in enumerate(table):
        directory = tmp_path / str(i)
        directory.mkdir()
        for node, status in left.items():
            (directory / f"node{node}").write_text(str(status))
        assert launch.verdict(directory, answered) == expected, table[i]


def test_node_that_is_told_of_another_ones_end_does_not_wait_for_a_checkpoint(tmp_path):
    """With NCCL a rank waits for its lost peer for ever; here it waits for a lock."""
    command = (sys.executable, TRAINING, "lock", "all", FOREVER)
    with start(1, *command, AUDIOLLM_VERDICTS=str(tmp_path)) as process:
        wait_for(process, "rank 0 step 2")
        (tmp_path / "node1").write_text("76")
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert time.monotonic() - begin < 30  # and not --stall_limit
    assert process.returncode == 76


def test_what_killed_launchers_left_behind_goes(tmp_path):
    for name, age in (("audiollm_run_old", 90_000), ("audiollm_run_new", 600)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rank0").touch()
        for path in (tmp_path / name / "rank0", tmp_path / name):
            os.utime(path, times=(time.time() - age,) * 2)
    start(1, "true", TMPDIR=str(tmp_path)).communicate(timeout=60)
    assert os.listdir(tmp_path) == ["audiollm_run_new"]


def test_verdict_and_sentence_are_left_once_for_all_nodes(tmp_path):
    for node in range(2):
        process = start(1, sys.executable, TRAINING, "user", 0, AUDIOLLM_VERDICTS=str(tmp_path))
        output, _ = process.communicate(timeout=60)
        assert ("no such line" in output) == (node == 0)
    assert (tmp_path / "node0").read_text() == "2"


@pytest.mark.skipif(not shutil.which("scontrol"), reason="Slurm is not installed")
def test_host_lists_of_slurm(tmp_path, monkeypatch):
    config = tmp_path / "slurm.conf"
    config.write_text("ClusterName=test\nSlurmctldHost=localhost\n")
    monkeypatch.setenv("SLURM_CONF", str(config))
    table = {
        "n1": "n1",
        "gpu-node[01-02]": "gpu-node01 gpu-node02",
        "gpu-a[9-10,12],login": "gpu-a9 gpu-a10 gpu-a12 login",
        "r[1-2]n[3-4]": "r1n3 r1n4 r2n3 r2n4",
    }
    for listed, expected in table.items():
        assert nodes.host_names(listed) == expected.split()
    with pytest.raises(nodes.UserError, match="scontrol --oneline show nothing: "):
        nodes.ask_slurm("--oneline", "show", "nothing")


def test_several_nodes_need_slurm(monkeypatch):
    for name in ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"):
        monkeypatch.delenv(name, raising=False)
    done = subprocess.run(
        [sys.executable, LAUNCH, "--num_nodes", "2", "--", "true"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("launch.py: --num_nodes 2 needs Slurm: let srun start it")
