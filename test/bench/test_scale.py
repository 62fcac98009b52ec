"""The benchmark of `docs/scale.md`, small: it runs, and the steps still exist."""

import subprocess
import sys


def test_the_benchmark_of_scale(tmp_path, root):
    command = [sys.executable, "test/bench/bench_scale.py", "--utterances", "20000", "--quick"]
    command += ["--directory", tmp_path / "bulk", "--table", tmp_path / "table.md"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    table = (tmp_path / "table.md").read_text()
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("|")][2:]
    assert [row[0].split(":")[0].strip() for row in rows] == list("122234785")
    numbers = [[float(cell.replace(",", "")) for cell in row[2:]] for row in rows]
    assert all(0 < own <= resident and 0 < together for own, resident, together in numbers)
    assert "no process over 1,024 MB of its own (met" in table
    assert not (tmp_path / "bulk").exists()
