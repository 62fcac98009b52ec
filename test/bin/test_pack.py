"""Stage 12: the pack is small, holds no code and no LLM, and works once unpacked."""

import zipfile

import pytest
import torch

from espnet_audiollm.bin import pack
from espnet_audiollm.model import llm as llms
from espnet_audiollm.tasks.audiollm import AudioLLMTask
from espnet_audiollm.train import checkpoints
from espnet_audiollm.train.loading import load_weights, read_config


def test_a_pack_is_an_experiment_for_others(align_exp, llm_dir, data, tmp_path):
    assert pack.main(["--exp", str(align_exp), "--output", str(tmp_path / "packed.zip")]) == 0
    with zipfile.ZipFile(tmp_path / "packed.zip") as packed:
        assert packed.namelist() == ["config.yaml", "model.pth"]
        packed.extractall(tmp_path / "there")
    assert str(data) not in (tmp_path / "there/config.yaml").read_text()
    model = AudioLLMTask.build_model(read_config(tmp_path / "there"), llms.load(str(llm_dir)))
    load_weights(model, tmp_path / "there/model.pth")
    trained = checkpoints.load(align_exp / "valid.loss.ave.pth")
    assert torch.equal(model.adapter.project.weight, trained["adapter.project.weight"])


def test_a_damaged_checkpoint_is_not_packed(align_exp, tmp_path, capsys):
    whole = (align_exp / "latest.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[:1000])
    (tmp_path / "config.yaml").write_text((align_exp / "config.yaml").read_text())
    cmd = ["--exp", str(tmp_path), "--checkpoint", "cut.pth", "--output", str(tmp_path / "p.zip")]
    with pytest.raises(SystemExit):
        pack.main(cmd)
    assert "cut.pth cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "p.zip").exists()
