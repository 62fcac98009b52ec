"""Common Voice's preparation on a small release in the true layout, with real MP3."""

import json
import os
import subprocess

import corpora
import pytest
from corpora import cv_row, fails, utterances

from espnet_audiollm.corpus.common_voice import spoken, unquote
from espnet_audiollm.data import audio

SPLITS = ("data/train=train", "data/valid=dev", "data/test=test")


@pytest.fixture
def prepare(root, tmp_path):
    return corpora.preparer(root, "commonvoice", tmp_path)


@pytest.fixture
def release(tmp_path):
    corpora.common_voice(tmp_path / "cv corpus")
    return tmp_path / "cv corpus"


def test_layout(prepare, release, tmp_path):
    done = prepare("--corpus", release, "--lang", "fr", *SPLITS)
    assert done.returncode == 0, done.stderr
    train = utterances(tmp_path / "data/train")
    assert [(id_, utt.text) for id_, utt in train.items()] == [
        ("common_voice_fr_36", "« Oui »"),
        ("common_voice_fr_37", 'Il dit "non"'),
        ("common_voice_fr_38", "Ça va ?"),
        ("common_voice_fr_39", "Le chat dort."),
    ]
    assert train["common_voice_fr_39"].speaker == "1" * 128
    found = audio.info(train["common_voice_fr_39"].audio)
    assert (found.container, found.rate) == ("MP3", 48_000)
    assert abs(len(audio.read_mono_16k(train["common_voice_fr_39"].audio)) - 3200) < 1200
    assert len(utterances(tmp_path / "data/valid")) == len(utterances(tmp_path / "data/test")) == 1


def test_spoken_text_and_the_language_directory_itself(prepare, release, tmp_path):
    done = prepare("--corpus", release / "fr", "--lang", "fr", "--text", "spoken", *SPLITS)
    assert done.returncode == 0, done.stderr
    texts = [utt.text for utt in utterances(tmp_path / "data/train").values()]
    assert texts == ["oui", "il dit non", "ça va", "le chat dort"]
    assert utterances(tmp_path / "data/test")["common_voice_fr_34"].text == "l'été finit"


def test_counts_are_the_release_s(prepare, release, tmp_path):
    stats = tmp_path / "cv-corpus-17.0-2024-03-15.json"
    counts = {"dev": 1, "invalidated": 9, "test": 1, "train": 5, "validated": 6}
    stats.write_text(json.dumps({"locales": {"fr": {"buckets": counts}}}))
    given = ("--corpus", release, "--lang", "fr", "--stats", stats)
    fails(prepare(*given, *SPLITS), "utterances for data/train: 4, not 5 as published")
    assert prepare(*given, "--subset", "true", *SPLITS).returncode == 0
    (release / "fr/clips/common_voice_fr_38.mp3").write_bytes(b"")
    differ = "utterances for data/train (with 1 that are left out): 4, not 5 as published"
    fails(prepare(*given, *SPLITS), differ)
    stats.write_text("{}")
    fails(prepare(*given, *SPLITS), "has no counts of the language fr")


def test_what_a_release_has_without_a_sound_or_a_word_is_left_out(prepare, release, tmp_path):
    """It is among the release's counts; version 4 has hundreds of clips of 0 bytes."""
    clips, table = release / "fr/clips", release / "fr/train.tsv"
    for number in (39, 38):
        (clips / f"common_voice_fr_{number}.mp3").write_bytes(b"")
    table.write_text(table.read_text().replace("« Oui »", " "), encoding="utf-8")
    stats = tmp_path / "stats.json"
    counts = {"dev": 1, "test": 1, "train": 4}
    stats.write_text(json.dumps({"locales": {"fr": {"buckets": counts}}}))
    given = ("--corpus", release, "--lang", "fr", "--stats", stats)
    done = prepare(*given, *SPLITS)
    assert done.returncode == 0, done.stderr
    first = f"(first: {clips}/common_voice_fr_39.mp3)"
    assert f"{table}: left out 2 recordings of 0 bytes {first}" in done.stdout
    assert f"{table}: left out 1 transcripts without a word (first: common_voice" in done.stdout
    assert list(utterances(tmp_path / "data/train")) == ["common_voice_fr_37"]
    (clips / "common_voice_fr_37.mp3").write_bytes(b"")
    fails(prepare(*given, *SPLITS), "not a single utterance", "left out 3 recordings of 0 bytes")


def test_a_test_clip_is_not_learned_from(prepare, release, tmp_path):
    splits = ("data/train=validated", *SPLITS[1:])
    done = prepare("--corpus", release, "--lang", "fr", *splits)
    fails(done, "data/train: 2 ids that another split has too (first: common_voice_fr_34)")
    assert not (tmp_path / "data/train").exists()


