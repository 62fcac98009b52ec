"""CoVoST 2's preparation on small translations of a small Common Voice, in the true layouts."""

import hashlib
import subprocess
import sys
import tarfile

import corpora
import pytest
from corpora import fails, served, utterances

from espnet_audiollm.data import kaldi_dir


@pytest.fixture
def prepare(root, tmp_path):
    corpora.common_voice(tmp_path / "cv")
    corpora.covost(tmp_path / "covost")
    call = corpora.preparer(root, "covost2", tmp_path)
    given = ("--corpus", tmp_path / "covost", "--commonvoice", tmp_path / "cv")
    return lambda *more: call(*given, *more, "data")


@pytest.fixture
def prepare_counted(root, prepare, tmp_path):
    """call(train, dev, test): the preparation, were so many published for French."""
    code = (
        "import sys, prepare\n"
        "prepare.PUBLISHED['fr_en'] = tuple(map(int, sys.argv[1:]))\n"
        "prepare.main(['--corpus', 'covost', '--commonvoice', 'cv', 'data'])"
    )

    def call(*counts):
        return subprocess.run(
            [sys.executable, "-c", f"{code}\n", *map(str, counts)],
            cwd=tmp_path,
            env={"PYTHONPATH": f"{root}:{root}/egs2/covost2/audiollm1/local"},
            capture_output=True,
            text=True,
        )

    return call


SUBSET = ("--subset", "true")


def test_layout(prepare, tmp_path):
    done = prepare(*SUBSET)
    assert done.returncode == 0, done.stderr
    train = utterances(tmp_path / "data/train")
    assert {id_: utt.text for id_, utt in train.items()} == {
        "common_voice_fr_37": 'Il dit "non"',
        "common_voice_fr_38": "Ça va ?",
        "common_voice_fr_39": "Le chat dort.",
    }
    assert kaldi_dir.read_dict(tmp_path / "data/train/translation") == {
        "common_voice_fr_37": 'He says "no"',
        "common_voice_fr_38": "How are you?",
        "common_voice_fr_39": "The cat sleeps.",
    }


def test_counts_are_the_published_ones(prepare, tmp_path):
    fails(prepare(), "data/train: 3, not 207374", "data/valid: 1, not 14760", "--subset true")
    assert not (tmp_path / "data/train").exists()


def test_all_faults_in_one_report(prepare, tmp_path):
    (tmp_path / "cv/fr/clips/common_voice_fr_35.mp3").unlink()
    table = tmp_path / "covost/covost_v2.fr_en.tsv"
    lines = table.read_text().splitlines()
    more = [lines[1], "common_voice_fr_1.mp3\tLost\ttrain", "common_voice_fr_2.mp3\t \ttrain", "x"]
    table.write_bytes("\r\n".join([*lines, *more, ""]).encode())
    fails(
        prepare(),
        "1 ids that come twice (first: common_voice_fr_39.mp3)",
        "1 lines that have not 3 fields (first: line 11)",
        "1 transcripts without audio (first: common_voice_fr_35: ",
        "1 translations whose clip is not there (first: common_voice_fr_1.mp3)",
        "where a part of the corpus is meant, say --subset true",
    )
    assert not (tmp_path / "data/train").exists()


def test_what_is_left_out_on_purpose_is_among_what_is_published(prepare_counted, tmp_path):
    """The complete corpus: clips of 0 bytes, an empty sentence, translations that are none."""
    (tmp_path / "cv/fr/clips/common_voice_fr_38.mp3").write_bytes(b"")
    clips = tmp_path / "cv/fr/validated.tsv"
    row = corpora.cv_row("2" * 128, "common_voice_fr_33.mp3", " ")
    clips.write_text(clips.read_text(encoding="utf-8") + row, encoding="utf-8")
    table = tmp_path / "covost/covost_v2.fr_en.tsv"
    marks = ["[TO REMOVE]", "Removed", "REJECT", "[to reject"]
    more = ["33.mp3\tNothing\ttrain", "32.mp3\t \ttrain", "31.mp3\t\ttest"]
    more += [f"{number}.mp3\t{mark}\ttrain" for number, mark in enumerate(marks)]
    table.write_text(table.read_text() + "".join(f"common_voice_fr_{line}\n" for line in more))
    wrong = "data/train (with 7 that are left out): 9, not 10 as published"
    fails(prepare_counted(10, 1, 2), wrong)
    done = prepare_counted(9, 1, 2)
    assert done.returncode == 0, done.stderr
    zero = f"1 recordings of 0 bytes (first: {tmp_path}/cv/fr/clips/common_voice_fr_38.mp3)"
    assert f"{clips}: left out {zero}" in done.stdout
    for words in (
        f"{clips}: left out 1 transcripts without a word (first: common_voice_fr_33)",
        f"{table}: left out 2 clips without a translation (first: common_voice_fr_32.mp3)",
        "left out 4 translations that are only a translator's mark (first: common_voice_fr_0.mp3)",
    ):
        assert words in done.stdout
    train = utterances(tmp_path / "data/train")
    assert list(train) == ["common_voice_fr_37", "common_voice_fr_39"]


