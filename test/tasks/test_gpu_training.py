"""Both tasks by ESPnet's trainer on a GPU, where there is one: they learn, save, and go on."""

import pytest
import torch
from tiny_tasks import ctc_options, task_options

from espnet_audiollm.tasks.audiollm import AudioLLMTask
from espnet_audiollm.tasks.ctc import CTCTask
from espnet_audiollm.train import checkpoints

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def weights(directory, epoch):
    return checkpoints.load(directory / f"{epoch}epoch.pth")


def close(a, b):
    names = [name for name, value in a.items() if isinstance(value, torch.Tensor)]
    assert names
    for name in names:
        torch.testing.assert_close(a[name].cpu(), b[name].cpu(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("use_amp", [True, False])
def test_alignment_and_ctc_learn_and_resume(data, llm_dir, tmp_path, monkeypatch, use_amp):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)

    def train(directory, max_epoch, ngpu=1):
        more = dict(max_epoch=max_epoch, use_amp=use_amp and ngpu == 1, accum_grad=2)
        more["keep_epochs"] = [1]
        if not use_amp:  # Adam's first steps depend only on signs, of gradients near 0 as well
            more.update(optim="sgd", optim_conf={"lr": 0.05})
        gpu = ["--ngpu", str(ngpu), "--resume", "true"]
        CTCTask.main(cmd=[*ctc_options(data, directory / "ctc", **more), *gpu])
        cmd = task_options(data, directory / "align", "response_ids,response,text_int", **more)
        AudioLLMTask.main(cmd=[*cmd, "--llm", str(llm_dir), *gpu])

    train(tmp_path / "undisturbed", 3)
    train(tmp_path / "resumed", 1)
    train(tmp_path / "resumed", 3)
    for task in ("ctc", "align"):
        undisturbed = tmp_path / "undisturbed" / task
        close(weights(tmp_path / "resumed" / task, 3), weights(undisturbed, 3))
        stats = checkpoints.load(checkpoints.newest_undamaged(undisturbed))["reporter"]["stats"]
        assert stats[3]["train"]["loss"] < stats[1]["train"]["loss"]
    if not use_amp:  # float32 is the CPU's
        train(tmp_path / "cpu", 1, ngpu=0)
        for task in ("ctc", "align"):
            close(weights(tmp_path / "undisturbed" / task, 1), weights(tmp_path / "cpu" / task, 1))
