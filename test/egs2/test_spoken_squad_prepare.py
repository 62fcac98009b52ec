"""Spoken SQuAD's preparation on a small corpus in the true layout."""

import os

import corpora
import pytest
from corpora import fails, utterances

from espnet_audiollm.data import audio
from espnet_audiollm.data.dialogues import read_dialogues
from espnet_audiollm.types import Turn


@pytest.fixture
def squad(tmp_path):
    corpora.spoken_squad(tmp_path / "Spoken-SQuAD")
    return tmp_path / "Spoken-SQuAD"


@pytest.fixture
def prepare(root, tmp_path):
    return corpora.preparer(root, "spoken_squad", tmp_path)


SUBSET = ("--subset", "true")
WAV = "Spoken-SQuAD_audio/train_wav"


def test_layout(prepare, squad, tmp_path, monkeypatch):
    done = prepare("--corpus", squad, *SUBSET, "data")
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)  # wav.scp names files from the recipe's directory
    valid = utterances(tmp_path / "data/valid")  # the first topic of the two
    assert list(valid) == ["train_0_0", "train_0_1"]
    first = valid["train_0_0"]
    assert first.text.startswith("Architecturally, the school has")  # SQuAD's own words
    assert audio.info(first.audio).rate == 24_000
    assert audio.info(first.audio).frames == 2400 + 4800  # both sentences
    (train,) = utterances(tmp_path / "data/train").values()
    assert (train.text, audio.info(train.audio).frames) == ("Beyoncé sang.", 2400)
    assert list(utterances(tmp_path / "data/test")) == ["test_0_0"]


def test_questions_are_conversations(prepare, squad, tmp_path):
    """The question is read in a system turn, the paragraph is audio."""
    done = prepare("--corpus", squad, *SUBSET, "data")
    assert (
        "data/conversations/questions_valid.jsonl: 2 questions about 2 paragraphs\n" in done.stdout
    )
    asked = read_dialogues(tmp_path / "data/conversations/questions_valid.jsonl")
    assert [each.id for each in asked] == ["5733be284776f41900661182", "5733bed24776f41900661188"]
    assert asked[0].accepted == ("a dome", "dome")  # and not "What is in front?"
    system, spoken = asked[0].turns
    assert system == Turn(
        "system",
        "Listen to what the user says, then answer this question in a few words: What is atop?",
    )
    assert (spoken.role, spoken.text[:15]) == ("user", "Architecturally")
    assert audio.info(spoken.content.path).frames == 2400 + 4800
    (test,) = read_dialogues(tmp_path / "data/conversations/questions_test.jsonl")
    assert (test.id, test.accepted) == ("56be4db0acb8001400a502ec", ("Denver",))


def test_long_paragraphs_are_not_asked_about(prepare, squad, tmp_path, monkeypatch):
    """Sentence s lasts 0.1 x (s + 1) seconds: the first of the topic has 0.3, the second 0.1."""
    few = prepare("--corpus", squad, *SUBSET, "--max_passage", 0.2, "data")
    fails(
        few,
        "data/conversations/questions_test.jsonl: all paragraphs are longer than --max_passage 0.2",
    )
    corpora.say(squad / "Spoken-SQuAD_audio/dev_wav/0_0_1.wav", 0.05, 24_000)
    done = prepare("--corpus", squad, *SUBSET, "--max_passage", 0.25, "data")
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    assert (
        "left out 1 questions about 1 paragraphs longer than 0.25 s (first: train_0_0)"
    ) in done.stdout
    (asked,) = read_dialogues(tmp_path / "data/conversations/questions_valid.jsonl")
    assert asked.id == "5733bed24776f41900661188"
    assert len(utterances(tmp_path / "data/valid")) == 2  # stage 2 drops by --max_audio


def test_squad_may_lie_elsewhere(prepare, squad, tmp_path):
    (tmp_path / "squad").mkdir()
    for name in ("train", "dev"):
        (squad / f"{name}-v1.1.json").rename(tmp_path / f"squad/{name}-v1.1.json")
    fails(prepare("--corpus", squad, *SUBSET, "data"), "holds no train-v1.1.json")
    done = prepare("--corpus", squad, "--squad", tmp_path / "squad", *SUBSET, "data")
    assert done.returncode == 0, done.stderr


