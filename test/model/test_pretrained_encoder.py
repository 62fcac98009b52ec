"""Pretrained encoders of every architecture, through the loading code, on random weights."""

import json
import shutil

import numpy as np
import pytest
import torch
from pretrained_encoders import ENCODERS, save_encoder
from safetensors.torch import load_file, save_file
from tiny_models import noise
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    HubertForCTC,
    Wav2Vec2BertForCTC,
    Wav2Vec2ForCTC,
)

from espnet_audiollm.model.pretrained_encoder import PretrainedEncoder
from espnet_audiollm.model.speech_encoder import SpeechEncoder
from espnet_audiollm.train.loading import load_state

LENGTHS = (16_000, 4_321, 9_999, 700, 390)


@pytest.fixture(scope="module", params=ENCODERS)
def directory(request, tmp_path_factory):
    return save_encoder(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def hubert(tmp_path_factory):
    return save_encoder("hubert_large", tmp_path_factory.mktemp("hubert"))


@pytest.fixture
def copy(hubert, tmp_path):
    return shutil.copytree(hubert, tmp_path / "copy")


def speech_encoder(directory, **options) -> SpeechEncoder:
    return SpeechEncoder(None, None, None, PretrainedEncoder(str(directory), **options))


@pytest.mark.parametrize("train", [True, False])
def test_an_utterance_does_not_see_its_batch(directory, train):
    encoder = speech_encoder(directory).train(train)
    speech_BN, lengths_B = noise(*LENGTHS, dtype=torch.float32)
    speech_BN[1, LENGTHS[1] :] = 9.0  # what is there is padding, whatever it is
    batched_BTD, frames_B = encoder(speech_BN, lengths_B)
    assert batched_BTD.shape[1] == frames_B.max()
    assert batched_BTD[0].std() > 0.1
    for i, n in enumerate(LENGTHS):
        single_1TD, frames_1 = encoder(speech_BN[i : i + 1, :n], lengths_B[i : i + 1])
        assert frames_1.item() == frames_B[i].item() == single_1TD.shape[1]
        torch.testing.assert_close(
            batched_BTD[i, : frames_B[i]], single_1TD[0], atol=1e-5, rtol=1e-5
        )
        assert not batched_BTD[i, frames_B[i] :].any()


def test_gradients_do_not_see_the_batch(directory):
    encoder = speech_encoder(directory).double()
    speech_BN, lengths_B = noise(*LENGTHS)

    def gradients(batches):
        encoder.zero_grad()
        for speech, lengths in batches:
            encoder(speech, lengths)[0].square().sum().backward()
        return {n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None}

    together = gradients([(speech_BN, lengths_B)])
    single = gradients([(speech_BN[i : i + 1, :n], lengths_B[i : i + 1])
                        for i, n in enumerate(LENGTHS)])  # fmt: skip
    assert together.keys() == single.keys() and len(together) > 30
    for name in together:
        torch.testing.assert_close(together[name], single[name], atol=1e-6, rtol=1e-5)


def test_one_utterance_is_what_transformers_makes_of_it(directory):
    """Its own feature extractor and model, on an utterance by itself, without a mask."""
    speech_1N, lengths_1 = noise(9_600, dtype=torch.float32)
    extractor, model = (c.from_pretrained(directory) for c in (AutoFeatureExtractor, AutoModel))
    given = extractor([speech_1N[0].numpy()], sampling_rate=16_000, return_tensors="pt")
    given = given.get("input_features", given.get("input_values"))
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    with torch.no_grad():
        theirs_1TD = model.eval()(given).last_hidden_state
        ours_1TD, frames_1 = speech_encoder(directory).eval()(speech_1N, lengths_1)
    assert frames_1.tolist() == [ours_1TD.shape[1]]
    assert ours_1TD.shape[1] in (29, 30)  # 0.6 s at 50 Hz; windows at the end are not padded
    torch.testing.assert_close(ours_1TD, theirs_1TD[:, : ours_1TD.shape[1]], atol=2e-4, rtol=1e-3)


def test_fifty_frames_a_second(directory):
    assert speech_encoder(directory).frames_per_second == 50


def test_bfloat16_does_not_touch_the_features(directory):
    encoder = PretrainedEncoder(str(directory)).eval()
    speech_BN, lengths_B = noise(9_600, 4_000, dtype=torch.float32)
    exact = encoder.network.extract(speech_BN, lengths_B)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(encoder.network.extract(speech_BN, lengths_B), exact)
        rough_BTD, _, _ = encoder(speech_BN, lengths_B)
    assert rough_BTD.isfinite().all()


@pytest.mark.parametrize(
    ("name", "head"),
    [("hubert", HubertForCTC), ("wav2vec2", Wav2Vec2ForCTC), ("w2vbert", Wav2Vec2BertForCTC)],
)
def test_what_is_on_top_is_left_out(tmp_path, name, head):
    """A fine-tuned model has other names of weights, and one layer more."""
    plain = save_encoder(name, tmp_path / "plain")
    shutil.copytree(plain, tmp_path / "head")
    head.from_pretrained(plain, vocab_size=7).save_pretrained(tmp_path / "head")
    assert (
        load_file(plain / "model.safetensors").keys()
        != load_file(tmp_path / "head/model.safetensors").keys()
    )
    speech = noise(9_600, dtype=torch.float32)
    ours, theirs = (
        speech_encoder(tmp_path / each).eval()(*speech)[0] for each in ("plain", "head")
    )
    assert torch.equal(ours, theirs)


def test_whisper_without_its_decoder(tmp_path):
    full = save_encoder("whisper", tmp_path / "full")
    shutil.copytree(full, tmp_path / "encoder")
    weights = load_file(full / "model.safetensors")
    weights = {k.removeprefix("model."): v for k, v in weights.items() if "decoder" not in k}
    save_file(weights, tmp_path / "encoder/model.safetensors", {"format": "pt"})
    speech = noise(9_600, dtype=torch.float32)
    ours, theirs = (
        speech_encoder(tmp_path / each).eval()(*speech)[0] for each in ("full", "encoder")
    )
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["hubert", "wav2vec2"])
def test_weight_norm_under_its_earlier_names(tmp_path, name):
    """As in what was published before torch had parametrizations."""
    new = save_encoder(name, tmp_path / "new")
    shutil.copytree(new, tmp_path / "old")
    earlier = {"parametrizations.weight.original0": "weight_g"}
    earlier["parametrizations.weight.original1"] = "weight_v"
    weights = load_file(new / "model.safetensors")
    for key in list(weights):
        for now, before in earlier.items():
            if now in key:
                weights[key.replace(now, before)] = weights.pop(key)
    assert any(key.endswith("weight_g") for key in weights)
    save_file(weights, tmp_path / "old/model.safetensors", {"format": "pt"})
    speech = noise(9_600, dtype=torch.float32)
    ours, theirs = (speech_encoder(tmp_path / each).eval()(*speech)[0] for each in ("new", "old"))
    assert torch.equal(ours, theirs)


