"""Perplexity against WER over noises: curves and crossings worked out by hand."""

import json
import math

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from espnet_audiollm.report import sweep as sweep_report
from espnet_audiollm.score import sweep
from espnet_audiollm.score.noisy import NoisyCopy, read_noisy
from espnet_audiollm.score.results import score
from espnet_audiollm.score.test_set import References, TestSet
from espnet_audiollm.store.runs import Run, RunInfo
from espnet_audiollm.store.series import Series

TOKENS = np.array([4, 2, 6, 3])
IDS = tuple(f"utt{number}" for number in range(4))
TOKEN_IDS = Series(IDS, np.full(TOKENS.sum(), 7), TOKENS)
BABBLE = NoisyCopy("test", "babble", 0.0)


def run(tmp_path, kind, label, ppl, wer=None, spread=0.0, tilt=0.0):
    """A run whose nats a token are log(ppl), or differ by `spread` from utterance to another.
    wer: so many of each utterance's hundred words are wrong, in turn `tilt` more and less."""
    signs = np.array([1.0, -1.0, 1.0, -1.0])
    signs -= (signs @ TOKENS) / TOKENS.sum()
    each = dict(zip(IDS, math.log(ppl) + spread * signs, strict=True))
    tokens = dict(zip(IDS, map(int, TOKENS), strict=True))
    nats = {id: float(each[id] * tokens[id]) for id in IDS}
    token_nats = Series(IDS, np.repeat(list(each.values()), TOKENS), TOKENS)
    info = RunInfo(kind, label, "", "", "full", 1, "", "", None, "", "")
    hyp = None
    if wer is not None:
        hyp = {
            id: " ".join(["y"] * round(wer + tilt * sign) + ["x"] * round(100 - wer - tilt * sign))
            for id, sign in zip(IDS, (1, -1, 1, -1), strict=True)
        }
    said, reasons = dict.fromkeys(IDS, "yes"), dict.fromkeys(IDS, "stop")
    more = (said, TOKEN_IDS, reasons, {}, hyp, None, None)
    return Run(info, tmp_path / label, nats, tokens, token_nats, *more)


def results(tmp_path, name, cascades, audio, noisy=None, reference=None, spread=0.0, tilt=0.0):
    """Scored runs: cascades {WER: perplexity}, audio and reference perplexities."""
    runs = [
        run(tmp_path, "cascade", f"cascade {number}", ppl, wer, tilt=tilt)
        for number, (wer, ppl) in enumerate(cascades.items())
    ]
    runs.append(run(tmp_path, "audiollm", "AudioLLM", audio, spread=spread))
    if reference is not None:
        runs.append(run(tmp_path, "reference", "text", reference))
    references = References(IDS, dict.fromkeys(IDS, "yes"), TOKENS, TOKEN_IDS)
    texts = dict.fromkeys(IDS, " ".join(["x"] * 100))
    return score(TestSet(name, references, texts, noisy=noisy), runs, resamples=200)


@pytest.fixture
def everything(tmp_path):
    """Without noise perplexity doubles every 10 % of WER; under babble it is 2 ** 6 at 50 %."""
    clean = results(tmp_path, "test", {10.0: 2.0, 20.0: 4.0}, 2 * 2**0.5, reference=1.0)
    noisy = results(tmp_path, "test_babble0", {50.0: 64.0, 30.0: 8.0}, 512.0, BABBLE)
    return [clean, noisy]


def test_curve_is_of_all_conditions_and_the_transcript(everything):
    (found,) = sweep.sweeps(everything)
    assert [condition.name for condition in found.conditions] == ["no noise", "babble, 0 dB"]
    wer, log_ppl = sweep.curve(found, found.conditions)
    assert wer[:, 0].tolist() == [0, 10, 20, 30, 50]
    assert np.exp(log_ppl[:, 0]) == pytest.approx([1, 2, 4, 8, 64])
    assert log_ppl.shape == wer.shape == (5, 201)
    single, _ = sweep.curve(found, found.conditions[1:])
    assert single[:, 0].tolist() == [0, 30, 50]


