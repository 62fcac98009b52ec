"""The configurations of the other adapters and of the pretrained encoders: they build and learn."""

from pathlib import Path

import pytest
import torch
import yaml
from pretrained_encoders import save_encoder
from tiny_tasks import task_options

from espnet_audiollm.model import llm as llms
from espnet_audiollm.tasks.audiollm import AudioLLMTask
from espnet_audiollm.train.loading import load_weights, read_config

CONF = Path(__file__).parents[2] / "egs2/TEMPLATE/audiollm1/conf"
ADAPTERS = ("conv", "qformer", "ctc_compress")
ADAPTER_OPTIONS = {"audio_adapter", "audio_adapter_conf"}
PRETRAINED = ("whisper", "hubert", "wav2vec2", "w2vbert")


def read(name: str) -> dict:
    return yaml.safe_load((CONF / f"train_align_{name}.yaml").read_text())


@pytest.mark.parametrize("name", [*ADAPTERS, "token_bridge"])  # the last: test_token_bridge.py
def test_only_the_adapter_differs(name):
    ours, theirs = read(f"adapter_{name}"), read("conformer12")
    differ = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    assert differ - {"ctc_weight"} == ADAPTER_OPTIONS and ours["audio_adapter"] == name


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_adapter_trains_and_loads_again(data, ctc_exp, llm_dir, tmp_path, name):
    adapter = {key: read(f"adapter_{name}")[key] for key in ADAPTER_OPTIONS}
    cmd = task_options(data, tmp_path, "response_ids,response,text_int", max_epoch=1, **adapter)
    init = ["--init_ctc", f"{ctc_exp}/valid.loss.ave.pth"]
    AudioLLMTask.main(cmd=[*cmd, "--llm", str(llm_dir), *init])
    model = AudioLLMTask.build_model(read_config(tmp_path), llms.load(str(llm_dir)))
    before = model.adapter.project.weight.clone()
    load_weights(model, tmp_path / "1epoch.pth")
    assert not torch.equal(before, model.adapter.project.weight)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", PRETRAINED)
def test_pretrained_encoders_learn_or_stay(llm_dir, tmp_path, name, train):
    """The configuration, with the directory as the guide gives it."""
    encoder = f"directory={save_encoder(name, tmp_path)}"
    args = AudioLLMTask.get_parser().parse_args(
        ["--config", f"{CONF}/train_align_{name}.yaml", "--output_dir", "none"]
        + ["--encoder_conf", encoder, "--encoder_conf", f"train={str(train).lower()}"]
    )
    model = AudioLLMTask.build_model(args, llms.load(str(llm_dir)))
    rate = model.speech_encoder.frames_per_second * model.adapter.positions_per_frame
    assert rate == 12.5  # a second, like the paper's conformer
    speech_BN, lengths_B = 0.1 * torch.randn(2, 16_000), torch.tensor([16_000, 9_000])
    loss, _, _ = model(speech_BN, lengths_B, torch.tensor([[5, 2], [6, 2]]), torch.tensor([2, 2]))
    loss.backward()
    learned = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert "adapter.project.weight" in learned
    assert any(name.startswith("speech_encoder") for name in learned) is train
    saved = {key.split(".")[0] for key, v in model.state_dict().items() if torch.is_tensor(v)}
    assert saved == ({"adapter", "speech_encoder"} if train else {"adapter"})
