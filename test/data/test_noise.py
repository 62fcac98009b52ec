"""Noise: levels measured from samples, rooms from their decay, chance only from seed and id."""

import numpy as np
import pytest
import soundfile

from espnet_audiollm.data import noise
from espnet_audiollm.types import SAMPLE_RATE, Utterance


def tone(seconds, hertz=440.0, amplitude=0.2):
    at = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return amplitude * np.sin(2 * np.pi * hertz * at)


@pytest.fixture
def utterances(tmp_path):
    """Six tones of three speakers, each with silence around it."""
    made = []
    for number in range(6):
        path = tmp_path / f"u{number}.wav"
        silence = np.zeros(15 * noise.FRAME)
        samples = [silence, tone(0.5 + 0.1 * number, 200.0 * (number + 1)), silence]
        soundfile.write(path, np.concatenate(samples), SAMPLE_RATE)
        made.append(Utterance(f"u{number}", str(path), f"s{number % 3}"))
    return made


def decibel(ratio):
    return 10 * np.log10(ratio)


def test_silence_around_speech_does_not_count():
    speech = tone(1.0)
    padded = np.concatenate([np.zeros(8000), speech, np.zeros(24_000)])
    assert noise.active_power(speech) == pytest.approx(0.02)  # 0.2 ** 2 / 2
    assert noise.active_power(padded) == pytest.approx(0.02)
    assert noise.active_power(np.zeros(500)) == 0.0
    assert noise.active_power(tone(0.005)) > 0  # shorter than a frame


def test_quiet_frames_count_until_30_db_below():
    # 20 ms frames of power 1, 10^-2.9 and 10^-3.1: the last is not active.
    levels = np.repeat([1.0, 10**-1.45, 10**-1.55], noise.FRAME)
    assert noise.active_power(levels) == pytest.approx((1 + 10**-2.9) / 2)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 20.0])
def test_snr_is_what_was_asked_for(snr_db):
    speech = np.concatenate([np.zeros(16_000), tone(1.0)])
    drawn = np.random.default_rng(0).standard_normal(32_000)
    added = noise.mix(speech, drawn, snr_db) - speech
    assert decibel(0.02 / np.mean(added**2)) == pytest.approx(snr_db, abs=1e-9)


@pytest.mark.parametrize("kind", ["white", "babble", "files"])
def test_snr_in_what_a_test_set_hears(utterances, tmp_path, kind):
    where = f":{tmp_path}" if kind == "files" else ""
    add = noise.adder(noise.parse(f"{kind}{where}:6"), utterances, seed=1)
    for utt in utterances:
        clean, _ = soundfile.read(utt.audio)
        noisy, scale = add(utt)
        assert scale == 1.0 and len(noisy) == len(clean)
        assert decibel(0.02 / np.mean((noisy - clean) ** 2)) == pytest.approx(6.0, abs=0.01)


def test_chance_is_only_of_seed_and_id(utterances):
    clean, _ = soundfile.read(utterances[3].audio)

    def added(text, seed=0, before=()):
        add = noise.adder(noise.parse(text), utterances, seed)
        for utt in before:
            add(utt)
        return add(utterances[3])[0] - clean

    for kind in ("white", "babble"):
        quiet = added(f"{kind}:30")
        assert np.array_equal(added(f"{kind}:30", before=utterances), quiet)
        assert np.allclose(added(f"{kind}:10"), 10 * quiet, atol=1e-6)  # the same noise, louder
        assert not np.allclose(added(f"{kind}:30", seed=1), quiet)


def test_babble_is_of_other_speakers(utterances):
    """Each speaker's tones are its own, so a spectrum tells who speaks."""
    babble = noise.Babble(utterances)
    drawn = babble.draw(SAMPLE_RATE, utterances[0], np.random.default_rng(0))  # s0: 200, 800 Hz
    spectrum = np.abs(np.fft.rfft(drawn)) ** 2  # 1 Hz a bin

    def share(hertz):
        return spectrum[hertz - 20 : hertz + 21].sum() / spectrum.sum()

    assert share(200) + share(800) < 0.01
    assert min(share(400) + share(1000), share(600) + share(1200)) > 0.2  # s1 and s2, both


