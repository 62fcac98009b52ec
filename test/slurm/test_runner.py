"""utils/slurm.py on a real Slurm: the contract of all job runners, and what clusters do to jobs."""

import ctypes
import functools
import glob
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from jobs import slurm_config, slurm_queue
from slurm_caller import CONFIG, RUNNER, Caller

NASTY = "id with spaces $(touch broken) `touch broken` ' \" ; & > x * % \\"
POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.fixture
def call(cluster, tmp_path):
    return Caller(cluster, tmp_path)


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def test_log_records_the_job(call):
    done = call.run("--num_threads", 3, "deep/er/one.log", *sh("echo out; echo $OMP_NUM_THREADS"))
    assert done.returncode == 0, done.stderr
    text = call.text("deep/er/one.log")
    records = ("# host: ", "# job: ", "# command: sh -c", "# start: 2", "out\n3\n", "# exit: 0")
    for line in records:
        assert line in text
    assert re.search(r"^# job: \d+ on n[123]$", text, re.MULTILINE)
    assert os.listdir(call.dir / "deep/er") == ["one.log"]


def test_names_with_spaces_arrive(call):
    code = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
    folder = call.dir / "a 'b' $c %j"
    done = call.run(folder / "JOB 1.log", sys.executable, "-c", code, call.dir / "out", NASTY)
    assert done.returncode == 0, done.stderr
    assert call.text("out") == NASTY
    assert not (call.dir / "broken").exists()
    assert os.listdir(folder) == ["JOB 1.log"]


def test_environment_reaches_the_job(call):
    env = {
        "HF_HOME": "/models with spaces",
        "HF_TOKEN": "hf_hidden",
        "https_proxy": "http://me:hidden@proxy:3128",
    }
    script = 'echo "home $HF_HOME, $HF_TOKEN, $https_proxy"'
    done = call.run("log", *sh(script), SLURM_MEM_PER_CPU="999999999", **env)
    assert done.returncode == 0, done.stderr
    text = call.text("log")
    assert "home /models with spaces, hf_hidden, http://me:hidden@proxy:3128\n" in text
    record = next(line for line in text.splitlines() if line.startswith("# environment: "))
    assert "HF_HOME=/models with spaces" in record and "//***@proxy:3128" in record
    assert "hidden" not in record