def test_all_faults_in_one_report(prepare, release, tmp_path):
    (release / "fr/clips/common_voice_fr_39.mp3").unlink()
    table = release / "fr/train.tsv"
    lines = table.read_text().splitlines()
    more = [lines[3], cv_row("", "a.mp3", "who").strip("\n"), "only\ttwo", "a\tb\tc\td" * 20]
    text = "\r\n".join([*lines, *more]).encode()  # Windows' line ends are no fault
    table.write_bytes(b"\xef\xbb\xbf" + text + b"\r\n\xe9\t\r\n")
    fails(
        prepare("--corpus", release, "--lang", "fr", *SPLITS),
        "1 transcripts without audio (first: common_voice_fr_39: ",
        "1 ids that come twice (first: common_voice_fr_37)",
        "1 rows without a client_id, or with a path for a file name (first: a.mp3)",
        "2 lines that have not 13 fields (first: line 8)",
        "1 lines that are not UTF-8 (first: line 10)",
    )
    assert not (tmp_path / "data/train").exists()


def test_a_subset_leaves_gaps_out(prepare, release, tmp_path):
    (release / "fr/clips/common_voice_fr_39.mp3").unlink()
    done = prepare("--corpus", release, "--lang", "fr", "--subset", "true", *SPLITS)
    assert done.returncode == 0, done.stderr
    assert "left out 1 transcripts without audio (first: common_voice_fr_39: " in done.stdout
    assert len(utterances(tmp_path / "data/train")) == 3


def test_missing_corpus(prepare, release, root):
    fails(prepare(*SPLITS), "--commonvoice DIR", "commonvoice.mozilla.org")
    fails(prepare("--corpus", release, "--lang", "de", *SPLITS), "no de/clips", "here: fr)")
    fails(prepare("--corpus", release, "--lang", "fr", "x=other"), "holds no other.tsv")
    (release / "fr/dev.tsv").write_text("path\tsentence\n")
    fails(prepare("--corpus", release, "--lang", "fr", *SPLITS), "no column client_id")
    done = subprocess.run(
        ["local/data.sh", "--commonvoice", release],
        env={**os.environ, "COMMONVOICE_LANG": "xx"},
        cwd=root / "egs2/commonvoice/audiollm1",
        capture_output=True,
        text=True,
    )
    fails(done, "no xx/clips")


@pytest.mark.parametrize(
    "field, text",
    [
        ('"He said ""no""."', 'He said "no".'),
        ('"One," and "two"', '"One," and "two"'),
        ('"', '"'),
        ("plain", "plain"),
    ],
)
def test_unquote(field, text):
    assert unquote(field) == text


@pytest.mark.parametrize(
    ("lang", "sentence", "words"),
    [
        ("tr", "Işık İstanbul\u2019da.", "ışık istanbul'da"),
        ("ca", "Col·legi, l'Home!", "collegi l'home"),
        ("fa", "می\u200cخواهم، خوب", "میخواهم خوب"),
        ("ta", "க்\u200cஷ.", "க்ஷ"),
        ("he", 'צה"ל, "כן"', "צהל כן"),
        ("he", 'צַהַ"ל', "צַהַל"),
        ("zh-CN", "我用iPhone12，今天OK吗？", "我用iphone12 今天ok吗"),
        ("ja", "東京タワーへ。", "東京タワーへ"),
        ("fr", "L\u2019homme qu'il a vu", "l'homme qu'il a vu"),
        ("it", "Un po\u2019 dell'acqua", "un po' dell'acqua"),
        ("nl", "'s Ochtends, 'niet'", "'s ochtends niet"),
        ("de", "Die Straße; Donau\u00addampf-Schiff", "die straße donaudampf schiff"),
        ("uz", "O\u2018zbek tog\u02bb", "o'zbek tog\u02bb"),
        ("vot", "Soft\u00adly, I\u2019m", "softly i'm"),  # a language without rules here
    ],
)
def test_spoken_texts_follow_the_language(lang, sentence, words):
    """Words stay whole, letters as they are written; worked out by hand."""
    assert spoken(sentence, lang) == words


def test_the_language_is_the_directory_s(prepare, tmp_path):
    corpora.common_voice(tmp_path / "cv", "tr")
    table = tmp_path / "cv/tr/train.tsv"
    text = table.read_text(encoding="utf-8").replace("Le chat dort.", "Işık İstanbul'da")
    table.write_text(text, encoding="utf-8")
    given = ("--corpus", tmp_path / "cv", "--lang", "tr", "--text", "spoken")
    assert prepare(*given, *SPLITS).returncode == 0
    assert utterances(tmp_path / "data/train")["common_voice_tr_39"].text == "ışık istanbul'da"
