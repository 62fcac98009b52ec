"""Codecs: units of the first codebooks, what they depend on, and back to a waveform."""

import json

import numpy as np
import pytest
import torch
from codecs_of_tests import CODECS, save_codec

from espnet_audiollm.model.codec import check_levels, load_codec

WAVE = np.random.default_rng(0).normal(0, 0.1, 8_000).astype(np.float32)  # half a second
RATES = {"dac": 200.0, "mimi": 150.0, "encodec": 300.0}


@pytest.fixture(scope="module")
def codecs(tmp_path_factory):
    place = tmp_path_factory.mktemp("codecs")
    return {name: load_codec(save_codec(name, place / name)) for name in CODECS}


@pytest.mark.parametrize("name", CODECS)
def test_units_are_those_of_the_model(codecs, name):
    codec = codecs[name]
    assert codec.frames_per_second == RATES[name] and (codec.most, codec.size) == (4, 16)
    units = codec.units(WAVE, 4)
    assert len(units) == 4 and len(set(map(len, units))) == 1
    assert len(units[0]) == pytest.approx(RATES[name] / 2, abs=2)
    assert all(len(set(level)) > 1 for level in units) and max(map(max, units)) < 16
    assert [codec.units(WAVE, n) for n in (1, 2, 3)] == [units[:n] for n in (1, 2, 3)]
    if name == "dac":  # of 16 kHz: nothing is resampled
        with torch.no_grad():
            theirs = codec.model.encode(torch.from_numpy(WAVE)[None, None]).audio_codes
        assert theirs[0].tolist() == units


@pytest.mark.parametrize("name", CODECS)
def test_units_become_a_waveform_again(codecs, name):
    codec = codecs[name]
    units = codec.units(WAVE, 4)
    wave = codec.wave(units)
    assert wave.dtype == np.float32 and np.isfinite(wave).all()
    assert len(wave) == pytest.approx(8_000, abs=16_000 * 3 / RATES[name])
    first = codec.wave(units[:1])
    assert len(first) == len(wave) and not np.allclose(first, wave)
    with torch.no_grad():
        rows = torch.tensor([units])
        if name == "encodec":
            theirs = codec.model.decode(rows[None], [None]).audio_values
        elif name == "mimi":
            theirs = codec.model.decode(rows).audio_values
        else:
            theirs = codec.model.decode(audio_codes=rows).audio_values
    assert theirs.numel() == pytest.approx(len(wave) * codec.rate / 16_000, abs=2)


@pytest.mark.parametrize("name", CODECS)
def test_a_recording_shorter_than_a_frame_has_one(codecs, name):
    units = codecs[name].units(WAVE[:10], 2)
    assert len(units) == 2 and len(units[0]) >= 1


def test_codebooks_decide_the_fingerprint(codecs, tmp_path):
    assert len({codec.fingerprint for codec in codecs.values()}) == 3
    for name, codec in codecs.items():
        place = tmp_path / name
        codec.model.save_pretrained(place)
        assert load_codec(place).fingerprint == codec.fingerprint
    other = codecs["encodec"].model
    for key, buffer in other.named_buffers():
        if key.endswith("0.codebook.embed"):
            before = buffer[0].clone()
            buffer[0] += 1.0
            other.save_pretrained(tmp_path / "edited")
            buffer[0] = before
    assert load_codec(tmp_path / "edited").fingerprint != codecs["encodec"].fingerprint


def test_levels_that_a_codec_has_not(codecs):
    for levels in (0, 5):
        with pytest.raises(ValueError, match=f"--levels {levels}.*DIR has 1 to 4 codebooks"):
            check_levels(codecs["dac"], levels, "DIR")


def remove_weights(place):
    for path in place.glob("*.safetensors"):
        path.unlink()


def pickled(place):
    remove_weights(place)
    (place / "pytorch_model.bin").write_bytes(b"x")


def change(place, **facts):
    path = place / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


@pytest.mark.parametrize(
    "damage, says",
    [
        (remove_weights, "has no weights"),
        (pickled, "has no weights.*pickled"),
        (
            lambda d: (d / "config.json").unlink(),
            "dac is no codec in Hugging Face form.*: dac, mimi",
        ),
        (lambda d: change(d, model_type="hubert"), "hubert; codecs.*: dac, mimi, encodec"),
        (lambda d: change(d, model_type="mimi"), "lacks .* weights of its codec|cannot load"),
        (lambda d: (d / "config.json").write_text("{"), "damaged.*download the codec again"),
        (lambda d: (d / "model.safetensors").write_bytes(b"x" * 99), "cannot load the weights"),
    ],
)
def test_damage_is_one_sentence(tmp_path, damage, says):
    place = save_codec("dac", tmp_path / "dac")
    damage(place)
    with pytest.raises(ValueError, match=says) as error:
        load_codec(place)
    assert "\n" not in str(error.value)


def test_directories_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="does not exist: give codec:DIR"):
        load_codec(tmp_path / "gone")
    scaled = save_codec("encodec", tmp_path / "scaled", normalize=True)
    with pytest.raises(ValueError, match="a scale for each.*24 kHz"):
        load_codec(scaled)


def test_no_code_of_the_directory_runs(tmp_path):
    place = save_codec("dac", tmp_path / "dac")
    (place / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    change(place, auto_map={"AutoConfig": "evil.C", "AutoModel": "evil.M"})
    load_codec(place)
    assert not (tmp_path / "ran").exists()
