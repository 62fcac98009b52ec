"""The two ESPnet tasks on a handful of noises: what training leaves, resumes from, and refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_tasks import ctc_options, task_options

from espnet_audiollm.model.llm import wrap
from espnet_audiollm.tasks.audiollm import AudioLLMTask
from espnet_audiollm.tasks.ctc import CTCTask
from espnet_audiollm.train import checkpoints
from espnet_audiollm.train.loading import load_weights, read_config


def test_ctc_leaves_what_was_asked_for(ctc_exp):
    names = {p.name for p in ctc_exp.iterdir()}
    assert {"checkpoint_000000003.pth", "1epoch.pth", "3epoch.pth", "valid.loss.ave.pth"} <= names
    assert {"valid.loss.best.pth", "latest.pth", "config.yaml", "tensorboard"} <= names
    assert not [name for name in names if name.endswith(".tmp")]
    assert checkpoints.load(checkpoints.newest_undamaged(ctc_exp))["reporter"]["epoch"] == 3


def test_average_is_the_mean(ctc_exp):
    losses = checkpoints.load(checkpoints.newest_undamaged(ctc_exp))["reporter"]["stats"]
    best = sorted(losses, key=lambda epoch: losses[epoch]["valid"]["loss"])[:2]
    a, b = (checkpoints.load(ctc_exp / f"{epoch}epoch.pth") for epoch in best)
    mean = checkpoints.load(ctc_exp / "valid.loss.ave_2best.pth")
    torch.testing.assert_close(
        mean["ctc_out.weight"], (a["ctc_out.weight"] + b["ctc_out.weight"]) / 2
    )


def test_resumed_training_ends_like_an_uninterrupted_one(data, ctc_exp, tmp_path):
    for max_epoch in (1, 3):
        cmd = ctc_options(data, tmp_path, max_epoch=max_epoch, accum_grad=2)
        CTCTask.main(cmd=[*cmd, "--resume", "true"])
    undisturbed, resumed = (checkpoints.load(d / "3epoch.pth") for d in (ctc_exp, tmp_path))
    for key, weight in undisturbed.items():
        assert torch.equal(weight, resumed[key]), key


def test_training_lowers_the_loss(ctc_exp):
    stats = checkpoints.load(checkpoints.newest_undamaged(ctc_exp))["reporter"]["stats"]
    assert stats[3]["train"]["loss"] < stats[1]["train"]["loss"]


def test_alignment_checkpoint_names_the_llm_and_does_not_hold_it(align_exp, llm_dir):
    state = checkpoints.load(align_exp / "valid.loss.ave.pth")
    assert state["_extra_state"]["llm"] == str(llm_dir)
    assert {key.split(".")[0] for key in state} == {"speech_encoder", "adapter", "_extra_state"}


def test_alignment_starts_from_the_ctc_encoder(data, ctc_exp, llm_dir, tmp_path):
    init = f"{ctc_exp}/valid.loss.ave.pth"
    frozen = dict(max_epoch=1, freeze_param=["speech_encoder"])
    cmd = task_options(data, tmp_path, "response_ids,response,text_int", **frozen)
    AudioLLMTask.main(cmd=[*cmd, "--llm", str(llm_dir), "--init_ctc", init])
    before, after = (
        checkpoints.load(path) for path in (ctc_exp / "valid.loss.ave.pth", tmp_path / "1epoch.pth")
    )
    for key, weight in before.items():
        if key.startswith("speech_encoder"):
            assert torch.equal(weight, after[key]), key


def aligned_model(align_exp, llm_dir, change_llm=False):
    from espnet_audiollm.model import llm as llms

    llm = llms.load(str(llm_dir))
    if change_llm:
        with torch.no_grad():
            llm.model.lm_head.weight[3, 4] += 1
        llm = wrap(llm.model, llm.tokenizer, "another")
    return AudioLLMTask.build_model(read_config(align_exp), llm)


def test_the_llm_is_unchanged_and_the_checkpoint_loads(align_exp, llm_dir):
    model = aligned_model(align_exp, llm_dir)
    load_weights(model, align_exp / "valid.loss.best.pth")
    saved = checkpoints.load(align_exp / "valid.loss.best.pth")
    assert torch.equal(model.adapter.project.weight, saved["adapter.project.weight"])


def test_a_checkpoint_of_another_llm_is_refused(align_exp, llm_dir):
    model = aligned_model(align_exp, llm_dir, change_llm=True)
    with pytest.raises(ValueError, match="was trained with the LLM"):
        load_weights(model, align_exp / "valid.loss.best.pth")


def test_a_checkpoint_of_another_configuration_is_refused(ctc_exp):
    config = read_config(ctc_exp)
    config.encoder_conf = {**config.encoder_conf, "linear_units": 24}
    with pytest.raises(ValueError, match="another configuration.*of another shape .*first"):
        load_weights(CTCTask.build_model(config), ctc_exp / "valid.loss.best.pth")


def test_code_in_a_checkpoint_is_not_run(data, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="cannot be read"):
        checkpoints.load(tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="cannot be read"):
        cmd = ctc_options(data, tmp_path / "exp", max_epoch=1)
        CTCTask.main(cmd=[*cmd, "--init_param", str(tmp_path / "evil.pth")])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": "konformer"}, "--encoder konformer: unknown; choose one of conformer"),
        ({"encoder_conf": {"blocks": 3}}, "--encoder_conf .*blocks"),
    ],
)
def test_wrong_options_are_named(data, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        CTCTask.main(cmd=ctc_options(data, tmp_path, max_epoch=1, **change))


def test_bfloat16_sees_every_update():
    """Autocast caches what it casts; the cache must not outlive a step."""
    from espnet_audiollm.train.wrapping import CPUAutocast

    line = torch.nn.Linear(1, 1, bias=False)
    model = CPUAutocast(line)
    with torch.cuda.amp.autocast(enabled=False):  # as ESPnet's loop does around each step
        for value in (1.0, 2.0):
            with torch.no_grad():
                line.weight.fill_(value)
            assert model(input=torch.ones(1, 1)).item() == value


def test_statistics_without_a_model(data, tmp_path):
    """Lengths for the batches; the LLM is not even looked for."""
    cmd = task_options(data, tmp_path, "response_ids,response,text_int")
    AudioLLMTask.main(cmd=[*cmd, "--llm", "nowhere", "--collect_stats", "true"])
    lengths = (tmp_path / "train" / "speech_shape").read_text().split()
    assert lengths == [word for i in range(8) for word in (f"u{i}", str(9_000 + 700 * i))]
    assert (tmp_path / "valid" / "response_shape").read_text().startswith("u0 3\n")


def test_statistics_of_features_for_global_mvn(data, tmp_path):
    """Stage 4, then a model that normalises by what it left."""
    stats = tmp_path / "stats" / "train" / "feats_stats.npz"
    conf = dict(normalize="global_mvn", normalize_conf={"stats_file": str(stats)})
    collected = ctc_options(data, tmp_path / "stats", **conf)
    CTCTask.main(cmd=[*collected, "--collect_stats", "true"])
    sums = np.load(stats)
    frames = sum((9_000 + 700 * i - 400) // 160 + 1 for i in range(8))
    assert sums["count"] == frames and sums["sum"].shape == (80,)
    CTCTask.main(cmd=ctc_options(data, tmp_path / "exp", max_epoch=1, **conf))
    state = checkpoints.load(tmp_path / "exp" / "1epoch.pth")
    mean = state["speech_encoder.normalize.mean"]
    torch.testing.assert_close(mean, torch.from_numpy(sums["sum"] / frames).to(mean))


def test_responses_of_another_llm_are_refused(data, llm_dir, tmp_path):
    store = tmp_path / "responses"
    store.mkdir()
    (store / "response_ids").write_text((data / "response_ids").read_text())
    about = {"fingerprint": "f", "chat_template_hash": "c", "system_prompt": None}
    (store / "store.json").write_text(json.dumps(about))
    cmd = task_options(data, tmp_path / "exp", "response_ids,response,text_int", max_epoch=1)
    cmd = [word.replace(f"{data}/response_ids", f"{store}/response_ids") for word in cmd]
    with pytest.raises(ValueError, match="made with another LLM, another chat template"):
        AudioLLMTask.main(cmd=[*cmd, "--llm", str(llm_dir)])
