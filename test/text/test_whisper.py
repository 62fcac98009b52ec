"""Whisper's own normaliser, for WERs to compare with published ones."""

import json

import pytest

from espnet_audiollm.score.wer import word_errors
from espnet_audiollm.text.normalize import normalizer


def test_for_other_languages():
    form = normalizer("whisper")
    assert form("Über-Straße [Lachen] (leise), 21!") == "über straße 21"
    assert form.spaced and "basic" in form.sentence


def test_for_english(tmp_path):
    table = tmp_path / "normalizer.json"
    table.write_text(json.dumps({"colour": "color"}))
    form = normalizer(f"whisper:{table}")
    assert form("Um, Mr. Smith's colour isn't $5") == "mister smith is color is not $5"
    found = word_errors({"a": "twenty one colours"}, {"a": "21 colours"}, form)
    assert (found.errors, found.reference_words) == (0, 2)


def test_without_its_table(tmp_path):
    with pytest.raises(ValueError, match="no such file; give the normalizer.json"):
        normalizer(f"whisper:{tmp_path}/none.json")
