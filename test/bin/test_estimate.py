"""The estimates' arithmetic, and that the guide shows what the command says today."""

import re
import shlex
from pathlib import Path

import pytest

from espnet_audiollm.bin import estimate

CONFIG = "encoder: conformer\nencoder_conf: {num_blocks: 1}\n"


def tables(output: str) -> dict[str, str]:
    """First and last cell of every row."""
    rows = (line.strip("| ").split(" | ") for line in output.splitlines() if line.startswith("| "))
    return {row[0]: row[-1] for row in rows}


@pytest.fixture
def options(tmp_path) -> list[str]:
    """3,600 utterances of 10 s; CTC of 100 updates x 2 x 50 s, alignment of 50 x 4 utterances."""
    ctc = "batch_type: numel\nbatch_bins: 800000\naccum_grad: 2\nnum_iters_per_epoch: 40\n"
    align = "batch_type: sorted\nbatch_size: 4\nnum_iters_per_epoch: 10\n"
    (tmp_path / "ctc.yaml").write_text(f"{CONFIG}{ctc}max_epoch: 5\n")
    (tmp_path / "align.yaml").write_text(f"{CONFIG}{align}max_epoch: 5\n")
    configs = [f"--{name}_config={tmp_path}/{name}.yaml" for name in ("ctc", "align")]
    sizes = ["--hours", "10", "--utterances", "3600", "--response_tokens", "100"]
    return [*configs, *sizes, "--memory", "false"]


def test_hours_by_hand(options, capsys):
    """On a GPU of 1 GFLOP/s, of which encoder and LLM of 6.6 billion take a quarter and a half."""
    assert (
        estimate.main([*options, "--gpu", "0.001", "--llm_mfu", "50", "--encoder_mfu", "25"]) == 0
    )
    output = capsys.readouterr().out
    assert "100 updates x 100 s = 3 hours, 0.3 passes" in output
    assert "50 updates x 40 s = 1 hours, 0.1 passes" in output
    cells = {row.split(":")[0]: cell.replace(",", "") for row, cell in tables(output).items()}
    found = {stage: float(cells[stage]) / 1000 for stage in ("5", "7", "9")}
    encoder = 3e-3 * float(re.search(r"3 x ([\d.]+) GFLOP a second", output)[1])  # TFLOP a second
    assert found["5"] == pytest.approx(encoder * 100 * 100 / 0.25 / 3600, rel=0.02)
    token = 2 * 6.6e-3  # TFLOP forward
    answered = 3600 * ((35 + 15) * token / 0.5 + 100 * token / 0.05)  # 3.5 tokens a second, 5 %
    assert found["7"] == pytest.approx(answered / 3600, rel=0.02)
    learned = 200 * (2 * (125 + 15 + 100) * token / 0.5 + 10 * encoder / 0.25)  # 80 ms a position
    assert found["9"] == pytest.approx(learned / 3600, rel=0.02)


@pytest.mark.parametrize(
    ("adapter", "positions"),
    [
        ("audio_adapter: stack\naudio_adapter_conf: {stack: 4}\n", 31),  # 10 s x 12.5 / 4
        ("audio_adapter: qformer\naudio_adapter_conf: {window: 5, queries: 1}\n", 25),
        ("audio_adapter: ctc_compress\n", 125),
    ],
)
def test_positions_are_the_adapters(options, tmp_path, capsys, adapter, positions):
    with open(tmp_path / "align.yaml", "a") as config:
        config.write(adapter)
    estimate.main(options)
    assert f" {positions + 15 + 100} positions of the LLM" in capsys.readouterr().out


def test_disk_by_hand(options, capsys):
    estimate.main(options)
    found = tables(capsys.readouterr().out)
    assert found["audio as 16 kHz FLAC (stage 2 writes it only where it is something else)"] == (
        f"{10 * 3600 * 15_000 / 1e9:.1f}"
    )
    assert found["the LLM in bfloat16"] == "13.5"  # 6.74 billion weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": "whisper"}, "`encoder: conformer` only"),
        ({"batch_type": "length"}, "batch_type is length"),
    ],
)
def test_what_cannot_be_counted_is_said(options, tmp_path, capsys, change, message):
    (key, value) = next(iter(change.items()))
    path = tmp_path / "ctc.yaml"
    path.write_text(re.sub(f"{key}: .*", f"{key}: {value}", path.read_text(), count=1))
    with pytest.raises(SystemExit):
        estimate.main(options)
    assert message in capsys.readouterr().err


def test_an_unknown_gpu_is_refused(options, capsys):
    with pytest.raises(SystemExit):
        estimate.main([*options, "--gpu", "K80"])
    assert "A100, H100, H200, or its TFLOP/s" in capsys.readouterr().err


def test_memory(options, tmp_path, capsys, root):
    """Five utterances to a batch of CTC, 80 to one of two GPUs of the alignment: 125 + 15 + 100
    positions each."""
    with open(tmp_path / "align.yaml", "a") as config:
        config.write("batch_type: numel\nbatch_bins: 12800000\noptim: adam\nuse_amp: true\n")
    llm = ["--llm", str(root / "egs2/TEMPLATE/common/conf/llm/smollm2_135m_instruct.yaml")]
    few = ["--memory", "true", "--align_gpus", "2", *llm]
    assert estimate.main([*options, *few]) == 0
    free = capsys.readouterr().out
    assert "5: CTC, 5 utterances: together" in free
    assert "9: alignment, 40 utterances: the LLM's layers | 9,560 positions x" in free
    assert "Without --max_positions a batch of shorter utterances has more positions" in free
    estimate.main([*options, *few, "--max_positions", "4801"])
    bound = capsys.readouterr().out
    assert "9: alignment, 10 utterances: the LLM's layers | 2,390 positions x" in bound
    assert "--max_positions 4,801: a batch has no more, of 2 GPUs together; a position" in bound
    found, expected = (
        float(tables(output)[f"9: alignment, {n} utterances: the LLM's layers"])
        for output, n in ((bound, 10), (free, 40))
    )
    assert found == pytest.approx(expected / 4, abs=0.1)


def test_a_bound_below_one_utterance_is_refused(options, capsys):
    with pytest.raises(SystemExit):
        estimate.main([*options, "--memory", "true", "--align_gpus", "2", "--max_positions", "479"])
    assert "has 240 positions, and each of 2 GPUs needs one: give 480 or more" in (
        capsys.readouterr().err
    )


def test_the_guide_shows_what_the_command_says(root: Path, capsys, monkeypatch):
    monkeypatch.chdir(root)
    guide = (root / "docs/cluster.md").read_text()
    commands = re.findall(
        r"^    (python -m espnet_audiollm\.bin\.estimate (?:.*\\\n)*.*)$", guide, re.MULTILINE
    )
    assert len(commands) == 2
    for command in commands:
        estimate.main(shlex.split(command.replace("\\\n", " "))[3:])
        for line in capsys.readouterr().out.splitlines():
            if "Flash Attention" in line:  # printed when ESPnet is imported first
                continue
            assert line in guide.splitlines(), f"docs/cluster.md: out of date: {line}"


def test_a_known_llm_needs_no_files(options, capsys, root):
    """Of conf/llm: its published shape is enough."""
    llm = root / "egs2/TEMPLATE/common/conf/llm/smollm2_135m_instruct.yaml"
    assert estimate.main([*options, "--llm", str(llm)]) == 0
    assert "2 bytes x 0.13 billion" in capsys.readouterr().out
