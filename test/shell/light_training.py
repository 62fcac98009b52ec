"""A stand-in for training: the real supervision, without ESPnet, whose import takes 10 s.

    light_training.py BEHAVIOUR OF_RANK [STEPS]

All ranks train; the rank OF_RANK (or "all") misbehaves at step 3."""

import importlib
import os
import signal
import subprocess
import sys
import threading
import time

from espnet_audiollm.train import supervision

BEHAVIOUR, OF_RANK = sys.argv[1:3]
STEPS = int(sys.argv[3]) if len(sys.argv) > 3 else 400
RANK = os.environ.get("RANK", "0")
MINE = OF_RANK in (RANK, "all")


def hold_a_lock_forever():
    lock = threading.Lock()
    with lock:
        lock.acquire()


def misbehave():
    if BEHAVIOUR == "user":
        raise ValueError("data/wav.scp has no such line")
    if BEHAVIOUR == "bug":
        raise AssertionError("5 + 3 == 7")
    if BEHAVIOUR in ("kill", "lost-peer"):
        os.kill(os.getpid(), signal.SIGKILL)
    if BEHAVIOUR == "saved-kill":
        supervision.saved()
        os.kill(os.getpid(), signal.SIGKILL)
    if BEHAVIOUR == "freeze":
        os.kill(os.getpid(), signal.SIGSTOP)
    if BEHAVIOUR == "lock":
        hold_a_lock_forever()
    if BEHAVIOUR == "work":
        while time.process_time() < 5:
            pass
    if BEHAVIOUR == "save-slowly":
        supervision.beat("save", 3)
        time.sleep(10)


def main():
    request = supervision.install()
    if BEHAVIOUR == "lost-peer":
        importlib.import_module("torch")  # which sorts errors; a training has it by now
    if BEHAVIOUR == "wait-for-all":
        torch = importlib.import_module("torch")
        torch.distributed.init_process_group("gloo")
    if BEHAVIOUR == "offspring" and MINE:
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
    for step in range(1, STEPS + 1):
        time.sleep(0.05)
        if step == 3 and BEHAVIOUR == "lost-peer" and not MINE:
            time.sleep(0.5)
            raise RuntimeError("gloo/pair.cc: Connection closed by peer")
        if step == 3 and MINE:
            misbehave()
        if BEHAVIOUR == "wait-for-all":
            torch.distributed.all_reduce(torch.ones(1))
        supervision.beat("train", step)
        os.write(1, f"rank {RANK} step {step}\n".encode())  # at once: ranks share the pipe
        if request.asked():
            if BEHAVIOUR != "unsaved":
                supervision.saved()
            supervision.stopped()
            return


with supervision.report_errors(lambda error: f"light_training: error: {error}"):
    main()
