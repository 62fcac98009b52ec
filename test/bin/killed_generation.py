"""Run stage 7 again and again in processes of its own, and kill each at a moment of its own.

    killed_generation.py OUTPUT SIZE,SIZE,... ARGUMENTS

Each run gets SIGKILL once the store's files hold SIZE bytes; then one run may end. Processes are
forked from this one, so that torch is imported once. Prints how many runs were killed."""

import os
import signal
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM  # noqa: F401

from espnet_audiollm.bin import generate_responses
from espnet_audiollm.infer import answers  # noqa: F401  (imported before the fork)

torch.set_num_threads(1)


def start(arguments):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            generate_responses.main(arguments)
            status = 0
        finally:
            os._exit(status)
    return pid


def size_of(directory):
    total = 0
    for path in directory.glob("*shard.*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # renamed meanwhile
            pass
    return total


def main(output, sizes, *arguments):
    killed = 0
    for size in map(int, sizes.split(",")):
        pid = start(arguments)
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if size_of(Path(output)) >= size:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                killed += 1
                break
            time.sleep(0.002)
    status = os.waitstatus_to_exitcode(os.waitpid(start(arguments), 0)[1])
    print(killed, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
