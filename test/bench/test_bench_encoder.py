"""The encoder's benchmark runs every part, ESPnet's conformer among them."""

from bench.bench_encoder import main


def test_every_part_is_measured(capsys):
    sizes = "--layers 1 --width 16 --heads 2 --hidden 24 --channels 4 --batch 2 --frames 8"
    main([*sizes.split(), "--vocab", "9", "--repeats", "1"])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][2:]
    assert [row[0] for row in rows] == [
        "subsampling conv",
        "subsampling separable",
        "layers",
        "CTC conv",
        "CTC separable",
        "CTC ESPnet",
    ]
    sizes = {row[0]: int(row[1]) for row in rows}
    saved = 2 * (9 * 4 * 4 - (9 * 4 + 4 + 4 * 4))  # two convolutions, one bias more in each
    assert sizes["subsampling conv"] - sizes["subsampling separable"] == saved
    assert all(float(cell) > 0 for row in rows for cell in row[2:4])
