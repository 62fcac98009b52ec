"""From real speech to a speaker encoder, its error rates on unseen voices, and voices in the judge
of speech. The speech is espeak's, at many speeds and pitches."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import tiny_speakers
import torch
from tool_mains import main_of

from espnet_audiollm.data.kaldi_dir import load_utterances, read_dict, write_data_dir, write_table
from espnet_audiollm.train import checkpoints
from espnet_audiollm.types import Utterance


@pytest.fixture(scope="module")
def place(root, tmp_path_factory):
    """Voices to learn from, unseen ones, an encoder that learned and one that did not."""
    place = tmp_path_factory.mktemp("speakers")
    voices, unseen = tiny_speakers.TRAIN, tiny_speakers.UNSEEN
    for name, of, number in (("train", voices, 20), ("valid", voices, 2), ("unseen", unseen, 10)):
        tiny_speakers.speak(place / name, of, number, seed=number)
    train = main_of(root, "speaker_train")
    still = dict(max_epoch=1, optim_conf={"lr": 0.0})
    for name, more in (("exp", {}), ("untrained", still)):
        words = tiny_speakers.options(place / "train", place / "valid", place / name, **more)
        assert train(words) == 0
    return place


def verify(place, output, exp="exp", data="unseen"):
    return ["--exp", place / exp, "--data", place / data, "--output", output, "--resamples", 50]


def test_unseen_voices_are_told_apart_after_training(place, run, tmp_path):
    eer = {}
    for exp in ("exp", "untrained"):
        done = run("speaker_verify", *verify(place, tmp_path / exp, exp))
        done.says("EER", "190 pairs, 90 of one speaker; 2 speakers")
        eer[exp] = json.loads((tmp_path / exp / "verification.json").read_text())["eer"]
    assert eer["exp"] < tiny_speakers.BOUND < eer["untrained"], eer
    scores = (tmp_path / "exp/scores").read_text().splitlines()
    assert len(scores) == 190 and all(-1 <= float(row.split()[3]) <= 1 for row in scores)


def test_a_training_that_stopped_goes_on_to_the_same_weights(place, run, tmp_path):
    """Its crops, too, are those of an undisturbed one."""

    def words(name, epochs):
        directories = (place / "valid", place / "valid", tmp_path / name)
        return tiny_speakers.options(*directories, max_epoch=epochs, batch_size=8)

    run("speaker_train", *words("one", 2)).says()
    run("speaker_train", *words("two", 1)).says()
    run("speaker_train", *words("two", 2), "--resume", "true").says()
    one, two = (checkpoints.load(tmp_path / name / "2epoch.pth") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one if torch.is_tensor(one[key]))


def test_trials_of_a_file_give_the_same_scores(place, run, tmp_path):
    run("speaker_verify", *verify(place, tmp_path / "all")).says()
    rows = [row.split() for row in (tmp_path / "all/scores").read_text().splitlines()]
    some = rows[::7]
    (tmp_path / "trials").write_text("".join(" ".join(row[:3]) + "\n" for row in some))
    words = [*verify(place, tmp_path / "some"), "--trials", tmp_path / "trials"]
    run("speaker_verify", *words).says(f"{len(some)} pairs")
    again = [row.split() for row in (tmp_path / "some/scores").read_text().splitlines()]
    assert again == some
    run("speaker_verify", *verify(place, tmp_path / "few"), "--number", 40).says("40 pairs, 20 of")


def test_what_the_test_of_speakers_refuses(place, ctc_exp, run, tmp_path):
    words = verify(place, tmp_path / "o")
    seen = verify(place, tmp_path / "o", data="valid")
    run("speaker_verify", *seen).fails("12 of 12 speakers", "split_by_speaker")
    run("speaker_verify", *seen, "--seen_speakers", "true").says("12 speakers")
    run("speaker_verify", *words, "--exp", ctc_exp).fails("no speaker encoder", "speaker_train")
    run("speaker_verify", *words, "--p_target", 1).fails("--p_target 1")
    run("speaker_verify", *words, "--number", 1).fails("--number 1")
    rows = load_utterances(place / "unseen")
    write_data_dir(tmp_path / "one", [u for u in rows if u.speaker == rows[0].speaker])
    run("speaker_verify", *words, "--data", tmp_path / "one").fails("1 speaker", "at least 2")
    soundfile.write(tmp_path / "short.wav", np.ones(7_000) / 9, 16_000)
    short = Utterance("a", str(tmp_path / "short.wav"), "s", None, "x")
    write_data_dir(tmp_path / "short", [short, *rows])
    short = [*words, "--data", tmp_path / "short"]
    run("speaker_verify", *short).fails("1 of 21 recordings", "first: a", "0.5 s")
    (tmp_path / "short/utt2spk").unlink()
    run("speaker_verify", *short).fails("utt2spk does not exist")
    run("speaker_verify", *words, "--checkpoint", "no.pth").fails("no.pth")


def test_what_the_training_refuses(place, run, tmp_path):
    def words(train="train", valid="valid", **more):
        return tiny_speakers.options(place / train, place / valid, tmp_path / "exp", **more)

    run("speaker_train", *words(valid="unseen")).fails("2 speakers", "subset.py")
    run("speaker_train", *words()[:-2]).fails("1 of 2 directories", "--valid_data")
    wrong = dict(speaker_encoder_conf=dict(channels=30, groups=4))
    run("speaker_train", *words(**wrong)).fails("30 channels", "4 equal groups")
    run("speaker_train", *words(margin_conf=dict(width=3))).fails("--margin_conf", "width")
    data = shutil.copytree(place / "unseen", tmp_path / "data")
    write_table(data / "utt2spk", ((id_, "one") for id_ in read_dict(data / "utt2spk")))
    run("speaker_train", *words(train=data)).fails("1 speakers", "first: one", "at least 2")
    (data / "utt2spk").unlink()
    run("speaker_train", *words(train=data)).fails("utt2spk does not exist")
    assert not (tmp_path / "exp/config.yaml").exists()


@pytest.fixture
def judged(place, tmp_path):
    """Speech of the references' voices, of the other voices, and references with more recordings;
    hypotheses, so that nothing is recognised."""
    rows = load_utterances(place / "unseen")
    first, second = ([u for u in rows if u.speaker == v] for v in tiny_speakers.UNSEEN)
    same, other = first[:4] + second[:4], second[4:8] + first[4:8]
    others = first[4:8] + second[4:8]
    for name, spoken in (("right", others), ("wrong", other), ("true", same)):
        spoken = [Utterance(a.id, b.audio, "s") for a, b in zip(same, spoken, strict=True)]
        write_data_dir(tmp_path / name, spoken)
        write_table(tmp_path / "recognised" / name, ((u.id, "green") for u in same))
    write_table(tmp_path / "text", ((u.id, "green") for u in same))
    words = [f"{name}={tmp_path / name}" for name in ("right", "wrong", "true")]
    words += [
        "--text",
        tmp_path / "text",
        "--hypotheses",
        tmp_path / "recognised",
        "--resamples",
        50,
    ]
    return [*words, "--speaker_encoder", place / "exp", "--voice_references", place / "unseen"]


def test_the_judge_compares_voices(judged, run, tmp_path):
    done = run("judge_speech", *judged, "--output", tmp_path / "o")
    done.says("voice similarity", "acoustic consistency", "another speaker", "(8)")
    found = json.loads((tmp_path / "o/voices.json").read_text())
    right, wrong, true = (found["systems"][name] for name in ("right", "wrong", "true"))
    ceiling, floor = found["controls"].values()
    # By their intervals: how far apart they are differs between processors, whose roundings differ.
    likeness = [each["similarity"]["ci95"] for each in (right, ceiling, wrong, floor)]
    assert min(low for low, _ in likeness[:2]) > max(high for _, high in likeness[2:]), likeness
    assert true["similarity"] is None  # these are the references themselves
    steady = [each["consistency"]["ci95"] for each in (right, ceiling, floor)]
    assert min(low for low, _ in steady[:2]) > steady[2][1], steady
    assert right["similarity"]["recordings"] == 8
    low, high = right["similarity"]["ci95"]
    assert low <= right["similarity"]["mean"] <= high
    done = run("judge_speech", *judged[:-4], "--output", tmp_path / "p")
    assert "voice" not in done.out and not (tmp_path / "p/voices.json").exists()
    speech = [json.loads((tmp_path / name / "speech.json").read_text()) for name in "op"]
    assert speech[0] == speech[1]


def test_voices_beside_those_of_an_earlier_call(judged, place, run, tmp_path):
    shutil.copytree(tmp_path / "recognised", tmp_path / "o/hypotheses")
    run("judge_speech", *judged, "--output", tmp_path / "o").says()
    shutil.copy(tmp_path / "recognised/right", tmp_path / "recognised/again")
    words = [f"again={tmp_path}/right", *judged[3:], "--beside", tmp_path / "o"]
    run("judge_speech", *words, "--output", tmp_path / "p").says("again", "wrong")
    one, two = (json.loads((tmp_path / name / "voices.json").read_text()) for name in "op")
    assert two["systems"]["again"] == one["systems"]["right"] == two["systems"]["right"]
    words += ["--speaker_encoder", place / "untrained", "--output", tmp_path / "q"]
    run("judge_speech", *words).fails("another --speaker_encoder", "judge the speech again")


def test_references_that_cannot_be_used(judged, place, run, tmp_path):
    words = [*judged, "--output", tmp_path / "o"]
    run("judge_speech", *words[:-4], "--output", tmp_path / "o").fails("has no recordings")
    no_encoder = [*judged[:-4], *judged[-2:], "--output", tmp_path / "o"]
    run("judge_speech", *no_encoder).fails("give --speaker_encoder")
    rows = load_utterances(place / "unseen")[:3]
    write_data_dir(tmp_path / "few", rows)
    few = [*words, "--voice_references", tmp_path / "few"]
    run("judge_speech", *few).fails("5 of 8 utterances", "a reference for each")
    assert not (tmp_path / "o/speech.json").exists()


def test_speech_that_is_missing_or_too_short_is_left_out(judged, run, tmp_path):
    rows = load_utterances(tmp_path / "right")
    soundfile.write(tmp_path / "short.wav", np.ones(6_000) / 9, 16_000)
    soundfile.write(tmp_path / "half.wav", soundfile.read(rows[1].audio)[0][:12_000], 16_000)
    short = Utterance(rows[0].id, str(tmp_path / "short.wav"), "s")
    half = Utterance(rows[1].id, str(tmp_path / "half.wav"), "s")
    write_data_dir(tmp_path / "right", [short, half, *rows[2:7]])
    run("judge_speech", *judged, "--output", tmp_path / "o").fails("1 of 8 utterances")
    words = [*judged, "--missing_is_silence", "true", "--output", tmp_path / "o"]
    run("judge_speech", *words).says("(6)", "(5)")
    found = json.loads((tmp_path / "o/voices.json").read_text())["systems"]["right"]
    numbers = [found[name]["recordings"] for name in ("similarity", "consistency")]
    assert numbers == [6, 5]
