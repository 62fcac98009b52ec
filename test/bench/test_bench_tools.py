"""The benchmark of `docs/author_tools.md`, small: it runs, and the tools still exist."""

from bench.bench_tools import commands, main


def test_the_benchmark_of_tools(tmp_path, capsys):
    main(["--utterances", "2000", "--directory", str(tmp_path / "x"), "--table", f"{tmp_path}/t"])
    rows = [line for line in (tmp_path / "t").read_text().splitlines() if line.startswith("| `")]
    assert len(rows) == len(commands(2000))
    assert all(float(row.strip("| ").split("|")[-1]) > 5 for row in rows)
    assert "1000 MB (met" in capsys.readouterr().out
    assert not (tmp_path / "x").exists()
