"""WebQuestions and TriviaQA, spoken: small question sets in the true layouts, and the real one."""

import argparse
import json

import corpora
import pytest
from corpora import fails, utterances

from espnet_audiollm.corpus import prepare as corpus
from espnet_audiollm.corpus import question_sets, questions
from espnet_audiollm.corpus.voices import TEST_VARIANTS
from espnet_audiollm.data import audio, kaldi_dir

pytest.importorskip("espeakng_loader")

SUBSET = ("--subset", "true", "--nj", 1)
SPLITS = ("train", "valid", "test")


@pytest.fixture
def web(root, tmp_path):
    corpora.webquestions(tmp_path / "wq")
    call = corpora.preparer(root, "webquestions_tts", tmp_path)
    return lambda *more: call("--corpus", tmp_path / "wq", *more, "data")


@pytest.fixture
def trivia(root, tmp_path):
    call = corpora.preparer(root, "triviaqa_tts", tmp_path)
    return lambda *more: call("--corpus", tmp_path / "trivia", *more, "data")


def test_webquestions(web, tmp_path, monkeypatch):
    done = web(*SUBSET)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)  # wav.scp names files from the recipe's directory
    train = utterances(tmp_path / "data/train")
    assert {id_: utt.text for id_, utt in train.items()} == {
        "wqr000001": "what is the capital of italy?",
        "wqr000002": "who wrote hamlet?",
        "wqr000003": "where is mount everest?",
    }
    assert kaldi_dir.read_dict(tmp_path / "data/train/answers") == {
        "wqr000001": "rome | Roma Roma Capitale",  # one alias twice; no bar within an answer
        "wqr000002": "William Shakespeare",  # "?" has no words
        "wqr000003": "Nepal",
    }
    (test,) = utterances(tmp_path / "data/test").values()
    assert test.speaker.rpartition("_")[2] in TEST_VARIANTS
    assert not {utt.speaker.rpartition("_")[2] for utt in train.values()} & set(TEST_VARIANTS)
    found = audio.info(test.audio)
    assert (found.rate, found.channels) == (16_000, 1) and 1 < found.duration < 5


def test_a_second_run_speaks_nothing_until_an_option_changes(web, tmp_path):
    web(*SUBSET, "--num_train", 1)
    first = (tmp_path / "data/train/text").read_text()
    assert len(first.splitlines()) == 1
    assert "made already" in web("--subset", "true", "--nj", 2, "--num_train", 1).stderr
    assert "made already" not in web(*SUBSET, "--num_train", 2, "--text", "spoken").stderr
    assert "?" not in (tmp_path / "data/train/text").read_text()
    assert len((tmp_path / "data/train/text").read_text().splitlines()) == 2


def test_webquestions_counts_are_the_published_ones(web, tmp_path):
    fails(web(), "questions in ", "trainmodel.json: 3, not 2834 as published", "--subset true")
    assert not (tmp_path / "data").exists()


def test_questions_without_an_answer_are_among_the_published_ones(tmp_path):
    """Three are published, one of them with an answer that has no word."""
    rows = [("a", "who?", ["me"]), ("b", "why?", ["?"]), ("c", "where?", ["here"])]
    path = tmp_path / "all.json"
    path.write_text(json.dumps(rows))

    def prepare(published):
        args = argparse.Namespace(
            output=tmp_path / "data", subset="false", text="written", seed=1, nj=1
        )
        args.num_train = args.num_valid = args.num_test = 1
        source = question_sets.QuestionSet(
            "little", {"all": path}, {"all": published}, tuple, "a form", "copy it again"
        )
        question_sets.prepare(args, source, lambda found: {"train": found["all"]})

    with pytest.raises(ValueError, match=r"\(with 1 that are left out\): 3, not 4 as published"):
        prepare(4)
    prepare(3)
    assert len(utterances(tmp_path / "data/train")) == 1


