"""Waits at the server: AudioLLM against a cascade, many clients, later turns kept or not.

    PYTHONPATH=test python test/bench/bench_serve.py MODEL --llm DIR --recordings DIR
        [--cascade EXP] [--clients 1 8 32] [--seconds 20] [--dialogues 30]

MODEL is an AudioLLM (packed, or an experiment of stage 9), --cascade an experiment of stage 5,
--recordings a directory of WAV or FLAC files. Each system is served by `bin.serve` in a process of
its own, clients run in this one, on the same processors. The second table has two servers for each
system, one of them with --cache_dialogues 0. Waits are medians over requests, from sending one to
its first token with text.
"""

import argparse
import os
import platform
import statistics
import sys
from pathlib import Path

from clients import crowd, dialogue
from serving import process

MS = 1000


def system_of(args, exp, *words):
    """A server of a system."""
    return process(exp, args.llm, *words, OMP_NUM_THREADS=str(args.threads))


def waits(answers):
    """The median wait for a first token, ms."""
    return MS * statistics.median(answer.first for answer in answers)


def loaded(args, server, clients):
    """Answers a second, and waits, of some clients with questions of one turn."""
    answers = crowd(server.url, server.name, args.sounds, clients, args.seconds)
    longest = max(answer.last for answer in answers)
    return len(answers) / args.seconds, waits(answers), MS * longest, len(answers)


def turns(args, exp, cached):
    """The waits of each turn of dialogues of three, one dialogue at a time, and the positions that
    were known of the last."""
    with system_of(args, exp, "--cache_dialogues", str(cached)) as server:
        dialogue(server.url, server.name, args.sounds[:1])
        sets = [
            [args.sounds[(3 * i + k) % len(args.sounds)] for k in range(3)]
            for i in range(args.dialogues)
        ]
        talks = [dialogue(server.url, server.name, each) for each in sets]
    by_turn = list(zip(*talks, strict=True))
    known = statistics.median(answer.cached for answer in by_turn[-1])
    texts = [[answer.text for answer in talk] for talk in talks]
    return [waits(each) for each in by_turn], known, texts


def report_load(args, systems):
    """Answers a second at each number of clients."""
    print("| system | clients | answers/s | first token, ms | longest answer, ms | answers |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    words = ["--max_queue", str(max(32, *args.clients)), "--max_rows", str(args.rows)]
    for name, exp in systems.items():
        with system_of(args, exp, *words) as server:
            dialogue(server.url, server.name, args.sounds[:1])  # the first request loads code
            for clients in args.clients:
                rate, first, longest, number = loaded(args, server, clients)
                row = f"{rate:.1f} | {first:.0f} | {longest:.0f} | {number}"
                print(f"| {name} | {clients} | {row} |", flush=True)


def report_turns(args, systems):
    """First tokens of three turns, with earlier ones kept and without."""
    print("\n| system | earlier turns | turn 1, ms | turn 2, ms | turn 3, ms | positions known |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name, exp in systems.items():
        texts = {}
        for label, cached in (("computed again", 0), ("kept", 64)):
            first, known, texts[label] = turns(args, exp, cached)
            row = " | ".join(f"{wait:.0f}" for wait in first)
            print(f"| {name} | {label} | {row} | {known:.0f} |", flush=True)
        again, kept = texts.values()
        same = sum(a == b for a, b in zip(again, kept, strict=True))
        print(f"| | | {same} of {len(again)} dialogues have the same answers both ways | | | |")


def machine():
    """What it ran on."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
    model = names[0].partition(": ")[2] if names else platform.machine()
    load = "/".join(f"{each:.0f}" for each in os.getloadavg())
    return f"{len(os.sched_getaffinity(0))} processors, {model}; load {load} at the end"


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model")
    add("--llm", required=True)
    add("--recordings", required=True, type=Path)
    add("--cascade")
    add("--clients", nargs="+", type=int, default=[1, 8, 32])
    add("--seconds", type=float, default=20.0, help="of each load (default: %(default)s)")
    add("--dialogues", type=int, default=30, help="of three turns (default: %(default)s)")
    add("--rows", type=int, default=8, help="the server's --max_rows (default: %(default)s)")
    add("--threads", type=int, default=1, help="of each server (default: %(default)s)")
    args = parser.parse_args(argv)
    paths = sorted(p for p in args.recordings.rglob("*") if p.suffix in (".wav", ".flac"))
    if not paths:
        sys.exit(f"{args.recordings} has no .wav or .flac file: name a directory with recordings")
    args.sounds = [path.read_bytes() for path in paths]
    systems = {"AudioLLM": args.model} | ({"cascade": args.cascade} if args.cascade else {})
    report_load(args, systems)
    report_turns(args, systems)
    print(f"\n{len(paths)} recordings, {args.threads} thread(s) a server, {machine()}")


if __name__ == "__main__":
    main()
