"""The benchmark of spare positions has a row for each turn of both trainings."""

import pytest
from bench.bench_spare import main


@pytest.mark.long
def test_both_take_their_turns(capsys):
    main("--positions 300 --steps 1 --rounds 2".split())
    lines = capsys.readouterr().out.splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][2:]
    assert [row[0] for row in rows] == ["1", "2"]
    assert all(float(cell) > 0 for row in rows for cell in row)
    assert "median of the later half" in lines[-1]
