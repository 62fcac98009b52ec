"""Table 2 under noise, from a run of the mini recipe to its report."""

import json

import numpy as np
import pytest
import soundfile

from espnet_audiollm.data.kaldi_dir import read_dict
from espnet_audiollm.store.runs import find_runs, read_info

FRAME = 320  # samples: 20 ms
SYSTEMS = {"cascade", "audiollm"}  # that hear the noise


@pytest.fixture
def copy(mini_run):
    return mini_run.recipe / "dump/test_babble0"


def test_the_copy_has_its_level(mini_run, copy):
    clean, noisy = (read_dict(d / "wav.scp") for d in (mini_run.recipe / "dump/test", copy))
    assert len(clean) == 12 and clean.keys() == noisy.keys()
    for name in ("text", "answers", "utt2dur", "utt2num_samples"):
        assert (copy / name).read_text() == (mini_run.recipe / "dump/test" / name).read_text()
    untouched = 0
    for id_, path in noisy.items():
        speech, _ = soundfile.read(clean[id_])
        mixture, _ = soundfile.read(mini_run.recipe / path)
        assert len(mixture) == len(speech) and np.abs(mixture).max() < 0.9901
        if np.abs(mixture).max() < 0.9899:  # it was not made quieter, so what was added is known
            length = len(speech) // FRAME * FRAME
            frames = np.mean(speech[:length].reshape(-1, FRAME) ** 2, axis=1)
            active = frames[frames > frames.max() / 1000].mean()
            ratio = 10 * np.log10(active / np.mean((mixture - speech) ** 2))
            assert ratio == pytest.approx(0.0, abs=0.05)
            untouched += 1
    assert untouched == 12 - json.loads((copy / "noise.json").read_text())["scaled"]


def test_nothing_is_answered_again_and_every_hearing_system_is(mini_run, copy):
    assert not (copy / "responses").exists()
    made = {}
    for info in map(read_info, find_runs(mini_run.recipe / "exp")):
        if info.set != "abilities":
            made.setdefault(info.set, set()).add(info.kind)
    assert made == {"test": SYSTEMS | {"reference", "no_prompt"}, "test_babble0": SYSTEMS}


def test_the_report_has_the_sweep(mini_run):
    exp = mini_run.recipe / "exp"
    results = json.loads((exp / "results.json").read_text())
    assert results["test_set"] == "test"
    (sweep,) = results["sweeps"]
    assert [condition["name"] for condition in sweep["conditions"]] == ["no noise", "babble, 0 dB"]
    noisy = json.loads((exp / "results.test_babble0.json").read_text())
    rows = {row["label"]: row for row in noisy["systems"]}
    for row in (*sweep["conditions"][1]["cascades"], *sweep["conditions"][1]["audiollm"]):
        assert row["response_ppl"] == rows[row["label"]]["response_ppl"]
    tokens = {row["num_response_tokens"] for row in (*rows.values(), *results["systems"])}
    assert len(tokens) == 1
    text = (exp / "RESULTS.md").read_text()
    assert "## test, with noise" in text and "(images/ppl_vs_wer_noise.png)" in text
    assert (exp / "images/ppl_vs_wer_noise.png").stat().st_size > 5000
