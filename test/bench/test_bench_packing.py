"""The benchmark of layouts runs, with and without what all prompts begin with."""

import pytest
from bench.bench_packing import main


@pytest.mark.parametrize("prefix", ["0", "20"])
def test_every_way_is_measured(capsys, prefix):
    options = ["--shape", "tiny", "--batches", "2", "--batch_size", "3", "--longest", "20"]
    main([*options, "--prefix", prefix])
    lines = dict(line.split(": ") for line in capsys.readouterr().out.splitlines() if ": " in line)
    ways = ["packed", "padded"] + ["once"] * (prefix == "20")
    assert all(float(lines[way].split()[0]) > 0 for way in ways)
    assert ("packed / once" in lines) == (prefix == "20")
    assert float(lines["positions"].split()[0]) > 3 * int(prefix)
