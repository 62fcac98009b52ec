"""utils/local.py: the contract of all job runners."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jobs import logs

RUNNER = Path(__file__).parents[2] / "utils/local.py"

NASTY = "id with spaces $(touch broken) `touch broken` ' \" ; & > x *"


def run(*words, cwd=None):
    words = [str(word) for word in words]
    return subprocess.run(
        [sys.executable, RUNNER, *words], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_log_records_the_job(tmp_path):
    log = tmp_path / "deep/er/one.log"
    done = run("--num_threads", 3, log, "sh", "-c", "echo out; echo $OMP_NUM_THREADS >&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    text = log.read_text()
    for line in ("# host: ", "# command: sh -c", "# start: 2", "out\n3\n", "# end: 2", "# exit: 0"):
        assert line in text


def test_job_number_goes_into_log_and_command(tmp_path):
    done = run("JOB=2:4", tmp_path / "x.JOB.log", "echo", "part-JOB", "JOB/JOB")
    assert done.returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.2.log", "x.3.log", "x.4.log"]
    assert "part-3 3/3\n" in (tmp_path / "x.3.log").read_text()


def test_only_a_word_by_itself_is_the_job_number(tmp_path):
    folder = tmp_path / "JOBS" / "JOB_7"
    done = run("JOB=1:2", folder / "job.JOB.log", "sh", "-c", "echo $0; test JOB = 1", folder)
    assert "job 2 of 2 failed" in done.stderr
    assert sorted(os.listdir(folder)) == [".job.JOB.log.jobs", "job.1.log", "job.2.log"]
    assert f"\n{folder}\n" in (folder / "job.2.log").read_text()


def test_a_directory_called_like_the_variable_is_refused(tmp_path):
    (tmp_path / "JOB").mkdir()
    for log, argument in (("JOB/JOB.log", "x"), ("JOB.log", tmp_path / "JOB/in.txt")):
        done = run("JOB=1:2", log, "echo", argument, cwd=tmp_path)
        assert done.returncode == 2
        assert "JOB is a directory" in done.stderr and "another name" in done.stderr
    assert run("JOB=1:2", "JOB.log", "echo", "split2/JOB/in.txt", cwd=tmp_path).returncode == 0


def test_no_shell_reads_the_command(tmp_path):
    out = tmp_path / "out"
    code = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
    done = run(tmp_path / "log", sys.executable, "-c", code, out, NASTY, cwd=tmp_path)
    assert done.returncode == 0
    assert out.read_text() == NASTY
    assert not (tmp_path / "broken").exists()


def test_an_outer_trainings_place_reaches_no_job(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("MASTER_PORT", "29500")
    run(tmp_path / "log", "sh", "-c", "echo ${WORLD_SIZE-no}${MASTER_PORT-ne}")
    assert "\nnone\n" in (tmp_path / "log").read_text()


def test_failed_member_shows_the_end_of_its_own_log(tmp_path):
    script = 'if [ JOB = 3 ]; then seq 50; echo "train: error: no such LLM" >&2; exit 7; fi'
    done = run("JOB=1:4", tmp_path / "train.JOB.log", "sh", "-c", script)
    assert done.returncode == 1
    assert "train: error: no such LLM" in done.stderr
    assert "job 3 of 4 failed with exit status 7" in done.stderr
    assert str(tmp_path / "train.3.log") in done.stderr
    assert "\n50\n" in done.stderr and "\n20\n" not in done.stderr  # The end only.
    assert "# exit: 7" in (tmp_path / "train.3.log").read_text()
    assert "# exit: 0" in (tmp_path / "train.4.log").read_text()  # The others ran.


def test_several_failures_are_counted(tmp_path):
    done = run("JOB=1:3", tmp_path / "JOB.log", "sh", "-c", "test JOB = 2")
    assert "2 of 3 jobs failed (also 3)" in done.stderr


def test_log_of_a_run_that_goes_on_is_kept(tmp_path):
    assert run(tmp_path / "log", "sh", "-c", "echo first epoch; exit 1").returncode == 1
    done = run(tmp_path / "log", "sh", "-c", "echo second epoch; exit 1")
    assert done.stderr.startswith("second epoch\n") and "first" not in done.stderr
    assert "first epoch\n" in (tmp_path / "log").read_text()


def test_command_that_is_not_there(tmp_path):
    done = run(tmp_path / "log", "no-such-command")
    assert done.returncode == 1
    assert done.stderr.startswith("no-such-command: No such file or directory\n")


def test_max_jobs_run(tmp_path):
    script = f"mkdir {tmp_path}/busy || exit 1; sleep 0.3; rmdir {tmp_path}/busy"
    command = (tmp_path / "JOB.log", "sh", "-c", script)
    assert run("--max_jobs_run", 1, "JOB=1:3", *command).returncode == 0
    assert run("--max_jobs_run", 3, "JOB=1:3", *command).returncode == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gpus", "1", "log", "true"], "unknown option --gpus"),
        (["--num_threads", "two", "log", "true"], "--num_threads takes a whole number, not 'two'"),
        (["JOB=1:2", "one.log", "true"], "2 jobs would write the one log one.log"),
        (["JOB=3:2", "JOB.log", "true"], "no job at all"),
        (["log"], "a log and a command are needed"),
    ],
)
def test_mistakes_are_refused(tmp_path, words, message):
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert not any(tmp_path.iterdir())


def test_asking_for_more_gpus_than_there_are(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    done = run("--gpu", 2, tmp_path / "log", "true")
    assert done.returncode == 2
    assert "asks for 2 GPU(s) and this machine shows 1" in done.stderr


def test_each_job_gets_its_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    script = 'echo "have $CUDA_VISIBLE_DEVICES"; sleep 0.3'
    assert run("--gpu", 2, "JOB=1:2", tmp_path / "JOB.log", "sh", "-c", script).returncode == 0
    assert "have 4,5\n" in (tmp_path / "1.log").read_text()
    if len(os.sched_getaffinity(0)) > 1:
        assert "have 6,7\n" in (tmp_path / "2.log").read_text()


def test_progress_reaches_the_screen(tmp_path):
    script = 'echo "chatter 1/2"; echo "responses: 8/30 utt (2.0 utt/s)" >&2; sleep 0.3'
    done = run(tmp_path / "log", "sh", "-c", script)
    assert done.stderr == "responses: 8/30 utt (2.0 utt/s)\n"


def test_epoch_summary_is_shortened(tmp_path):
    line = "[vm] 2026-11-21 01:02:03,4 (trainer:362) INFO: 3epoch results: [train] iter_time=0.1, "
    line += "loss=1.23456, loss_scale=1.0, optim0_lr0=0.001, time=1 minute, "
    line += "[valid] loss=2.5, wer=12.3, total=5"
    done = run(tmp_path / "log", "sh", "-c", f"echo '{line}'; sleep 0.3")
    assert done.stderr == "3epoch results: [train] loss 1.235 [valid] loss 2.5 wer 12.3\n"


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def wait_for(what, seconds=10):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_the_jobs_and_what_they_started(tmp_path, number):
    script = f"sleep 60 & echo $! > {tmp_path}/pid.JOB.new; mv {tmp_path}/pid.JOB.new \
        {tmp_path}/pid.JOB; wait"
    command = [sys.executable, RUNNER, "--max_jobs_run", "2", "JOB=1:3", tmp_path / "JOB.log"]
    process = subprocess.Popen([*command, "sh", "-c", script], stderr=subprocess.PIPE, text=True)
    started = [tmp_path / "pid.1", tmp_path / "pid.2"]
    wait_for(lambda: all(path.exists() for path in started))
    process.send_signal(number)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "interrupted" in stderr
    for path in started:
        wait_for(lambda path=path: gone(int(path.read_text())))
    assert not (tmp_path / "3.log").exists()


def test_a_trainings_pace_is_repeated(tmp_path):
    pace = "training: 1/14 epoch (22.3 s/epoch, 22 s so far, 290 s left)"
    screen = logs.Screen(io.StringIO())
    screen.last = float("-inf")
    screen.show(pace)
    screen.last = float("-inf")
    screen.show("2epoch:train:1-50batch: loss 0.5")
    lines = screen.out.getvalue().splitlines()
    assert lines == [pace, f"2epoch:train:1-50batch: loss 0.5 | {pace}"]


def test_failed_members_only_run_again(tmp_path):
    script = f"test -e {tmp_path}/mended || test JOB != 2"
    work = ("JOB=1:3", tmp_path / "JOB.log", "sh", "-c", script)
    assert run(*work).returncode == 1
    (tmp_path / "mended").touch()
    done = run(*work)
    assert done.returncode == 0
    assert "2 of 3 jobs are done already; now job 2" in done.stderr
    assert starts(tmp_path) == [1, 2, 1]
    assert run(*work).returncode == 0  # All were complete: everything runs.
    assert starts(tmp_path) == [2, 3, 2]
    assert sorted(os.listdir(tmp_path)) == ["1.log", "2.log", "3.log", "mended"]


def starts(folder: Path) -> list[int]:
    return [(folder / f"{number}.log").read_text().count("# start: ") for number in (1, 2, 3)]


@pytest.mark.parametrize("change", ["key", "command"])
def test_another_work_runs_everything(tmp_path, monkeypatch, change):
    words = ["JOB=1:3", tmp_path / "JOB.log", "sh", "-c"]
    run(*words, "test JOB != 2")
    if change == "key":
        monkeypatch.setenv("JOB_KEY", "other inputs")
    run(*words, "test JOB != 2" if change == "key" else "test JOB != 3")
    assert starts(tmp_path) == [2, 2, 2]


def test_several_nodes_are_for_clusters(tmp_path):
    done = run("--num_nodes", 2, "--num_procs", 1, tmp_path / "log", "true")
    assert done.returncode == 2
    assert "2 nodes, and this is one machine: --cmd_backend slurm has more" in done.stderr
    assert "needs --num_procs" in run("--num_nodes", 2, tmp_path / "log", "true").stderr


def test_a_training_is_started_by_the_launcher(tmp_path):
    script = 'echo "rank ${RANK:-0}, $AUDIOLLM_RUN_DIR"'
    done = run("--num_procs", 1, tmp_path / "log", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert "\nrank 0, /" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("words, starts", [(("--num_procs", 1), 2), ((), 1)])
def test_a_training_that_saved_is_started_again(tmp_path, words, starts):
    script = f"test -e {tmp_path}/saved || {{ touch {tmp_path}/saved; exit 75; }}"
    done = run(*words, tmp_path / "log", "sh", "-c", script)
    assert done.returncode == 2 - starts
    assert ("started again" in done.stderr) == (starts == 2)
    assert (tmp_path / "log").read_text().count("# start: ") == starts


def begin(tmp_path, shell_first: bool) -> tuple[subprocess.Popen, int]:
    """A runner whose job started something that is deaf to SIGTERM; its process id."""
    script = f"trap '' TERM; sleep 60 & echo $! >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid"
    script += "; wait"
    command = [sys.executable, RUNNER, tmp_path / "log", "sh", "-c", script]
    if shell_first:
        command = ["sh", "-c", '"$@"; true', "sh", *command]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for((tmp_path / "pid").exists)
    return process, int((tmp_path / "pid").read_text())


@pytest.mark.parametrize("shell_first", [False, True])
def test_nothing_outlives_a_killed_runner_or_its_killed_parent(tmp_path, shell_first):
    process, pid = begin(tmp_path, shell_first)
    process.kill()
    process.wait()
    wait_for(lambda: gone(pid), seconds=20)
    wait_for(lambda: "# exit: " in (tmp_path / "log").read_text())


def test_remains_of_a_killed_run_are_waited_for(tmp_path):
    """Who holds the log of an earlier run, and be it one of its descendants, still writes."""
    script = f"echo begun; mkdir {tmp_path}/busy || exit 1; sleep 2; rmdir {tmp_path}/busy"
    command = [sys.executable, RUNNER, tmp_path / "log", "sh", "-c", f"trap '' TERM; {script}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for((tmp_path / "busy").exists)
    process.kill()
    process.wait()
    done = run(*command[2:])
    assert done.returncode == 0
    assert "an earlier run still writes" in done.stderr


def test_nohup_is_respected(tmp_path):
    command = ["nohup", sys.executable, RUNNER, tmp_path / "log", "sh", "-c", "echo on; sleep 2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait_for(lambda: (tmp_path / "log").exists() and "on\n" in (tmp_path / "log").read_text())
    process.send_signal(signal.SIGHUP)
    assert process.wait(10) == 0
