"""The benchmarks beside others run, and what they count is right."""

import pytest
from bench import bench_epoch, bench_peers

TINY = ["--llm", "tiny", "--width", "64", "--layers", "1"]


def table(output):
    rows = [line.strip("| ").split(" | ") for line in output.splitlines() if line.startswith("| ")]
    return rows[1:]


def test_ours_run_without_a_peer(capsys):
    bench_peers.main([*TINY, "--pieces", "50", "--audio", "20", "--batches", "1", "--warm_up", "0"])
    cross_entropy, bridge = table(capsys.readouterr().out)
    assert cross_entropy[0] == "ours: cross-entropy" and bridge[0] == "ours: bridge"
    assert cross_entropy[-1] == bridge[-1] == "0"  # logits that nothing is learned from
    assert 0 < int(bridge[-2]) < int(cross_entropy[-2])  # three positions a second, not 12.5
    assert int(cross_entropy[-3]) > 0


def test_memory_that_runs_out_ends_it(monkeypatch):
    """The first step takes some; nothing is left for a second."""
    monkeypatch.setattr(bench_peers, "available_memory", lambda: 0)
    with pytest.raises(SystemExit, match="ours: bridge: 0.0 GiB are left.* name fewer with --ours"):
        bench_peers.main([*TINY, "--pieces", "50", "--audio", "20", "--batches", "1"])


def test_a_system_that_cannot_start_is_named(tmp_path):
    model = tmp_path / "ultravox/model/ultravox_model.py"
    model.parent.mkdir(parents=True)
    model.touch()
    words = [*TINY, "--pieces", "50", "--ours", "bridge", "--theirs", "KL"]
    with pytest.raises(SystemExit, match="theirs: KL, .*the process ended with 1"):
        bench_peers.main([*words, "--ultravox", str(tmp_path), "--python", "false"])


def test_what_is_no_checkout_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="--help"):
        bench_peers.main(["--ultravox", str(tmp_path)])


def test_an_epoch_of_both_kinds(capsys):
    bench_epoch.main([*TINY, "--epoch", "100", "--audio", "30"])
    ours, static = table(capsys.readouterr().out)
    assert float(ours[3]) < float(static[3])  # sorted by length
    assert ours[2] == "1.00" and float(static[2]) > 0


def test_batches_hold_every_utterance_once():
    seconds = [12.0, 3.0, 9.0, 3.5, 11.0]
    ours = bench_epoch.our_batches(seconds, 25)
    static = bench_epoch.static_batches(5, len(ours))
    for batches in (ours, static):
        assert sorted(row for rows in batches for row in rows) == [0, 1, 2, 3, 4]
    assert bench_epoch.padding([[0, 1]], [4, 2]) == 25.0
