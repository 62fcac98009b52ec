"""The benchmark of `docs/author_tools.md`, small: it runs, and the tools still exist."""

import subprocess
import sys

from bench import bench_tools


def test_the_benchmark_of_tools(tmp_path):
    sizes = ["--utterances", "2000", "--directory", tmp_path / "x", "--table", tmp_path / "t"]
    done = subprocess.run(
        [sys.executable, bench_tools.__file__, *sizes], capture_output=True, text=True, check=True
    )  # in a process of its own, which has little memory to hand on
    rows = [line for line in (tmp_path / "t").read_text().splitlines() if line.startswith("| `")]
    assert len(rows) == len(bench_tools.commands(2000))
    assert all(float(row.strip("| ").split("|")[-1]) > 5 for row in rows)
    assert "1000 MB (met" in done.stdout
    assert not (tmp_path / "x").exists()