def test_counts_are_the_published_ones(prepare, squad, tmp_path):
    words = ("train: questions: 3, not 37111", "test: questions: 1, not 5351")
    fails(prepare("--corpus", squad, "data"), *words)
    assert not (tmp_path / "data/train").exists()


def test_sentences_are_joined_in_order_of_their_numbers(prepare, squad, tmp_path, monkeypatch):
    """Sentence 10 comes after 2: numbers, not letters."""
    for s in range(2, 11):
        corpora.say(squad / WAV / f"0_0_{s}.wav", 0.1 * (s + 1), 24_000)
    assert prepare("--corpus", squad, *SUBSET, "data").returncode == 0
    monkeypatch.chdir(tmp_path)
    samples, _ = audio.read_mono("data/audio/train/0_0.flac")
    starts = [sum(2400 * (k + 1) for k in range(s)) for s in range(11)]
    assert len(samples) == sum(2400 * (k + 1) for k in range(11))
    assert all(abs(samples[start]) < 1e-3 < samples[start + 10] for start in starts)  # sine from 0


def test_a_paragraph_is_joined_again_when_its_sentences_are_others(prepare, squad, tmp_path):
    """Unpacking restores old times: files may be older than what was joined without them."""
    assert prepare("--corpus", squad, *SUBSET, "data").returncode == 0
    joined = [tmp_path / f"data/audio/train/{name}.flac" for name in ("0_0", "0_1", "1_0")]
    made = joined[2].stat().st_mtime_ns
    os.utime(corpora.say(squad / WAV / "0_0_2.wav", 0.3, 24_000), (1e9, 1e9))  # came later
    os.utime(corpora.say(squad / WAV / "0_1_0.wav", 0.4, 24_000), (1e9, 1e9))  # is another
    assert prepare("--corpus", squad, *SUBSET, "data").returncode == 0
    assert [audio.info(path).frames for path in joined] == [2400 + 4800 + 7200, 9600, 2400]
    assert joined[2].stat().st_mtime_ns == made


def test_missing_audio_in_one_report(prepare, squad, tmp_path):
    (squad / WAV / "0_0_0.wav").unlink()
    (squad / WAV / "1_0_0.wav").unlink()
    fails(
        prepare("--corpus", squad, "data"),
        "1 transcripts without audio (first: 1_0_0.wav)",
        "1 paragraphs that lack a sentence (first: 0_0_0.wav)",
        "--subset true",
    )
    assert not (tmp_path / "data").exists()
    corpora.say(squad / WAV / "2_0_0.wav")  # of a topic that is not there: nobody asks for it
    done = prepare("--corpus", squad, *SUBSET, "data")
    fails(done, "not a single utterance")  # one topic is left, and it is for validation


def test_bad_files(prepare, squad, tmp_path):
    wav = squad / WAV / "0_1_0.wav"
    wav.write_bytes(wav.read_bytes()[:1000])
    corpora.say(squad / WAV / "0_0_1.wav", 0.1, 16_000)
    fails(
        prepare("--corpus", squad, *SUBSET, "data"),
        "1 recordings that cannot be read",
        "0_1_0.wav: truncated",
        "1 paragraphs of sentences at different rates",
    )
    spoken = squad / "spoken_train-v1.1.json"
    complete = spoken.read_text()
    spoken.write_text(complete.replace("5733bed24776f41900661188", "0000"))
    fails(prepare("--corpus", squad, *SUBSET, "data"), "that are not there (first: 0000)")
    spoken.write_text(complete.replace('"qas"', '"qs"', 1))
    fails(prepare("--corpus", squad, *SUBSET, "data"), "not in SQuAD's form (first: number 0)")
    spoken.write_text(complete[:-40])
    fails(prepare("--corpus", squad, *SUBSET, "data"), "damaged")


def test_missing_corpus(prepare, squad, tmp_path):
    fails(prepare("data"), "--spoken_squad DIR", "Chia-Hsuan-Lee/Spoken-SQuAD")
    (squad / WAV).rename(squad / "elsewhere")
    fails(prepare("--corpus", squad, "data"), "train_wav is missing: unpack Spoken-SQuAD_audio.zip")
