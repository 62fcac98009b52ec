"""The benchmark of waiting threads measures every setting, alone and beside a busy process."""

from bench.bench_threads import main


def test_every_setting_takes_its_turns(capsys):
    main("--spins 0 1000 --threads 2 --steps 1 --rounds 2 --batch 2 --layers 1".split())
    lines = capsys.readouterr().out.splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][2:]
    assert [row[:2] for row in rows] == [["1", "0"], ["2", "0"], ["2", "1000"]]
    assert all(float(cell) > 0 for row in rows for cell in row[4:])
