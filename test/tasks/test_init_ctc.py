"""What an alignment takes over from stage 5, by itself, and how it refuses another encoder."""

import pytest
import torch
from tiny_tasks import ENCODER, task_options

from espnet_audiollm.model import llm as llms
from espnet_audiollm.tasks.audiollm import AudioLLMTask
from espnet_audiollm.train import checkpoints
from espnet_audiollm.train.loading import load_weights, read_config

COMPRESS = ["--audio_adapter", "ctc_compress"]


def align(data, output, llm_dir, *words, **more):
    options = dict(max_epoch=1, **more)
    cmd = task_options(data, output, "response_ids,response,text_int", **options)
    AudioLLMTask.main(cmd=[*cmd, "--llm", str(llm_dir), *words])


def test_the_ctc_layer_comes_with_its_size(data, ctc_exp, llm_dir, tmp_path):
    """Asked for on the command line, as by --align_args; then loaded as stage 10 does."""
    ctc = ctc_exp / "valid.loss.ave.pth"
    align(data, tmp_path, llm_dir, "--init_ctc", str(ctc), *COMPRESS)
    before, after = checkpoints.load(ctc), checkpoints.load(tmp_path / "1epoch.pth")
    for name in ("weight", "bias"):
        assert torch.equal(before[f"ctc_out.{name}"], after[f"adapter.ctc_out.{name}"])
    ctc.rename(ctc_exp / "aside.pth")  # the trained system does without it
    try:
        model = AudioLLMTask.build_model(read_config(tmp_path), llms.load(str(llm_dir)))
    finally:
        (ctc_exp / "aside.pth").rename(ctc)
    load_weights(model, tmp_path / "1epoch.pth")


def test_without_a_checkpoint_it_starts_from_nothing(data, llm_dir, tmp_path):
    align(data, tmp_path, llm_dir)
    assert (tmp_path / "valid.loss.ave.pth").exists()


def test_differing_encoders_are_named_by_their_options(data, ctc_exp, llm_dir, tmp_path):
    other = {**ENCODER["encoder_conf"], "num_blocks": 2, "subsampling": 4}
    init = ["--init_ctc", f"{ctc_exp}/valid.loss.ave.pth"]
    with pytest.raises(ValueError, match="num_blocks: 1 there, 2 here.*subsampling: None there, 4"):
        align(data, tmp_path, llm_dir, *init, encoder_conf=other)


def test_differing_encoders_without_a_configuration(data, ctc_exp, llm_dir, tmp_path):
    other = {**ENCODER["encoder_conf"], "linear_units": 24}
    bare = tmp_path / "bare.pth"
    bare.write_bytes((ctc_exp / "valid.loss.ave.pth").read_bytes())
    with pytest.raises(ValueError, match="another speech encoder.*first: .*feed_forward"):
        align(data, tmp_path / "exp", llm_dir, "--init_ctc", str(bare), encoder_conf=other)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (COMPRESS, "ctc_compress needs the CTC layer of stage 5"),
        (["--init_ctc", "nowhere.pth"], "nowhere.pth does not exist"),
        (["--init_ctc", "ALIGN"], "has no CTC layer"),
    ],
)
def test_what_cannot_begin(data, align_exp, llm_dir, tmp_path, words, message):
    words = [word.replace("ALIGN", f"{align_exp}/valid.loss.ave.pth") for word in words]
    with pytest.raises(ValueError, match=message):
        align(data, tmp_path, llm_dir, *words)
