"""The benchmark of scoring runs, on a hundred utterances."""

import json
import os
import subprocess
import sys
from pathlib import Path

from bench import bench_score


def test_it_scores_what_it_generates(tmp_path):
    sizes = ["--utterances", "100", "--directory", str(tmp_path), "--resamples", "20"]
    done = subprocess.run(
        [sys.executable, bench_score.__file__, *sizes],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(bench_score.__file__).parents[1])},
    )  # in a process of its own, which has no other children and little memory to hand on
    assert "100 utterances, 7 systems, 20 resamples" in done.stdout
    peak = float(done.stdout.rsplit(" GB", 1)[0].split()[-1])
    assert 0.01 < peak < 1
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert [s["num_utts"] for s in results["systems"]] == [100] * len(bench_score.SYSTEMS)
    cascade = results["systems"][1]
    assert cascade["label"] == "cascade_a" and 1 < cascade["prompt_wer"] < 12  # generated with 5 %
    assert {"character_errors", "ppl_by_position", "diagnostics"} <= set(cascade)
