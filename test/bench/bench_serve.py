"""Waits at the server: AudioLLM against a cascade, many clients, vLLM, later turns kept or not.

    PYTHONPATH=test python test/bench/bench_serve.py MODEL --llm DIR --recordings DIR
        [--cascade EXP] [--vllm [URL]] [--clients 1 8 32] [--seconds 20] [--dialogues 30]

MODEL is an AudioLLM (packed, or an experiment of stage 9), --cascade an experiment of stage 5,
--recordings a directory of WAV or FLAC files. Each system is served by `bin.serve` in a process of
its own, with --vllm once more, where vLLM decodes; clients run in this process, on the same
processors. Of the first table all servers run at the same time and are asked in turns of a few
seconds, so that other work of the machine slows down all alike. The second table has two servers
for each system, one of them with --cache_dialogues 0. Waits are medians over requests, from
sending one to its first token with text. In the first table each recording is new to the server.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from clients import Answered, crowd, dialogue
from serving import process

from espnet_audiollm.infer.vllm_http import KEY

MS = 1000
AUDIOLLM, CASCADE = "AudioLLM", "cascade"


@dataclass
class Served:
    """A system behind a server, and what it answered."""

    system: str
    engine: str
    server: object  # of `process`
    answers: list[Answered] = field(default_factory=list)
    seconds: float = 0.0  # in which it was asked

    def ask(self, args, clients, seconds, seed):
        """Have some clients ask for some time, with questions of one turn."""
        begin = time.monotonic()
        where = (self.server.url, self.server.name)
        self.answers += crowd(*where, args.sounds, clients, seconds, seed=seed, new=True)
        self.seconds += time.monotonic() - begin


def system_of(args, exp, *words, **environment):
    """A server of a system."""
    return process(exp, args.llm, *words, OMP_NUM_THREADS=str(args.threads), **environment)


def waits(answers):
    """The median wait for a first token, ms."""
    return MS * statistics.median(answer.first for answer in answers)


@contextmanager
def vllm_of(args):
    """Words and environment of a server that leaves decoding to vLLM; none where it is not asked
    for. One is started where no address is given."""
    if args.vllm is None:
        yield None
    elif args.vllm:
        yield ["--vllm", args.vllm], {}
    else:
        from espnet_audiollm.infer.vllm_server import started
        from espnet_audiollm.model import llm as llms

        os.environ["OMP_NUM_THREADS"] = str(args.threads)
        with tempfile.TemporaryDirectory() as place:
            with started(llms.load(args.llm), Path(place) / "vllm.log") as server:
                yield ["--vllm", server.url], {KEY: server.key}


@contextmanager
def all_served(args, systems):
    """Every system with every engine; the first request, which loads code, is over."""
    words = ["--max_queue", str(max(32, *args.clients)), "--max_rows", str(args.rows)]
    with ExitStack() as stack:
        engines = {"in its process": ([], {})}
        if vllm := stack.enter_context(vllm_of(args)):
            engines["vLLM"] = vllm
        made = []
        for engine, (more, environment) in engines.items():
            for name, exp in systems.items():
                running = system_of(args, exp, *words, *more, **environment)
                server = stack.enter_context(running)
                dialogue(server.url, server.name, args.sounds[:1])
                made.append(Served(name, engine, server))
        yield made


def report_load(args, systems):
    """Answers a second at each number of clients."""
    columns = "system | decodes | clients | answers/s | first token, ms | of the cascade's"
    print(f"| {columns} | longest answer, ms | answers |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    with all_served(args, systems) as all_of_them:
        for clients in args.clients:
            for served in all_of_them:
                served.answers, served.seconds = [], 0.0
            for number in range(args.rounds):
                for served in all_of_them:
                    served.ask(args, clients, args.seconds / args.rounds, number)
            for served in all_of_them:
                print(_row(served, clients, all_of_them), flush=True)


def _row(served, clients, all_of_them):
    first = waits(served.answers)
    against = [
        waits(other.answers)
        for other in all_of_them
        if other.engine == served.engine and other.system == CASCADE
    ]
    ratio = f"{first / against[0]:.2f}" if against and served.system != CASCADE else ""
    longest = MS * max(answer.last for answer in served.answers)
    number = len(served.answers)
    row = f"{number / served.seconds:.1f} | {first:.0f} | {ratio} | {longest:.0f} | {number}"
    return f"| {served.system} | {served.engine} | {clients} | {row} |"


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
    add(
        "--vllm",
        nargs="?",
        const="",
        metavar="URL",
        help="decode by vLLM, too (default: start one)",
    )
    add("--clients", nargs="+", type=int, default=[1, 8, 32])
    add("--seconds", type=float, default=20.0, help="of each load (default: %(default)s)")
    add("--rounds", type=int, default=4, help="in which systems take turns (default: %(default)s)")
    add("--dialogues", type=int, default=30, help="of three turns (default: %(default)s)")
    add("--rows", type=int, default=8, help="the server's --max_rows (default: %(default)s)")
    add("--threads", type=int, default=1, help="of each server (default: %(default)s)")
    args = parser.parse_args(argv)
    paths = sorted(p for p in args.recordings.rglob("*") if p.suffix in (".wav", ".flac"))
    if not paths:
        sys.exit(f"{args.recordings} has no .wav or .flac file: name a directory with recordings")
    args.sounds = [path.read_bytes() for path in paths]
    systems = {AUDIOLLM: args.model} | ({CASCADE: args.cascade} if args.cascade else {})
    report_load(args, systems)
    if args.dialogues:
        report_turns(args, systems)
    print(f"\n{len(paths)} recordings, {args.threads} thread(s) a server, {machine()}")


if __name__ == "__main__":
    main()
