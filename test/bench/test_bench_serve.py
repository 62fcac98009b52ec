"""The benchmark of the server, on the tests' models."""

import re

import pytest
from bench import bench_serve


def rows(printed, system):
    return [line.split(" | ") for line in printed.splitlines() if line.startswith(f"| {system}")]


def test_it_prints_its_tables(align_exp, ctc_exp, llm_dir, data, capsys):
    options = ["--llm", str(llm_dir), "--recordings", str(data), "--cascade", str(ctc_exp)]
    sizes = ["--clients", "1", "4", "--seconds", "2", "--dialogues", "2"]
    bench_serve.main([str(align_exp), *options, *sizes])
    printed = capsys.readouterr().out
    for system in ("AudioLLM", "cascade"):
        one, four, again, kept = rows(printed, system)
        assert [one[2], four[2]] == ["1", "4"] and float(one[3]) > 0
        assert one[1] == "in its process" and bool(one[5]) == (system == "AudioLLM")
        assert again[-1] == "0 |" and int(kept[-1].split()[0]) > 0
    assert printed.count("2 of 2 dialogues have the same answers") == 2
    assert re.search(r"^8 recordings, 1 thread.*processors", printed, re.MULTILINE)


def test_without_recordings(tmp_path):
    with pytest.raises(SystemExit, match="has no .wav or .flac file: name a directory"):
        bench_serve.main(["m", "--llm", "l", "--recordings", str(tmp_path)])
