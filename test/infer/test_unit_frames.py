"""Frames for units: of patches, of our conformer's layer, of a Hugging Face model's."""

import dataclasses
import shutil

import pytest
import torch
from pretrained_encoders import save_encoder
from tiny_models import noise

from espnet_audiollm.data.audio import read_mono_16k
from espnet_audiollm.infer.unit_frames import choose, load_frames, load_frames_of
from espnet_audiollm.model.frontend import Filterbank
from espnet_audiollm.model.patches import LogMelPatches
from espnet_audiollm.types import Utterance
from espnet_audiollm.units.quantiser import Quantiser
from espnet_audiollm.units.sources import Source


@pytest.fixture(scope="session")
def utterances(data):
    return [Utterance(f"u{i}", f"{data}/u{i}.wav", "s", duration=0.6) for i in (0, 3, 7)]


def source_of(kind, ctc_exp, place):
    if kind == "hf":
        return Source("hf", str(save_encoder("hubert", place / "hubert")), 2)
    return Source(kind, str(ctc_exp) if kind == "ctc" else "", {"ctc": 1, "fbank": 4}[kind])


def test_patches_by_hand():
    wave_BN, lengths_B = noise(400 + 160 * 5, 400 + 160 * 3)  # 6 and 4 frames
    mel_BFM, _ = Filterbank()(wave_BN, lengths_B)
    patches, numbers = LogMelPatches(4)(wave_BN, lengths_B)
    assert numbers.tolist() == [2, 1] and patches.shape == (2, 2, 320)
    last = torch.cat([mel_BFM[0, 4], *[mel_BFM[0, 5]] * 3])  # filled with the last frame
    torch.testing.assert_close(patches[0, 1], last - last.mean())
    first = mel_BFM[1, :4].flatten()
    torch.testing.assert_close(patches[1, 0], first - first.mean())
    assert not patches[1, 1].any()


def test_loudness_does_not_matter_to_patches():
    wave_BN, lengths_B = noise(8_000)
    quiet, loud = (LogMelPatches()(wave_BN * gain, lengths_B)[0] for gain in (1.0, 3.0))
    torch.testing.assert_close(quiet, loud)


@pytest.mark.parametrize("kind", ["ctc", "hf", "fbank"])
def test_frames_do_not_depend_on_the_batch(kind, ctc_exp, utterances, tmp_path):
    frames = load_frames(source_of(kind, ctc_exp, tmp_path))
    together = frames(utterances)
    for utterance, x_TC in zip(utterances, together, strict=True):
        [single] = frames([utterance])
        torch.testing.assert_close(single, x_TC, atol=1e-4, rtol=1e-4)
        seconds = len(read_mono_16k(utterance.audio)) / 16_000
        assert len(x_TC) == pytest.approx(seconds * frames.frames_per_second, abs=1.5)


def test_a_layer_is_what_the_complete_encoder_computes_there(ctc_exp, utterances):
    from espnet_audiollm.infer.batches import read_batch
    from espnet_audiollm.tasks.ctc import CTCTask
    from espnet_audiollm.train.loading import load_weights, read_config

    model = CTCTask.build_model(read_config(ctc_exp)).eval()
    load_weights(model, ctc_exp / "valid.loss.ave.pth")
    seen = []
    model.speech_encoder.encoder.layers[0].register_forward_hook(lambda *a: seen.append(a[2]))
    with torch.no_grad():
        model.speech_encoder(*read_batch(utterances))
    frames = load_frames(Source("ctc", str(ctc_exp)))  # one layer: the middle one
    assert frames.source.number == 1 and frames.frames_per_second == 12.5
    for row, x_TC in zip(seen[0], frames(utterances), strict=True):
        torch.testing.assert_close(row[: len(x_TC)], x_TC)


def test_wrong_sources_are_refused(ctc_exp, tmp_path):
    with pytest.raises(ValueError, match="layers 1 to 1"):
        load_frames(Source("ctc", str(ctc_exp), 2))
    with pytest.raises(ValueError, match="not a trained experiment"):
        load_frames(Source("ctc", str(tmp_path), 1))
    with pytest.raises(ValueError, match="does not exist"):
        load_frames(Source("hf", str(tmp_path / "gone"), 1))
    with pytest.raises(ValueError, match="hubert:4 cannot be read.*layers 1 to 3"):
        load_frames(Source("hf", str(save_encoder("hubert", tmp_path / "hubert")), 4))
    for weights in (tmp_path / "hubert").glob("*.safetensors"):
        weights.unlink()
    with pytest.raises(ValueError, match="no weights"):
        load_frames(Source("hf", str(tmp_path / "hubert"), 1))


def test_a_quantiser_wants_the_encoder_of_then(ctc_exp, tmp_path):
    frames = load_frames(Source("ctc", str(ctc_exp), 1))
    one_C = torch.ones(16)
    made = Quantiser(
        frames.source, frames.checkpoint, frames.encoder, 12.5, torch.eye(16), one_C, one_C
    )
    moved = shutil.copytree(ctc_exp, tmp_path / "moved")
    assert load_frames_of(made, str(moved)).encoder == frames.encoder
    other = dataclasses.replace(made, encoder="0" * 64)
    with pytest.raises(ValueError, match="other weights.*000000000000.*bin/learn_units"):
        load_frames_of(other, None)


def test_the_choice_depends_on_ids_and_seed_only():
    all_ = [Utterance(f"u{i}", "", "") for i in range(2000)]
    chosen = {utt.id for utt in choose(all_, 0.25, seed=1)}
    assert 400 < len(chosen) < 600
    assert {utt.id for utt in choose(all_[500:], 0.25, seed=1)} == chosen - {
        utt.id for utt in all_[:500]
    }
    assert {utt.id for utt in choose(all_, 0.25, seed=2)} != chosen
    with pytest.raises(ValueError, match="no utterance was chosen"):
        choose(all_[:3], 0.0, seed=1)
