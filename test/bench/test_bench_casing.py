"""The casing benchmark measures every form, and each against the first."""

import numpy as np
import pytest
import soundfile
from bench import bench_casing
from chat_llms import save_tiny_llm

from espnet_audiollm.data.kaldi_dir import read_dict, write_data_dir, write_table
from espnet_audiollm.types import Utterance

TEXTS = {"u1": "the cat sat", "u2": "what is the capital of france", "u3": "hello"}


@pytest.fixture
def options(tmp_path):
    save_tiny_llm(tmp_path / "llm")
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    wav = str(tmp_path / "a.wav")
    utterances = [Utterance(id, wav, "s", 1.0, text) for id, text in TEXTS.items()]
    write_data_dir(tmp_path / "test", utterances, answers={id: "x" for id in TEXTS})
    write_table(tmp_path / "hyp", {**TEXTS, "u1": "the bat"}.items())
    places = {"llm": "llm", "data": "test", "work": "work"}
    options = [word for name, at in places.items() for word in (f"--{name}", f"{tmp_path}/{at}")]
    return [*options, "--hyp", f"all={tmp_path}/hyp"]


def test_every_form_is_measured(options, tmp_path):
    table = bench_casing.main([*options, "--forms", "asis", "lower", "sentence"])
    head, _, *rows = (
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table.split("\n")
    )
    assert [row[0] for row in rows] == ["asis", "lower", "sentence"]
    asis, lower, sentence = (dict(zip(head, row, strict=True)) for row in rows)
    assert lower["responses that differ"] == "0 / 3 (0.0 %)"  # they are in small letters
    assert sentence["responses that differ"] == "3 / 3 (100.0 %)"
    for row in (asis, lower):
        assert row["perplexity"] == row["of the first's"] == asis["of the first's"]
    assert sentence["of the first's"] != asis["of the first's"]
    assert asis["all: success"] == "0.0 % [0.0, 56.1]"  # Wilson's interval of 0 of 3
    assert read_dict(tmp_path / "work/sentence/prompts")["u1"] == "The cat sat."


def test_the_first_form_is_as_it_is(options):
    with pytest.raises(ValueError, match="the first form is asis"):
        bench_casing.main([*options, "--forms", "lower"])
