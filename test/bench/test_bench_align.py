"""The alignment benchmark runs, and counts the positions that the model really makes."""

import pytest
import torch
from bench.bench_align import (
    DEFAULTS,
    PHASES,
    RECOMPUTE,
    TARGETS,
    get_parser,
    main,
    make_batch,
    make_llm,
    make_model,
    positions,
)


def test_every_system_is_measured(capsys):
    main(["--tiny", "--device", "cpu", "--peak", "1", "--profile", "--recompute", *RECOMPUTE])
    output = capsys.readouterr().out
    rows = [line.strip("| ").split(" | ") for line in output.splitlines() if line.startswith("| ")]
    names, cells = rows[0], rows[1:]
    assert [row[1:4] for row in cells] == [
        [layers, layout, recomputed]
        for layers in ("1", "2")
        for recomputed in RECOMPUTE
        for layout in DEFAULTS
    ]
    for row in cells:
        found = dict(zip(names, row, strict=True))
        assert float(found["audio s/s"]) > 0
        assert 0 < float(found["MFU"].removesuffix(" %")) < 100
        shares = [float(share) for share in row[-1].split(" / ")]
        assert len(shares) == len(PHASES) and 90 < sum(shares) < 110  # each is a median
    assert "Self CPU time total" in output


def test_targets_are_measured_in_turn(capsys):
    options = ["--tiny", "--device", "cpu", "--layout", "packed", "--recompute", "none"]
    main([*options, "--targets", *TARGETS])
    rows = [row.strip("| ").split(" | ") for row in capsys.readouterr().out.splitlines()]
    cells = [row for row in rows if len(row) > 5 and row[2] == "packed"]
    assert [row[5] for row in cells] == list(TARGETS) * 2
    assert all(float(row[6]) > 0 for row in cells)


def test_a_prefix_is_read_with_each_prompt_or_once(capsys):
    options = ["--tiny", "--device", "cpu", "--layout", "packed", "repeated"]
    main([*options, "--recompute", "none", "--prefix", "30"])
    rows = [row.strip("| ").split(" | ") for row in capsys.readouterr().out.splitlines()]
    assert [row[2] for row in rows if len(row) > 5][1:] == ["packed", "repeated"] * 2


@pytest.mark.parametrize("prefix", ["10", "30"])
def test_positions_are_the_models(prefix):
    args = get_parser().parse_args(["--tiny", "--device", "cpu", "--prefix", prefix])
    torch.manual_seed(0)
    llm = make_llm(args)
    model = make_model(1, llm, args).eval()
    batch = make_batch(args, 500, 60)
    assert len(batch.durations) > 3 and sum(batch.durations) <= 60
    embedded = model.encode_audio(batch.tensors["speech"], batch.tensors["speech_lengths"])
    rest = len(model.prompt) - 1
    expected = [rest + len(a) + n - 1 for a, n in zip(embedded, batch.responses, strict=True)]
    assert positions(batch, args.prefix) == expected