def test_webquestions_faults_in_one_report(web, tmp_path):
    rows = [
        {"qId": "a", "qText": "who?", "answers": ["me"]},
        {"qId": "a", "qText": "what?", "answers": ["this"]},
        {"qId": "../b", "qText": "where?", "answers": ["here"]},
        {"qId": "c", "qText": " ? ", "answers": ["x"]},
        {"qText": "when?", "answers": ["now"]},
        {"qId": "d", "qText": "why?", "answers": ["?"]},
    ]
    text = json.dumps(rows, indent=1).replace("\n", "\r\n")
    (tmp_path / "wq/val.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    fails(
        web(*SUBSET),
        "1 ids that come twice (first: a)",
        "1 questions whose id is no plain word (first: '../b')",
        "1 questions without a word (first: c)",
        "1 objects without qId, qText or answers (first: number 5)",
    )
    assert not (tmp_path / "data/train").exists()
    (tmp_path / "wq/val.json").write_text(json.dumps(rows[:1] + rows[-1:])[:-20])
    fails(web(*SUBSET), "val.json: damaged")
    (tmp_path / "wq/val.json").unlink()
    fails(web(*SUBSET), "holds no val.json")


@pytest.mark.parametrize(
    "place, part", [("triviaqa-unfiltered", "unfiltered-web"), ("qa", "wikipedia"), ("", "web")]
)
def test_triviaqa(trivia, tmp_path, place, part):
    corpora.triviaqa(tmp_path / "trivia" / place, part)
    few = ("--part", part, "--num_train", 2, "--num_valid", 1, "--num_test", 0)
    done = trivia(*SUBSET, *few)
    assert done.returncode == 0, done.stderr
    names = {split: kaldi_dir.read_dict(tmp_path / "data" / split / "text") for split in SPLITS}
    assert {split: len(ids) for split, ids in names.items()} == {"train": 2, "valid": 1, "test": 5}
    assert not names["train"].keys() & names["valid"].keys()
    assert names["test"]["dev_3"] == "Which Lloyd Webber musical number 3 premiered?"
    answers = kaldi_dir.read_dict(tmp_path / "data/test/answers")
    assert answers["dev_3"] == "dev 3 | The 3 | Ünïcode"


def test_triviaqa_leaves_questions_to_train_on(trivia, tmp_path):
    """Validation is taken out of train: all of it, 0 elsewhere, would be too much."""
    corpora.triviaqa(tmp_path / "trivia")
    for number in (0, -1):
        fails(trivia(*SUBSET, "--num_valid", number), f"--num_valid {number}: ", "1 or more")
    assert not (tmp_path / "data").exists()


def test_triviaqa_faults(trivia, tmp_path):
    fails(trivia(), "--triviaqa", "no such directory")
    corpora.triviaqa(tmp_path / "trivia", number=3)
    fails(trivia(), "unfiltered-web-train.json: 3, not 87622 as published")
    path = tmp_path / "trivia/unfiltered-web-dev.json"
    path.write_text(path.read_text().replace('"QuestionId": "dev_1"', '"QuestionId": "dev_0"'))
    fails(trivia(*SUBSET), "1 ids that come twice (first: dev_0)")
    path.write_text(path.read_text().replace('"Question"', '"Query"', 1))
    fails(trivia(*SUBSET), "1 objects without QuestionId, Question or Answer (first: number 1)")
    path.write_text('{"Daten": []}')
    fails(trivia(*SUBSET), "not JSON with an array Data")


def test_objects_are_streamed_whatever_the_blocks_are(tmp_path, monkeypatch):
    """Blocks far shorter than an object, and brackets within strings."""
    corpora.triviaqa(tmp_path / "trivia", number=4)
    path = tmp_path / "trivia/unfiltered-web-train.json"
    complete = json.loads(path.read_text())["Data"]
    for block in (7, 100, 1 << 20):
        monkeypatch.setattr(questions, "BLOCK", block)
        assert list(questions.stream_objects(path, "Data")) == complete


def test_a_draw_is_of_so_many_and_the_seed_decides():
    pool = {f"{n}": questions.Question(f"{n}", "who?", ("me",)) for n in range(50)}
    ids = [[each.id for each in questions.draw(pool, 10, seed)] for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2] and len(ids[0]) == 10 and ids[0] == sorted(ids[0])
    assert len(questions.draw(pool, 0, 1)) == len(questions.draw(pool, 99, 1)) == 50


def test_the_real_webquestions(shared, tmp_path):
    """All 5,621 of the three files are read, and drawn from; what is spoken is tested above."""
    place, faults = shared / "data/webquestions", corpus.Faults("copy it again")
    for name, number in (("trainmodel", 2834), ("val", 755), ("test", 2032)):
        path = place / f"{name}.json"
        read = questions.read(
            path, lambda row: (row["qId"], row["qText"], row["answers"]), "", faults
        )
        assert len(read) == number
    faults.refuse()
    assert faults.left_out() == []