def test_voices_of_babble_are_equally_loud(tmp_path):
    utts = [Utterance("x", "", "listener")]
    for hertz, amplitude in ((3000.0, 0.9), (300.0, 0.009)):  # 40 dB apart
        path = tmp_path / f"{hertz}.wav"
        soundfile.write(path, tone(1.0, hertz, amplitude), SAMPLE_RATE)
        utts.append(Utterance(path.name, str(path), path.name))
    drawn = noise.Babble(utts).draw(SAMPLE_RATE, utts[0], np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(drawn)) ** 2
    # Three voices of each speaker, in whatever phases: at most a factor of 9 from one to the other.
    assert 0.1 < spectrum[2900:3100].sum() / spectrum[200:400].sum() < 10


def test_room_response_has_its_decay_and_its_direct_sound():
    for rt60, drr_db in ((0.3, 3.0), (0.6, 0.0), (1.2, -6.0)):
        response = noise.room_response(rt60, drr_db, np.random.default_rng(0))
        direct, rest = response[:40], response[40:]  # 2.5 ms
        assert np.flatnonzero(direct).tolist() == [0] and direct[0] == 1.0
        assert decibel(np.sum(direct**2) / np.sum(rest**2)) == pytest.approx(drr_db, abs=1e-6)
        # Schroeder's backward integration; RT60 from the line through -5 and -35 dB (T30).
        decay = decibel(np.cumsum(rest[::-1] ** 2)[::-1] / np.sum(rest**2))
        between = np.flatnonzero((decay < -5) & (decay > -35))
        slope = np.polyfit(between / SAMPLE_RATE, decay[between], 1)[0]  # dB/s
        assert -60 / slope == pytest.approx(rt60, rel=0.05)


def test_room_is_the_sum_of_echoes(utterances):
    samples = np.random.default_rng(0).standard_normal(1000)
    response = np.random.default_rng(1).standard_normal(300)
    assert np.allclose(noise.convolve(samples, response), np.convolve(samples, response)[:1000])
    noisy, _ = noise.adder(noise.parse("room:0.4:0"), utterances, 0)(utterances[0])
    clean, _ = soundfile.read(utterances[0].audio)
    assert len(noisy) == len(clean)
    echo = noisy[12_800:]  # the tone ended at 0.8 s
    assert np.sum(clean[12_800:] ** 2) == 0 and 10 * np.mean(echo[:800] ** 2) > 0.02
    assert np.mean(echo[:800] ** 2) > 100 * np.mean(echo[-800:] ** 2)


def test_what_would_clip_is_scaled_throughout():
    samples, scale = noise.without_clipping(np.array([0.5, -2.0, 1.0]))
    assert scale == pytest.approx(0.495)
    assert samples == pytest.approx([0.2475, -0.99, 0.495])
    untouched, scale = noise.without_clipping(np.array([0.5, -0.98]))
    assert scale == 1.0 and untouched.tolist() == [0.5, -0.98]


def test_noises_by_name():
    assert noise.parse("babble:-5") == noise.Noise("babble", -5.0)
    assert noise.parse("files:C:/x:y:10") == noise.Noise("files", 10.0, directory="C:/x:y")
    assert noise.parse("room") == noise.Noise("room", rt60=0.6, drr_db=0.0)
    assert noise.parse("room:0.9:-3").as_dict() == {
        "kind": "room", "snr_db": None, "rt60": 0.9, "drr_db": -3.0,
    }  # fmt: skip
    assert noise.parse("babble:0").as_dict() == {"kind": "babble", "snr_db": 0.0, "voices": 6}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("babel:10", "'babel:10' is no noise: give babble:SNR"),
        ("babble", "is no noise"),
        ("white:1:2", "is no noise"),
        ("white:loud", "'loud' is no number"),
        ("white:nan", "nan dB SNR is not between -30 and 60"),
        ("babble:99", "99 dB SNR is not between -30 and 60"),
        ("room:0.6", "is no noise"),
        ("room:0:0", "0 s RT60 is not between 0.05 and 5"),
        ("room:1:99", "99 dB DRR is not between -30 and 40"),
    ],
)
def test_what_is_no_noise(text, message):
    with pytest.raises(ValueError, match=message):
        noise.parse(text)


def test_sets_without_such_noise(utterances, tmp_path):
    with pytest.raises(ValueError, match=r"all 2 utterances are of one \(s0\)"):
        noise.adder(noise.parse("babble:0"), [utterances[0], utterances[3]], 0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no .wav or .flac file is there"):
        noise.adder(noise.parse(f"files:{tmp_path}/empty:0"), utterances, 0)
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(1600), SAMPLE_RATE)
    add = noise.adder(noise.parse("white:0"), utterances, 0)
    with pytest.raises(ValueError, match="x .*the recording is silent"):
        add(Utterance("x", str(silent), "s"))