def test_it_can_end_at_a_layer(directory):
    speech_BN, lengths_B = noise(9_600, dtype=torch.float32)
    outputs = []
    for layer in (1, 2, 3, None):
        encoder = PretrainedEncoder(str(directory), layer=layer).eval()
        model = encoder.network.model
        assert len(getattr(model, "encoder", model).layers) == (layer or 3)
        outputs.append(encoder(speech_BN, lengths_B)[0])
    assert torch.equal(outputs[2], outputs[3])
    assert not torch.allclose(outputs[0], outputs[1]) and not torch.allclose(outputs[1], outputs[2])
    with pytest.raises(ValueError, match="layer=4.*layers 1 to 3"):
        PretrainedEncoder(str(directory), layer=4)


def test_a_trained_one_is_in_the_checkpoint(hubert):
    first, second = speech_encoder(hubert), speech_encoder(hubert)
    with torch.no_grad():
        for weight in first.parameters():
            weight += 1
    load_state(second, first.state_dict(), "checkpoint")
    assert all(map(torch.equal, first.parameters(), second.parameters()))


def test_a_frozen_one_is_named_by_its_fingerprint(hubert, copy):
    encoder = speech_encoder(hubert, train=False)
    state = encoder.state_dict()
    assert [key for key in state if isinstance(state[key], torch.Tensor)] == []
    assert not list(encoder.parameters())
    encoder.train().double()
    x_BTD, _ = encoder(*noise(9_600, 4_000))
    assert x_BTD.dtype == torch.float64 and not x_BTD.requires_grad
    load_state(speech_encoder(copy, train=False), state, "checkpoint")  # the same, elsewhere
    weights = load_file(copy / "model.safetensors")
    weights["encoder.layer_norm.bias"] += 1
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="trained with the encoder in .* has another"):
        load_state(speech_encoder(copy, train=False), state, "checkpoint")
    with pytest.raises(ValueError, match="None: a trained one"):
        load_state(speech_encoder(hubert, train=False), {"encoder._extra_state": {
            "directory": "d", "fingerprint": None}}, "checkpoint")  # fmt: skip