def test_the_users_own_settings_of_slurm_are_not_read(call):
    """SQUEUE_STATES and SQUEUE_USERS hide the job, the others are refused by the controller."""
    done = call.run(
        "log", *sh("sleep 3; env"),
        SQUEUE_STATES="CANCELLED", SQUEUE_USERS="nobody", SQUEUE_FORMAT="%i", SQUEUE_SORT="x",
        SBATCH_PARTITION="none", SBATCH_ACCOUNT="none", SRUN_OUTPUT="/none", SLURM_TIMELIMIT="x",
        USER="nobody", LOGNAME="nobody",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not re.search("^(SQUEUE|SBATCH|SRUN_OUTPUT)", call.text("log"), re.MULTILINE)


def test_failed_members_only_run_again(call):
    script = 'echo "run JOB"; test -e mended || { seq 50; echo "no such LLM JOB"; exit JOB; }'
    script = f"case JOB in 3|5) {script};; *) echo run JOB;; esac"
    work = ("JOB=1:6", "logs/JOB.log", *sh(script))
    done = call.run(*work)
    assert done.returncode == 1
    assert "no such LLM 3" in done.stderr and "no such LLM 5" not in done.stderr
    assert "job 3 of 6 failed with exit status 3" in done.stderr and "logs/3.log" in done.stderr
    assert "2 of 6 jobs failed (also 5)" in done.stderr
    (call.dir / "mended").touch()
    done = call.run(*work)
    assert done.returncode == 0, done.stderr
    assert "4 of 6 jobs are done already; now job 3, 5" in done.stderr
    runs = [call.text(f"logs/{number}.log").count(f"run {number}\n") for number in range(1, 7)]
    assert runs == [1, 1, 2, 1, 2, 1]
    assert call.run(*work).returncode == 0  # All were complete: everything runs.
    assert call.text("logs/1.log").count("run 1\n") == 2


def test_changed_inputs_run_everything_again(call):
    work = ("JOB=1:2", "JOB.log", *sh("echo run; test JOB = 1"))
    call.run(*work, JOB_KEY="a")
    call.run(*work, JOB_KEY="b")
    assert call.text("1.log").count("\nrun\n") == 2


def test_max_jobs_run(call):
    script = "mkdir busy || exit 1; sleep 1; rmdir busy"
    done = call.run("--max_jobs_run", 1, "JOB=1:3", "JOB.log", *sh(script))
    assert done.returncode == 0, done.stderr


def test_gpus_are_asked_for(call):
    done = call.run("--gpu", 2, "log", *sh('echo "have $CUDA_VISIBLE_DEVICES"'))
    assert done.returncode == 0, done.stderr
    assert "have 0,1\n" in call.text("log")


@pytest.mark.parametrize(
    ("config", "words", "sentence", "hint"),
    [
        ("cpu: {partition: nope}", [], "Invalid partition name specified", "partition (now nope)"),
        ("cpu: {time: '9:00:00', partition: small}", [], "time limit", "time (now 9:00:00)"),
        ("cpu: {mem: 900G}", [], "Memory specification", "mem (now 900G)"),
        ("cpu: {constraint: a100}", [], "Invalid feature", "constraint (now a100)"),
        ("cpu: {extra: [--nonsense=3]}", [], "unrecognized option", "extra (now"),
        ("gpu: {gpu: '--gres=tpu:{n}'}", ["--gpu", 1], "(gres)", "gpu (now --gres=tpu:{n})"),
        ("", ["--gpu", 5], "not available", "--ngpu"),
        ("", ["--num_threads", 99], "More processors", "--num_threads is more than"),
        ("train: {partition: small}", ["--num_nodes", 2, "--num_procs", 1], "ode", "--num_nodes"),
        ("", ["JOB=1:2000"], "Invalid job array", "smaller --nj"),
    ],
)
def test_refusals_say_what_to_change(call, config, words, sentence, hint):
    call.configure(config)
    done = call.run(*words, "x.JOB.log", "true")
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr and hint in done.stderr
    assert "slurm.yaml" in done.stderr or "--nj" in done.stderr
    assert os.listdir(call.dir) == ["slurm.yaml"]


@pytest.mark.parametrize(
    ("sentence", "key"),
    [
        (POLICY, "qos"),
        ("Invalid qos specification", "qos"),
        ("Invalid account or account/partition combination specified", "account"),
        ("User's group not permitted to use this partition", "partition"),
        ("Requested partition configuration not available now", "time"),
        ("Node count specification invalid", "partition"),
        ("Invalid GRES specification (with and without type identification)", "gpu"),
    ],
)
def test_refusals_that_need_a_larger_cluster(sentence, key):
    """Sentences of Slurm's own library: a QOS needs its data base, which the tests do not run."""
    assert sentence in sentences()
    config = slurm_config.Config("conf/slurm.yaml", "gpu", slurm_config.Kind(qos="long"))
    assert f"see {key} (now " in slurm_config.advice(sentence, config)
    assert not slurm_queue.AWAY.search(sentence)


@functools.cache
def sentences() -> set[str]:
    found = glob.glob("/usr/lib/*/slurm-wlm/libslurmfull.so")
    if not found:
        pytest.skip("Slurm is not installed")
    library = ctypes.CDLL(found[0])
    library.slurm_strerror.restype = ctypes.c_char_p
    return {library.slurm_strerror(number).decode() for number in range(1000, 10_000)}


def test_a_controller_that_is_away_is_no_refusal():
    away = [text for text in sentences() if text.startswith(("Unable to contact slurm", "Socket"))]
    assert len(away) > 3
    assert all(slurm_queue.AWAY.search(text) for text in away)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("gpus: {}", "unknown key 'gpus'; there are controller_wait, cpu, default"),
        ("train: {partion: x}", "unknown key 'partion' in 'train'; there are account, constraint"),
        ("cpu: {cpus: many}", "'cpus' is a number"),
        ("train: {signal: .nan}", "'signal' is a number, 0 or more, not nan"),
        ("cpu: {time: 1:00:00}", "put quotes around 'time' in 'cpu'"),
        ("gpu: {gpu: '--gres=gpu'}", "needs {n}"),
        ("cpu: [", "is no YAML"),
    ],
)
def test_mistakes_in_the_configuration(tmp_path, config, message):
    (tmp_path / "c.yaml").write_text(config)
    words = [sys.executable, RUNNER, "--slurm_config", "c.yaml", "log", "true"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr and "c.yaml" in done.stderr


def test_without_slurm(tmp_path):
    done = subprocess.run(
        [sys.executable, RUNNER, "log", "true"],
        env={"PATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no squeue here: is this a login node of a Slurm cluster?" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_cancels(call, number):
    runner = call.start("--max_jobs_run", 2, "JOB=1:4", "JOB.log", *sh("echo on; sleep 300"))
    call.wait_for(lambda: "on\n" in call.text("1.log") and "on\n" in call.text("2.log"))
    runner.send_signal(number)
    _, stderr = runner.communicate(timeout=60)
    assert runner.returncode == 130 and "its jobs were cancelled" in stderr
    running = [line for line in call.cluster.jobs() if " CG " not in line]
    assert not running
    assert not (call.dir / "3.log").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_a_lost_runners_jobs_are_taken_up(call, number):
    script = "echo begun JOB; while ! test -e go; do sleep 0.1; done; echo ended"
    work = ("JOB=1:2", "JOB.log", *sh(script))
    runner = call.start(*work)
    call.wait_for(lambda: all("begun" in call.text(f"{n}.log") for n in (1, 2)))
    runner.send_signal(number)
    _, stderr = runner.communicate(timeout=30)
    if number == signal.SIGHUP:
        assert "the jobs run on" in stderr and runner.returncode == 129
    again = call.start(*work)
    assert "of an earlier call goes on (2 of 2 jobs)" in again.stderr.readline()
    (call.dir / "go").touch()
    _, stderr = again.communicate(timeout=60)
    assert again.returncode == 0, stderr
    assert [call.text(f"{n}.log").count("begun") for n in (1, 2)] == [2, 2]  # With "# command".


def test_what_a_taken_up_job_made_is_kept(call):
    script = "echo begun; while ! test -e go; do sleep 0.1; done; mkdir made"
    anew = os.path.join(os.path.dirname(RUNNER), "anew.sh")
    work = ("one.log", anew, "made", *sh(script))
    (call.dir / "made/old").mkdir(parents=True)
    runner = call.start(*work)
    call.wait_for(lambda: "begun\n" in call.text("one.log"))
    assert not (call.dir / "made").exists()
    runner.send_signal(signal.SIGHUP)
    runner.communicate(timeout=30)
    (call.dir / "go").touch()
    call.wait_for(lambda: "# exit: 0" in call.text("one.log"))
    again = call.run(*work)
    assert again.returncode == 0, again.stderr
    assert (call.dir / "made").is_dir() and call.text("one.log").count("begun\n") == 1


def test_another_command_for_the_same_log_is_refused(call):
    runner = call.start("one.log", *sh("echo begun; sleep 300"))
    call.wait_for(lambda: "begun\n" in call.text("one.log"))
    runner.kill()
    runner.communicate()
    done = call.run("one.log", "true")
    assert done.returncode == 2
    assert re.search(r"job \d+, of another command, .* scancel \d+", done.stderr)


def test_controller_away_at_submission(call):
    call.cluster.stop_controller()
    runner = call.start("log", "echo", "hello")
    line = runner.stderr.readline()
    assert "controller is away, waiting for it" in line and "Unable to contact" in line
    call.cluster.start_controller()
    _, stderr = runner.communicate(timeout=120)
    assert runner.returncode == 0, stderr
    assert "hello\n" in call.text("log")


def test_controller_away_while_a_job_runs(call):
    runner = call.start("log", *sh("echo begun; while ! test -e go; do sleep 0.1; done; exit 3"))
    call.wait_for(lambda: "begun\n" in call.text("log"))
    call.cluster.stop_controller()
    (call.dir / "go").touch()
    call.wait_for(lambda: "# exit: 3" in call.text("log"))
    call.cluster.start_controller()
    _, stderr = runner.communicate(timeout=120)
    assert runner.returncode == 1
    assert "the command failed with exit status 3" in stderr


def test_controller_that_stays_away(call):
    call.configure("controller_wait: 1")
    call.cluster.stop_controller()
    done = call.run("log", "true")
    assert done.returncode == 2 and "has been away for 1 s" in done.stderr


def test_somebody_elses_cancel_is_named(call):
    runner = call.start("log", *sh("echo begun; sleep 300"))
    call.wait_for(lambda: "begun\n" in call.text("log"))
    call.cluster.run(["scancel", "--user=root"])
    _, stderr = runner.communicate(timeout=60)
    assert runner.returncode == 1
    assert "it was cancelled" in stderr
    assert re.search(r"^slurm: slurmstepd.* CANCELLED AT", stderr, re.MULTILINE)


def test_a_member_that_never_began_is_noticed(call):
    call.configure(CONFIG + "cpu: {extra: [--hold]}")
    runner = call.start("log", "true")
    assert "submitted (cpu)" in runner.stderr.readline()
    line = runner.stderr.readline()
    while "waits for what may never come" not in line:
        line = runner.stderr.readline()
    assert "JobHeldUser" in line
    call.cluster.run(["scancel", "--user=root"])
    _, stderr = runner.communicate(timeout=60)
    assert runner.returncode == 1
    assert "failed with exit status 1 (it was cancelled)" in stderr


def test_requeue_goes_on(call):
    work = ("log", *sh("echo begun; test -e mark && exit 0; touch mark; sleep 300"))
    runner = call.start(*work)
    call.wait_for(lambda: (call.dir / "mark").exists())
    job = call.cluster.run(["squeue", "-h", "-o", "%A"]).stdout.strip()
    call.cluster.run(["scontrol", "requeue", job])
    _, stderr = runner.communicate(timeout=120)
    assert runner.returncode == 0, stderr
    assert "restart 1" in call.text("log")


@pytest.mark.parametrize("training", [False, True])
def test_preempted_job_goes_on(call, training):
    work = sh("echo begun; test -e starts && exit 0; touch starts; sleep 300")
    if training:
        (call.dir / "saver.py").write_text(SAVER)
        work = [sys.executable, "saver.py", 0, 1]
    sizes = ["--num_threads", 4, "--num_procs", int(training)]
    runner = call.start(*sizes, "log", *work)
    call.wait_for(lambda: (call.dir / "starts").exists())
    urgent = ["sbatch", "-p", "urgent", "--nodes=3", "--cpus-per-task=4", "--output=/dev/null"]
    call.cluster.run([*urgent, "--wrap", "sleep 1"])
    _, stderr = runner.communicate(timeout=120)
    assert runner.returncode == 0, stderr
    assert "restart 1" in call.text("log")


def test_a_node_that_dies_under_an_array(call):
    script = "echo begun; while ! test -e go; do sleep 0.1; done; echo complete JOB >> out.JOB"
    runner = call.start("--num_threads", 2, "JOB=1:6", "JOB.log", *sh(script))
    call.wait_for(lambda: all("begun\n" in call.text(f"{n}.log") for n in range(1, 7)))
    call.cluster.kill_node("n2")
    (call.dir / "go").touch()
    _, stderr = runner.communicate(timeout=120)
    assert runner.returncode == 0, stderr
    assert [call.text(f"out.{n}") for n in range(1, 7)] == [f"complete {n}\n" for n in range(1, 7)]


SAVER = """\
import os, signal, sys, time
status = int(sys.argv[1])
starts = len(open("starts").readlines()) if os.path.exists("starts") else 0
open("starts", "a").write("start\\n")
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda number, frame: sys.exit(75))
if starts >= int(sys.argv[2]):
    sys.exit(0)
if status:
    sys.exit(status)
time.sleep(300)
"""


@pytest.mark.parametrize(
    ("status", "needed", "ends", "starts"), [(75, 4, 0, 5), (76, 9, 1, 4), (1, 9, 1, 1)]
)
def test_exit_status_of_a_training(call, status, needed, ends, starts):
    (call.dir / "saver.py").write_text(SAVER)
    done = call.run("--num_procs", 1, "log", sys.executable, "saver.py", status, needed)
    assert done.returncode == ends, done.stderr
    assert len(call.text("starts").splitlines()) == starts


def test_a_training_that_is_stopped_before_it_saves_is_not_requeued_for_ever(call):
    """As by a time limit that is shorter than its start: $PPID is the launcher."""
    script = "echo start >> starts; kill -USR1 $PPID; exec sleep 100"
    done = call.run("--num_procs", 1, "log", *sh(script))
    assert done.returncode == 1
    assert len(call.text("starts").splitlines()) == 4
    assert "failed 4 times in a row before anything was saved" in call.text("log") + done.stderr


def test_a_cancelled_training_is_not_requeued(call):
    (call.dir / "saver.py").write_text(SAVER)
    runner = call.start("--num_procs", 1, "log", sys.executable, "saver.py", 0, 9)
    call.wait_for(lambda: call.text("starts"))
    time.sleep(1)
    runner.send_signal(signal.SIGINT)
    runner.communicate(timeout=60)
    assert runner.returncode == 130
    call.wait_for(lambda: not call.cluster.jobs(), "an empty queue")
    assert call.text("starts") == "start\n"


def test_two_nodes(call):
    script = 'echo "I am $RANK of $WORLD_SIZE on $SLURMD_NODENAME, $OMP_NUM_THREADS threads"'
    sizes = ["--num_nodes", 2, "--num_procs", 2, "--num_threads", 4]
    done = call.run(*sizes, "log", *sh(script))
    assert done.returncode == 0, done.stderr + call.text("log")
    found = re.findall(r"^I am (\d) of 4 on n\d, 2 threads$", call.text("log"), re.MULTILINE)
    assert sorted(found) == ["0", "1", "2", "3"]


def test_signal_before_the_time_limit_saves_and_requeues(call):
    (call.dir / "saver.py").write_text(SAVER)
    runner = call.start("--num_procs", 1, "log", sys.executable, "saver.py", 0, 1)
    call.wait_for(lambda: call.text("starts"))
    time.sleep(2)
    shown = call.cluster.run(["squeue", "-h", "-o", "%A"]).stdout.strip()
    call.cluster.run(["scancel", "--batch", "--signal=USR1", shown])
    _, stderr = runner.communicate(timeout=120)
    assert runner.returncode == 0, stderr
    assert call.text("starts") == "start\nstart\n"
