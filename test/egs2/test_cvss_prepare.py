"""CVSS's preparation on small spoken translations of a small Common Voice, in the true layouts."""

import shutil
import subprocess
import sys
import tarfile

import corpora
import pytest
import soundfile
from corpora import fails, utterances
from tool_mains import main_of, run_main

from espnet_audiollm.data import kaldi_dir


@pytest.fixture
def prepare(root, tmp_path):
    corpora.common_voice(tmp_path / "cv")
    corpora.cvss(tmp_path / "cvss")
    call = corpora.preparer(root, "cvss", tmp_path)
    given = ("--corpus", tmp_path / "cvss", "--commonvoice", tmp_path / "cv", "--lang", "fr")
    return lambda *more: call(*given, *more, "data")


def test_from_the_corpus_to_16_khz(prepare, root, tmp_path, capfd):
    done = prepare()
    assert done.returncode == 0, done.stderr
    train = utterances(tmp_path / "data/train")
    assert {id_: utt.text for id_, utt in train.items()} == {
        "common_voice_fr_37": 'Il dit "non"',
        "common_voice_fr_38": "Ça va ?",
        "common_voice_fr_39": "Le chat dort.",
    }
    said = {"common_voice_fr_37": "he says no", "common_voice_fr_38": "how are you"}
    said["common_voice_fr_39"] = "the cat sleeps"
    assert kaldi_dir.read_dict(tmp_path / "data/train/translation") == said
    assert {split: len(utterances(tmp_path / "data" / split)) for split in ("valid", "test")} == {
        "valid": 1,
        "test": 1,
    }

    def run(name, *words):
        run_main(main_of(root, name), words, capfd).says()

    data, dump = tmp_path / "data/train", tmp_path / "dump"
    run("format_data", data, dump / "train", "--min_audio", 0.05)
    run("spoken_translations", dump / "train", dump / "given", "--speaker", "cvss_c")
    run("format_data", dump / "given", dump / "spoken")
    spoken = utterances(dump / "spoken")
    assert {id_: (utt.text, utt.speaker) for id_, utt in spoken.items()} == {
        id_: (text, "cvss_c") for id_, text in said.items()
    }
    audio, rate = soundfile.read(spoken["common_voice_fr_38"].audio)
    assert rate == 16_000 and len(audio) == 2_400  # 0.15 s


def test_voices_of_the_sources(prepare, root, tmp_path, capfd):
    corpora.cvss(tmp_path / "cvss", "t")
    assert prepare("--version", "t").returncode == 0
    words = (tmp_path / "data/train", tmp_path / "spoken")
    run_main(main_of(root, "spoken_translations"), words, capfd).says("3 spoken", "2 voices")
    own, theirs = (kaldi_dir.read_dict(place / "utt2spk") for place in words)
    assert own == theirs
    assert all("/cvss_t_" in path for path in kaldi_dir.read_dict(words[1] / "wav.scp").values())
    bare = tmp_path / "bare"
    bare.mkdir()
    run_main(main_of(root, "spoken_translations"), (bare, tmp_path / "x"), capfd).fails(
        "translation_audio does not exist"
    )
    lines = (words[0] / "translation").read_text().splitlines()
    (words[0] / "translation").write_text("\n".join(lines[1:]) + "\n")
    run_main(main_of(root, "spoken_translations"), (words[0], tmp_path / "x"), capfd).fails(
        "1 of 3", "first: common_voice_fr_37", "stage 1"
    )


def test_all_faults_in_one_report(prepare, tmp_path):
    place = tmp_path / "cvss/cvss_c_fr_en_v1.0"
    (place / "train/common_voice_fr_38.mp3.wav").unlink()
    (tmp_path / "cv/fr/clips/common_voice_fr_39.mp3").unlink()
    corpora.say(place / "dev/common_voice_fr_1.mp3.wav")
    first = (place / "test.tsv").read_text()
    (place / "dev.tsv").write_text(
        (place / "dev.tsv").read_text() + "common_voice_fr_1.mp3\tLost\n"
    )
    (place / "test.tsv").write_text(f"{first}{first}no tab\na/b.mp3\tx\n")
    done = prepare()
    fails(
        done,
        "1 transcripts without audio (first: common_voice_fr_38.mp3: ",
        "1 transcripts without audio (first: common_voice_fr_39: ",
        "1 translations whose clip is not there (first: common_voice_fr_1.mp3)",
        "1 ids that come twice (first: common_voice_fr_34.mp3)",
        "2 lines that are no clip.mp3, tab, text (first: line 3)",
        "of Common Voice its version 4",
        "say --subset true",
    )
    assert not (tmp_path / "data/train").exists()


def test_clips_of_0_bytes_are_left_out_but_not_translations(prepare, tmp_path):
    clip = tmp_path / "cv/fr/clips/common_voice_fr_38.mp3"
    clip.write_bytes(b"")
    done = prepare()
    assert done.returncode == 0, done.stderr
    assert f"left out 1 recordings of 0 bytes (first: {clip})" in done.stdout
    assert len(utterances(tmp_path / "data/train")) == 2
    spoken = tmp_path / "cvss/cvss_c_fr_en_v1.0/train/common_voice_fr_39.mp3.wav"
    spoken.write_bytes(b"")
    fails(
        prepare(),
        f"1 recordings of 0 bytes (first: {spoken})",
        "get the files again",
    )


def test_a_part_of_the_corpus(prepare, tmp_path):
    (tmp_path / "cvss/cvss_c_fr_en_v1.0/train/common_voice_fr_38.mp3.wav").unlink()
    done = prepare("--subset", "true")
    assert done.returncode == 0 and "left out 1 transcripts without audio" in done.stdout
    assert len(utterances(tmp_path / "data/train")) == 2


def test_another_version_or_language(prepare, tmp_path, root):
    place = tmp_path / "cvss/cvss_c_fr_en_v1.0"
    assert prepare("--corpus", place).returncode == 0
    fails(prepare("--version", "t"), "holds no cvss_t_fr_en_v1.0", "here: cvss_c_fr_en_v1.0")
    fails(prepare("--corpus", place, "--version", "t"), "here: cvss_c_fr_en_v1.0")
    fails(prepare("--corpus", tmp_path / "none"), "--cvss ", "there is no such directory")
    fails(prepare("--corpus", tmp_path / "cv"), "here: none")
    fails(prepare("--lang", "en"), "CVSS has no --lang en", "ar, ca, cy")
    fails(prepare("--commonvoice", ""), "--commonvoice DIR")
    fails(prepare("--lang", "zh"), "holds no zh-CN/clips", "fr")


def test_download(root, tmp_path):
    corpora.common_voice(tmp_path / "cv")
    place = corpora.cvss(tmp_path / "there")
    archive = tmp_path / "served/cvss_c_v1.0" / f"{place.name}.tar.gz"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(place.iterdir()):
            tar.add(path, path.name)
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    script = recipe / "prepare.py"
    shutil.copy(root / "egs2/cvss/audiollm1/local/prepare.py", script)
    with corpora.served(tmp_path / "served") as address:
        script.write_text(
            script.read_text().replace("https://storage.googleapis.com/cvss", address)
        )
        words = [sys.executable, script, "--commonvoice", tmp_path / "cv", "--lang", "fr", "data"]
        done = subprocess.run(
            list(map(str, words)), cwd=recipe, env={"PYTHONPATH": str(root)}, capture_output=True
        )
    assert done.returncode == 0, done.stderr
    assert len(utterances(recipe / "data/train")) == 3
