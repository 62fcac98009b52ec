"""bin/synthesise: texts and an LLM's responses as a data directory of speech."""

import pytest
import soundfile
from tool_mains import main_of, run_main
from written_runs import write_store

from espnet_audiollm.data.kaldi_dir import load_utterances, read_dict

pytest.importorskip("espeakng_loader")


@pytest.fixture
def run(root, capfd):
    return lambda *words: run_main(main_of(root, "synthesise"), words, capfd)


def test_responses_become_a_data_directory(run, tmp_path):
    write_store(tmp_path / "responses", {"b": ("no .", [5, 2]), "a": ("the red boat .", [6, 2])})
    words = ["--text", tmp_path / "responses", "--voice", "en-us+edward", "--nj", 1]
    run(*words, "--output", tmp_path / "said").says("2 texts in the voice en-us+edward")
    first, second = load_utterances(tmp_path / "said")
    assert (first.id, first.text, first.speaker) == ("a", "the red boat .", "en-us_edward")
    samples = {utt.id: soundfile.info(utt.audio) for utt in (first, second)}
    counted = read_dict(tmp_path / "said/utt2num_samples")
    assert counted == {id_: str(info.frames) for id_, info in samples.items()}
    assert {info.samplerate for info in samples.values()} == {16_000}
    assert float(first.duration) == pytest.approx(samples["a"].frames / 16_000, abs=1e-4)
    assert samples["a"].frames > samples["b"].frames


def test_what_is_refused(run, tmp_path):
    (tmp_path / "text").write_text("a the boat\nb .\nc ?\n")
    words = ["--text", tmp_path / "text", "--output", tmp_path / "said"]
    run(*words).fails("2 of 3 texts", "first: b", "leave these utterances out")
    (tmp_path / "text").write_text("a the boat\n")
    run(*words, "--nj", 0).fails("--nj 0")
    run(*words, "--nj", 1, "--voice", "en-us+nobody").fails("no variant 'nobody'")
    assert not (tmp_path / "said").exists()