def test_equal_wer_by_hand(everything):
    (found,) = sweep.sweeps(everything)
    clean, noisy = found.conditions
    equal = sweep.equal_wer(found, clean, clean.audio[0])
    assert equal.value == pytest.approx(15.0)  # 2 * sqrt(2), halfway from 2 to 4
    assert equal.ci95 == pytest.approx((15.0, 15.0))  # every utterance says the same
    beyond = sweep.equal_wer(found, noisy, noisy.audio[0])
    assert beyond.value == math.inf and str(beyond) == "> 50.0 [> 50.0, > 50.0]"
    assert beyond.as_dict()["wer"] is None and beyond.as_dict()["measured_wer"] == [0, 50]
    assert noisy.best.prompt_wer == 30.0  # of the lowest perplexity


def test_beyond_the_range_is_said(tmp_path):
    clean = results(tmp_path, "test", {10.0: 2.0}, 1.5)
    noisy = results(tmp_path, "test_babble0", {50.0: 64.0}, 1.5, BABBLE, spread=0.2)
    (found,) = sweep.sweeps([clean, noisy])
    equal = sweep.equal_wer(found, found.conditions[0], found.conditions[0].audio[0])
    assert str(equal) == "< 10.0 [< 10.0, < 10.0]"
    spread = sweep.equal_wer(found, found.conditions[1], found.conditions[1].audio[0])
    assert spread.value == -math.inf


def test_interval_widens_with_what_differs_between_utterances(tmp_path):
    clean = results(tmp_path, "test", {10.0: 2.0, 20.0: 4.0}, 2 * 2**0.5, spread=0.2)
    noisy = results(tmp_path, "test_babble0", {50.0: 64.0}, 2.0, BABBLE)
    (found,) = sweep.sweeps([clean, noisy])
    condition = found.conditions[0]
    equal = sweep.equal_wer(found, condition, condition.audio[0])
    low, high = equal.ci95
    assert equal.value == pytest.approx(15.0) and 11 < low < 14.5 and 15.5 < high < 19
    # The curve is exp(0.0693 WER): an interval of the perplexity is one of the WER.
    expected = [10 * math.log2(end) for end in condition.audio[0].perplexity.ci95]
    assert equal.ci95 == pytest.approx(expected, abs=0.3)


def test_interval_has_the_word_error_rates_of_each_resample(tmp_path):
    """AudioLLM says what the second cascade says: in each resample it equals that one's WER."""
    clean = results(tmp_path, "test", {10.0: 2.0, 30.0: 4.0}, 4.0, reference=1.0, tilt=8.0)
    noisy = results(tmp_path, "test_babble0", {80.0: 64.0}, 64.0, BABBLE, tilt=8.0)
    (found,) = sweep.sweeps([clean, noisy])
    condition = found.conditions[0]
    equal = sweep.equal_wer(found, condition, condition.audio[0])
    cascade = condition.row("cascade 1")
    assert equal.value == pytest.approx(30.0)
    assert equal.ci95 == pytest.approx(cascade.wer_ci95, abs=2)
    assert cascade.wer_ci95[0] < 26 and cascade.wer_ci95[1] > 34


def test_curve_that_falls_is_averaged_as_scipy_does():
    assert sweep.rising(np.array([1.0, 3.0, 2.0, 4.0])).tolist() == [1, 2.5, 2.5, 4]
    assert sweep.rising(np.array([3.0, 2.0, 1.0])).tolist() == [2, 2, 2]
    values = np.random.default_rng(0).normal(size=50) + np.linspace(0, 2, 50)
    assert sweep.rising(values) == pytest.approx(isotonic_regression(values).x)


def test_crossing_where_the_curve_is_flat_or_begins():
    wer, flat = np.array([0.0, 10.0, 20.0, 30.0]), np.array([0.0, 1.0, 1.0, 2.0])
    assert sweep.crossing(wer, flat, 0.0) == 0.0
    assert sweep.crossing(wer, flat, 1.0) == 10.0
    assert sweep.crossing(wer, flat, 1.5) == 25.0
    assert sweep.crossing(wer, flat, 2.0) == 30.0


