"""Run a main that splits its work, once in peace and then killed again and again.

    killed_runs.py OUTPUT JOBS SEED MOMENT,MOMENT,... MODULE OPTION...

In peace: one process, into OUTPUT/complete. Then JOBS processes at once and, when all have ended,
the merge, into OUTPUT/killed, all of them with SIGKILL at each moment: a number is seconds drawn up
to that part of a run's time, a word is a pattern of a file that has appeared in the directory. One
run more may end. Processes are forked from this one, so that torch is imported once.

Prints JSON: at each kill, the bytes there were in shards; and whether processes were left."""

import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

torch.set_num_threads(1)
PATIENCE = 120.0  # seconds
SLOW = {  # what a main imports when it works: imported here, before the forks
    "add_noise": ("data.noise",),
    "ctc_decode": ("infer.recognise", "tasks.ctc", "score.wer"),
    "respond": ("infer.systems", "infer.embeddings", "score.alignment"),
    "generate_responses": ("infer.systems", "infer.batches"),
}


def start(main, options, group):
    """Fork a process of `group` (0: of its own) that runs main."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setpgid(0, group)
            main(options)
            status = 0
        finally:
            os._exit(status)
    return pid


def run(main, options, jobs, over):
    """All jobs and the merge; killed when `over()` says so. Whether it ended by itself."""
    split = [[*options, "--num_jobs", str(jobs), "--job", str(j + 1)] for j in range(jobs)]
    merge = [*options, "--num_jobs", str(jobs), "--merge"]
    for step in (split, [merge]):
        group = 0
        running = set()
        for words in step:
            pid = start(main, words, group)
            group = group or pid
            try:
                os.setpgid(pid, group)
            except (PermissionError, ProcessLookupError):
                pass  # it has done so, or ended
            running.add(pid)
        statuses = []
        while running:
            if over():
                os.killpg(group, signal.SIGKILL)
                for pid in running:
                    os.waitpid(pid, 0)
                return False
            for pid in list(running):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    running.remove(pid)
                    statuses.append(os.waitstatus_to_exitcode(status))
            time.sleep(0.0005)
        if any(statuses):
            sys.exit(f"jobs ended with {statuses}")
    return True


def moment(word, length, rng, directory):
    """A function that says whether the moment has come."""
    begin = time.monotonic()
    try:
        when = begin + rng.uniform(0, float(word) * length)
    except ValueError:
        return lambda: any(directory.rglob(word)) or time.monotonic() > begin + PATIENCE
    return lambda: time.monotonic() >= when


def size_of(directory):
    total = 0
    for path in directory.rglob("*shard.*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # renamed meanwhile
            pass
    return total


def main(output, jobs, seed, moments, module, *options):
    stage = importlib.import_module(f"espnet_audiollm.bin.{module}").main
    for name in (*SLOW[module], *["tasks.audiollm"] * ("audiollm" in options)):
        importlib.import_module(f"espnet_audiollm.{name}")
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM  # noqa: F401

    rng = random.Random(int(seed))
    complete, killed = Path(output, "complete"), Path(output, "killed")
    begin = time.monotonic()
    if os.waitpid(start(stage, [*options, "--output", str(complete)], 0), 0)[1]:
        sys.exit("the run in peace failed")
    length = time.monotonic() - begin
    sizes = []
    options = [*options, "--output", str(killed)]
    for word in moments.split(","):
        if not run(stage, options, int(jobs), moment(word, length, rng, killed)):
            sizes.append(size_of(killed))
        else:
            shutil.rmtree(killed)  # the moment never came: begin again
    ended = run(stage, options, int(jobs), lambda: False)
    try:
        orphans = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        orphans = None
    print(json.dumps({"sizes": sizes, "ended": ended, "orphans": orphans}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
