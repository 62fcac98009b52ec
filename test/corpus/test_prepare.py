"""What preparations share: markers that say what is complete, comments that say what is made."""

import os

import corpora
import numpy as np

from espnet_audiollm.corpus import prepare as corpus
from espnet_audiollm.data import audio


def test_a_marker_of_other_settings_is_removed(tmp_path, capsys):
    """A run with other settings that is killed overwrites what the marker speaks of."""
    marker = tmp_path / ".made"
    corpus.mark_made(marker, {"seed": 1, "speeds": (1, 2)})
    assert corpus.made_before(marker, {"seed": 1, "speeds": (1, 2)})
    assert f"{marker}: made already" in capsys.readouterr().err
    assert not corpus.made_before(marker, {"seed": 2, "speeds": (1, 2)})
    assert not corpus.made_before(marker, {"seed": 1, "speeds": (1, 2)})
    assert capsys.readouterr().err == ""


def test_the_comment_of_a_recording_tells_its_files(tmp_path):
    one, other = (corpora.say(tmp_path / f"{name}.wav") for name in "ab")
    made = tmp_path / "made.flac"
    comment = corpus.digest(one, other)
    assert not corpus.has_comment(made, comment)
    audio.write_audio(made, np.zeros(10), comment=comment)
    assert corpus.has_comment(made, comment)
    assert comment not in {corpus.digest(one), corpus.digest(other, one)}
    os.utime(other, (1e9, 1e9))
    assert not corpus.has_comment(made, corpus.digest(one, other))
    made.write_bytes(made.read_bytes()[:20])
    assert not corpus.has_comment(made, comment)