def test_what_noise_does(everything):
    (found,) = sweep.sweeps(everything)
    noisy = found.conditions[1]
    cascade = sweep.worse(found, noisy, "cascade 0", "cascade 0")
    assert cascade.ratio == pytest.approx(64 / 2) and cascade.p_value is None
    audio = sweep.worse(found, noisy, "AudioLLM", "cascade 0")
    assert audio.ratio == pytest.approx(512 / 2**1.5)
    assert audio.p_value == pytest.approx(2 / 201)  # all draws agree


def test_tables_and_picture(everything):
    (part,) = sweep_report.parts(everything)
    main, equal, worse = (section.tables[0] for section in part.sections)
    assert main.header == ("Noise", "cascade's WER %", "best cascade, PPL", "AudioLLM, PPL")
    assert main.rows[1] == (
        "babble, 0 dB", "30.0 [30.0, 30.0]", "8.000 [8.000, 8.000]",
        "512.0 [512.0, 512.0] (p = 0.010)",
    )  # fmt: skip
    assert equal.rows[0] == (
        "no noise: AudioLLM", "2.828", "10.0 [10.0, 10.0]",
        "15.0 [15.0, 15.0]", "15.0 [15.0, 15.0]",
    )  # fmt: skip
    assert worse.rows == (
        (
            "babble, 0 dB",
            "32.00 [32.00, 32.00]",
            "181.02 [181.02, 181.02] (p = 0.010)",
        ),
    )
    (picture,) = part.sections[0].pictures
    axes = picture.draw().axes[0]
    assert picture.name == "ppl_vs_wer_noise"
    drawn = [line for line in axes.lines if line.get_marker() in sweep_report.MARKERS]
    points = {(x, round(y, 6)) for line in drawn for x, y in zip(*line.get_data(), strict=True)}
    assert {(10, 2), (20, 4), (30, 8), (50, 64), (30, 512), (10, round(8**0.5, 6))} == points


def test_as_json(everything):
    (found,) = json.loads(json.dumps(sweep_report.as_dict(everything), allow_nan=False))
    assert found["test_set"] == "test"
    clean, noisy = found["conditions"]
    assert clean["audiollm"][0]["equal_wer"]["wer"] == pytest.approx(15.0)
    assert noisy["best_cascade"]["prompt_wer"] == 30.0
    assert noisy["audiollm"][0]["equal_wer"]["said"] == "> 50.0 [> 50.0, > 50.0]"


def test_without_noise_or_with_other_utterances(everything, tmp_path):
    clean, noisy = everything
    assert sweep_report.parts([clean]) == [] == sweep_report.as_dict([clean])
    (single,) = sweep_report.parts([noisy])  # nothing to compare with
    assert [section.title for section in single.sections][-1].startswith("At which WER")
    other = results(tmp_path, "test_room", {1.0: 1.0}, 2.0, NoisyCopy("test", "room", None, 1, 0))
    object.__setattr__(other.test_set.references, "ids", ("a", "b", "c", "d"))
    with pytest.raises(ValueError, match="test_room: not the utterances and responses of test,"):
        sweep.sweeps([clean, other])


def test_what_a_copy_says_of_itself(tmp_path):
    assert read_noisy(tmp_path) is None
    about = {"from": "test", "kind": "room", "snr_db": None, "rt60": 0.6, "drr_db": 0.0}
    (tmp_path / "noise.json").write_text(json.dumps(about))
    assert str(read_noisy(tmp_path)) == "room, 0.6 s, 0 dB"
    about |= {"kind": "files", "snr_db": 10.0, "directory": "/data/musan/music"}
    (tmp_path / "noise.json").write_text(json.dumps(about))
    assert str(read_noisy(tmp_path)) == "music, 10 dB"
    for text in ("[]", "{}", '{"from": "t", "kind": "white", "snr_db": null}', "x"):
        (tmp_path / "noise.json").write_text(text)
        with pytest.raises(ValueError, match="does not say what noise was added; rerun stage 2"):
            read_noisy(tmp_path)
