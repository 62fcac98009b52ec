"""How long a stage's first breath takes: importing the tasks, and only ESPnet's task as it is.

    python test/bench/bench_import.py [--times 3]

Each import has a process of its own; the two take turns. Processor seconds, the least of all."""

import argparse
import os
import subprocess
import sys

PROGRAMS = {
    "ESPnet's task, imported as it is": "import espnet2.tasks.abs_task, espnet2.train.preprocessor",
    "ours, ESPnet's included": "import espnet_audiollm.tasks.audiollm",
}


def processor_seconds(program: str) -> float:
    before = os.times()
    subprocess.run([sys.executable, "-c", program], check=True, stderr=subprocess.DEVNULL)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=3)
    times = parser.parse_args().times
    took = {name: [] for name in PROGRAMS}
    for _ in range(times):
        for name, program in PROGRAMS.items():
            took[name].append(processor_seconds(program))
    plain, ours = (min(values) for values in took.values())
    for name, values in took.items():
        print(f"{min(values):6.2f} s  {name}")
    print(f"ratio {plain / ours:.2f}")


if __name__ == "__main__":
    main()
