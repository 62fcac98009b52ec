"""How threads that wait for one another should wait: a training step on a processor, in turns.

    python test/bench/bench_threads.py                      # as many threads as there are cores
    python test/bench/bench_threads.py --spins 0 1000 10000 --rounds 5

A step is one of egs2/mini/audiollm1's recogniser: bench_encoder.py's CTC with separable
subsampling, in bfloat16 where the processor has it, and Muon. For each number of turns that a
waiting thread of OpenMP spins before it sleeps (GOMP_SPINCOUNT) a process takes its turn of --steps
steps, --rounds times: first on an idle machine, then beside --busy processes that only compute. A
row for one thread, which waits for none, is for comparison. tools/activate has the number in use.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

ROOT = Path(__file__).parents[2]


def get_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--spins", type=int, nargs="+", default=[0, 300, 1000, 3000, 10000])
    parser.add_argument("--threads", type=int, default=cores)
    parser.add_argument("--busy", type=int, default=1, help="processes that only compute")
    parser.add_argument("--steps", type=int, default=20, help="of a turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=22, help="utterances of 2.5 s")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser


def work(args):
    """A process: for each line that it reads, it prints the seconds of a step."""
    with redirect_stdout(sys.stderr):  # ESPnet prints
        import bench_encoder  # beside this file
        import torch

        from espnet_audiollm.train import muon
        from espnet_audiollm.train.precision import cpu_has_bfloat16
        from espnet_audiollm.train.wrapping import CPUAutocast

    torch.manual_seed(0)
    sizes = bench_encoder.get_parser().parse_args(
        ["--batch", str(args.batch), "--layers", str(args.layers)]
    )
    model = bench_encoder.CTC(bench_encoder.conformer(sizes, "separable"), sizes).train()
    optimizer = muon.Muon(muon.groups(model.named_parameters(), "encoder"))
    if cpu_has_bfloat16():
        model = CPUAutocast(model)
    frames = bench_encoder.FACTOR * sizes.frames
    bands = torch.randn(args.batch, frames, bench_encoder.BANDS)
    batch = {"bands": bands, "lengths": torch.full((args.batch,), frames)}
    for _ in sys.stdin:
        start = time.monotonic()
        for _ in range(args.steps):
            model(**batch).backward()
            optimizer.step()
            optimizer.zero_grad()
        print(json.dumps((time.monotonic() - start) / args.steps), flush=True)


@contextmanager
def workers(args, settings):
    """A process for each (threads, spins), which waits for its turn."""
    running = {}
    try:
        for threads, spins in settings:
            environment = {
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": str(threads),
                "OMP_WAIT_POLICY": "PASSIVE",
                "GOMP_SPINCOUNT": str(spins),
            }
            words = ["--worker", "--steps", str(args.steps), "--batch", str(args.batch)]
            running[threads, spins] = subprocess.Popen(
                [sys.executable, __file__, *words, "--layers", str(args.layers)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        yield running
    finally:
        for process in running.values():
            process.kill()
            process.communicate()


@contextmanager
def company(number):
    """`number` processes that only compute."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()


def turn(process):
    """The seconds of a step, from a process whose turn it is."""
    process.stdin.write("go\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def main(argv=None):
    args = get_parser().parse_args(argv)
    if args.worker:
        return work(args)
    settings = [(1, 0)] + [(args.threads, spins) for spins in args.spins]
    times = defaultdict(list)
    with workers(args, settings) as running:
        for process in running.values():  # the first steps are others
            turn(process)
        for busy in (0, args.busy):
            with company(busy):
                for _ in range(args.rounds):
                    for setting, process in running.items():
                        times[busy, setting].append(turn(process))
    beside = f"beside {args.busy}"
    print(f"| threads | spins | ms a step, idle | {beside} | of one thread's, idle | {beside} |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for threads, spins in settings:
        alone, beside = (times[busy, (threads, spins)] for busy in (0, args.busy))
        ratios = [
            statistics.median(own) / statistics.median(times[busy, settings[0]])
            for busy, own in ((0, alone), (args.busy, beside))
        ]
        cells = [
            f"{1e3 * statistics.median(t):.0f} ({1e3 * min(t):.0f} to {1e3 * max(t):.0f})"
            for t in (alone, beside)
        ]
        print(f"| {threads} | {spins} | {' | '.join(cells)} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    return None


if __name__ == "__main__":
    main()