def test_a_sentence_with_a_translator_s_word_is_a_translation(prepare, tmp_path):
    table = tmp_path / "covost/covost_v2.fr_en.tsv"
    table.write_text(table.read_text().replace("How are you?", "To remove it."))
    assert prepare(*SUBSET).returncode == 0
    translations = kaldi_dir.read_dict(tmp_path / "data/train/translation")
    assert translations["common_voice_fr_38"] == "To remove it."


def test_a_later_release_lacks_clips(prepare, tmp_path):
    table = tmp_path / "cv/fr/validated.tsv"
    lines = [line for line in table.read_text().splitlines() if "fr_39" not in line]
    table.write_text("\n".join(lines) + "\n")
    done = prepare(*SUBSET)
    assert done.returncode == 0, done.stderr
    left_out = "left out 1 translations whose clip is not there (first: common_voice_fr_39.mp3)"
    assert left_out in done.stdout
    assert len(utterances(tmp_path / "data/train")) == 2


def test_missing_corpus(prepare, tmp_path, root):
    fails(prepare("--pair", "xx_en"), "CoVoST 2 has no --pair xx_en; it has en_de, ")
    fails(prepare("--pair", "de_en"), "no de/clips")
    fails(prepare("--pair", "fr_de"), "CoVoST 2 has no --pair fr_de")
    (tmp_path / "covost/covost_v2.fr_en.tsv").unlink()
    fails(prepare(), "holds no covost_v2.fr_en.tsv")
    fails(corpora.preparer(root, "covost2", tmp_path)("data"), "--commonvoice DIR", "mozilla.org")


def test_translations_are_downloaded(root, prepare, tmp_path):
    """From a server on this machine in place of the real one; the table lies bare in its tar."""
    name = "covost_v2.fr_en.tsv"
    with tarfile.open(tmp_path / f"{name}.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "covost" / name, name)
    code = (
        "import sys, prepare\n"
        "prepare.URL = sys.argv[1] + '/covost_v2.{}.tsv.tar.gz'\n"
        "prepare.main(['--commonvoice', sys.argv[2] + '/cv', '--subset', 'true', 'data'])"
    )
    with served(tmp_path) as url:
        done = subprocess.run(
            [sys.executable, "-c", code, url, str(tmp_path)],
            cwd=tmp_path,
            env={"PYTHONPATH": f"{root}:{root}/egs2/covost2/audiollm1/local"},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    assert len(utterances(tmp_path / "data/train")) == 3
    fetched = tmp_path / "downloads/covost_v2.fr_en" / name
    digests = {hashlib.md5(p.read_bytes()).digest() for p in (fetched, tmp_path / "covost" / name)}
    assert len(digests) == 1


def test_every_language_of_the_pairs_has_a_name(root):
    """run.sh tells the LLM what to translate into by conf/languages.txt."""
    recipe = root / "egs2/covost2/audiollm1"
    lines = (recipe / "conf/languages.txt").read_text().splitlines()
    names = dict(line.split(" ") for line in lines)
    code = "import prepare; print(*prepare.PUBLISHED)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{root}:{recipe}/local"},
        capture_output=True,
        text=True,
        check=True,
    )
    pairs = done.stdout.split()
    assert len(pairs) == 36 and {code for pair in pairs for code in pair.split("_")} == set(names)