def test_dropout_is_off_in_a_frozen_one(hubert, copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "hidden_dropout": 0.5}))
    speech = noise(9_600, dtype=torch.float32)
    for train in (True, False):
        encoder = speech_encoder(copy, train=train).train()
        assert torch.equal(encoder(*speech)[0], encoder(*speech)[0]) is not train


def change(directory, file, **values):
    path = directory / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def remove_weights(directory):
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(b"not read")


def drop_a_weight(directory):
    weights = load_file(directory / "model.safetensors")
    del weights["encoder.layers.1.final_layer_norm.bias"]
    save_file(weights, directory / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_weights, "has no weights"),
        (drop_a_weight, "lacks 1 weights.*final_layer_norm.bias"),
        (lambda d: change(d, "config.json", model_type="mimi"), "mimi; .* known: whisper, hubert"),
        (lambda d: (d / "config.json").unlink(), "is no encoder in Hugging Face form.*: whisper"),
        (lambda d: change(d, "preprocessor_config.json", sampling_rate=8_000), "8000 Hz"),
        (lambda d: (d / "preprocessor_config.json").unlink(), "feature extractor"),
        (lambda d: change(d, "config.json", conv_pos_batch_norm=True), "conv_pos_batch_norm|lacks"),
        (lambda d: (d / "model.safetensors").write_bytes(b"x" * 99), "cannot load the weights"),
        (shutil.rmtree, "does not exist.*directory=DIR"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(copy, damage, message):
    damage(copy)
    with pytest.raises(ValueError, match=message) as caught:
        PretrainedEncoder(str(copy))
    assert "\n" not in str(caught.value)


def test_whisper_refuses_what_is_longer_than_it_reads(tmp_path):
    encoder = speech_encoder(save_encoder("whisper", tmp_path))  # of 2 s
    assert encoder(*noise(32_000, dtype=torch.float32))[1].tolist() == [100]
    with pytest.raises(ValueError, match="2 of 3 utterances .* 32000 samples"):
        encoder(*noise(32_001, 400, 40_000, dtype=torch.float32))


def test_silence_is_finite(directory):
    x_BTD, _ = speech_encoder(directory).eval()(torch.zeros(1, 8_000), torch.tensor([8_000]))
    assert np.isfinite(x_BTD.detach().numpy()).all()


def test_code_in_a_directory_is_not_run(tmp_path):
    place, trace = save_encoder("hubert", tmp_path / "encoder"), tmp_path / "it_ran"
    (place / "evil.py").write_text(f"open({str(trace)!r}, 'w')\n")
    classes = {"AutoConfig": "evil.C", "AutoModel": "evil.M", "AutoFeatureExtractor": "evil.F"}
    for name in ("config.json", "preprocessor_config.json"):
        change(place, name, auto_map=classes)
    assert speech_encoder(place).frames_per_second == 50
    assert not trace.exists()
