#!/usr/bin/env python3
"""What sbatch is given: runs one job, or one member of an array, as a spec in JSON says.

    slurm_task.py SPEC

A training that answers 75 ("saved, run me again") is requeued; one that answers 76 ("died of
something that may pass, nothing saved") as well, at most 3 times in a row. Slurm has copied this
file elsewhere when it runs: the one beside the runner takes over, under the runner's Python.
"""

import json
import os
import sys


def take_over(spec_path: str, spec: dict) -> None:
    """Become this script in the checkout, with the runner's directory and Python."""
    here = os.path.join(spec["utils"], "slurm_task.py")
    os.chdir(spec["directory"])
    os.execv(spec["python"], [spec["python"], here, spec_path])


def main() -> int:
    """Run the command; its exit status."""
    spec_path = sys.argv[1]
    with open(spec_path, encoding="utf-8") as file:
        spec = json.load(file)
    if os.path.dirname(os.path.abspath(__file__)) != spec["utils"]:
        take_over(spec_path, spec)
    from jobs.slurm_member import run

    return run(spec)


if __name__ == "__main__":
    sys.exit(main())
