"""The benchmark of scoring runs, on a hundred utterances."""

import json

from bench import bench_score


def test_it_scores_what_it_generates(tmp_path, capfd):
    seconds, busy, peak = bench_score.main(
        ["--utterances", "100", "--directory", str(tmp_path), "--resamples", "20"]
    )
    assert 0 < busy and 0 < seconds and 0.01 < peak < 1
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert [s["num_utts"] for s in results["systems"]] == [100] * len(bench_score.SYSTEMS)
    cascade = results["systems"][1]
    assert cascade["label"] == "cascade_a" and 1 < cascade["prompt_wer"] < 12  # generated with 5 %
    assert {"character_errors", "ppl_by_position", "diagnostics"} <= set(cascade)
    assert "100 utterances, 7 systems, 20 resamples" in capfd.readouterr().out
