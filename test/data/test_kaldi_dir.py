import random

import pytest

from espnet_audiollm.corpus import repair
from espnet_audiollm.data import kaldi_dir, sorting, validation
from espnet_audiollm.types import Utterance

ODD = "a$(touch${IFS}pwned);'b\"`x`&|*"  # an id that a careless shell would run


def make_dir(path, **tables):
    """A data directory with utterances a, b, c; `tables` replaces files (bytes; None: absent)."""
    path.mkdir()
    audio = path / "x.wav"
    audio.write_bytes(b"RIFF")
    good = {
        "wav.scp": "".join(f"{i} {audio}\n" for i in "abc").encode(),
        "utt2spk": b"a s\nb s\nc t\n",
        "text": b"a one\nb two three\nc four\n",
    }
    for name, content in {**good, **tables}.items():
        if content is not None:
            (path / name).write_bytes(content)
    return path


def found(directory, **options):
    """{(file, kind): (count, first)} of all problems."""
    problems = validation.validate(directory, **options)
    assert all(p.next_step and str(p.count) in str(p) for p in problems)
    return {(p.file.rsplit("/", 1)[-1], p.kind): (p.count, p.first) for p in problems}


def test_a_good_directory(tmp_path):
    directory = make_dir(tmp_path / "d")
    assert validation.validate(directory, require_text=True) == []
    a, b, c = kaldi_dir.load_utterances(directory)
    assert b == Utterance("b", str(directory / "x.wav"), "s", None, "two three")
    assert c.speaker == "t"


def test_durations_and_missing_text(tmp_path):
    directory = make_dir(tmp_path / "d", text=None, utt2dur=b"a 1.5\nb 2\nc 0.125\n")
    assert validation.validate(directory) == []
    assert found(directory, require_text=True) == {("text", "missing file"): (1, "text")}
    utts = kaldi_dir.load_utterances(directory)
    assert [u.duration for u in utts] == [1.5, 2.0, 0.125]
    assert utts[0].text is None


@pytest.mark.parametrize(
    "text, expected",
    [
        (b"a one\r\nb two\r\nc three\r\n", {"lines with CRLF ends": (3, "line 1")}),
        (b"a one\nb \xe9t\xe9\nc x\n", {"lines that are not UTF-8": (1, "line 2")}),
        (b"a one\nb\nc \n", {"empty transcripts": (2, "b")}),
        (b"a one\nb two\nb three\nc x\n", {"duplicate ids": (1, "b")}),
        (b"b two\na one\nc x\n", {"lines out of order": (1, "a on line 2")}),
        (
            b"b two\na one\nc x\nb two\n",
            {"lines out of order": (2, "a on line 2"), "duplicate ids": (1, "b")},
        ),
        (
            b"a x\na x\nc x\nb x\nc x\n",
            {"lines out of order": (1, "b on line 4"), "duplicate ids": (2, "a")},
        ),
        (b"a one\nc x\n", {"ids missing": (1, "b")}),
        (b"a one\nb two\nc x\nd y\ne z\n", {"ids not in wav.scp": (2, "d")}),
        (b"a one\n\nb two\nc x\n", {"blank lines": (1, "line 2")}),
        (b"a one\n two\nb two\nc x\n", {"lines without an id": (1, "line 2")}),
        (b"\xef\xbb\xbfa one\nb two\nc x\n", {"byte order mark": (1, "line 1")}),
        (b"a o\0ne\nb two\nc x\n", {"lines with a NUL byte": (1, "line 1")}),
    ],
)
def test_faults_of_a_table(tmp_path, text, expected):
    directory = make_dir(tmp_path / "d", text=text)
    assert found(directory) == {("text", kind): what for kind, what in expected.items()}
    with pytest.raises(ValueError, match="text"):
        validation.check(directory)


def test_empty_file(tmp_path):
    assert found(make_dir(tmp_path / "d", text=b"")) == {
        ("text", "empty file"): (1, "text"),
        ("text", "ids missing"): (3, "a"),
    }


def test_all_faults_come_in_one_report(tmp_path):
    directory = make_dir(
        tmp_path / "d",
        text=b"a one\r\nb\n",
        utt2spk=None,
        **{"wav.scp": b"a cat x.wav |\nb /no/such.wav\nc /dev/null\n"},
    )
    assert found(directory) == {
        ("utt2spk", "missing file"): (1, "utt2spk"),
        ("text", "lines with CRLF ends"): (1, "line 1"),
        ("text", "empty transcripts"): (1, "b"),
        ("text", "ids missing"): (1, "c"),
        ("wav.scp", "pipes"): (1, "a cat x.wav |"),
        ("wav.scp", "audio files that do not exist"): (1, "b /no/such.wav"),
        ("wav.scp", "audio files that are empty"): (1, "c /dev/null"),
    }
    with pytest.raises(ValueError) as error:
        validation.check(directory)
    assert str(error.value).count("\n") == 6


def test_missing_directory(tmp_path):
    assert found(tmp_path / "none") == {("none", "missing directory"): (1, str(tmp_path / "none"))}


def test_an_id_with_spaces_shows_as_a_file_that_does_not_exist(tmp_path):
    directory = make_dir(tmp_path / "d", **{"wav.scp": b"my first /x.wav\n"})
    assert found(directory)["wav.scp", "audio files that do not exist"] == (1, "my first /x.wav")


def test_write_and_read_back_odd_ids(tmp_path):
    path = tmp_path / "sub" / "text"
    rows = [(ODD, "x"), ("Z", ""), ("a", "two  words"), ("é", "accent"), ("b|c", "pipe")]
    assert kaldi_dir.write_table(path, rows) == 5
    assert kaldi_dir.read_dict(path) == dict(rows)
    ids = [i for i, _ in kaldi_dir.read_table(path)]
    assert ids == sorted(ids, key=str.encode)  # the C locale's order
    assert path.read_bytes().startswith(b"Z\na two  words\na$(touch")


@pytest.mark.parametrize(
    "rows, message",
    [
        ([("a", "x"), ("a", "x")], "comes twice"),
        ([("a b", "x")], "without white space"),
        ([("a\u00a0b", "x")], "without white space"),
        ([("", "x")], "cannot be an id"),
        ([("a", "x\ny")], "line break"),
        ([("a", "x\r")], "line break"),
    ],
)
def test_what_cannot_be_written(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        kaldi_dir.write_table(tmp_path / "t", rows)
    assert not list(tmp_path.iterdir())


def test_presorted_rows_are_checked(tmp_path):
    with pytest.raises(ValueError, match="comes after"):
        kaldi_dir.write_table(tmp_path / "t", iter([("b", "x"), ("a", "x")]), presorted=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content, message",
    [
        (b"b x\na x\n", "line 2: lines out of order"),
        (b"a x\na x\n", "line 2: duplicate ids"),
        (b"a x\r\n", "line 1: lines with CRLF"),
    ],
)
def test_reading_is_strict(tmp_path, content, message):
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        kaldi_dir.read_dict(tmp_path / "t")


def test_files_with_different_ids_are_not_joined(tmp_path):
    directory = make_dir(tmp_path / "d", text=b"a one\nc x\n")
    with pytest.raises(ValueError, match="b is missing in text"):
        kaldi_dir.load_utterances(directory)


def test_write_data_dir(tmp_path):
    utts = [Utterance(ODD, "/x.wav", "s", text="hi"), Utterance("A", "/y.wav", "t", text="ho")]
    answers = {ODD: "x | y", "A": "z"}
    assert kaldi_dir.write_data_dir(tmp_path / "d", utts, answers=answers) == 2
    assert kaldi_dir.load_utterances(tmp_path / "d") == [utts[1], utts[0]]
    assert kaldi_dir.read_dict(tmp_path / "d" / "answers") == answers
    assert kaldi_dir.tables(tmp_path / "d") == ["wav.scp", "utt2spk", "text", "answers"]


def test_fix_mends_what_needs_no_guess(tmp_path):
    directory = make_dir(
        tmp_path / "d",
        text=b"\xef\xbb\xbfc four\r\nb\r\n\na one\r\na one\r\nd more\r\n",
        answers=b"a 1\nb 2\nc 4\n",
    )
    changes = repair.fix(directory)
    assert changes["empty transcripts in text"] == 1
    assert changes["duplicate ids in text"] == 1
    assert changes["utterances removed from wav.scp"] == 1
    assert validation.validate(directory) == []
    assert (directory / "text").read_bytes() == b"a one\nc four\n"
    assert (directory / "answers").read_bytes() == b"a 1\nc 4\n"
    assert repair.fix(directory) == {}


@pytest.mark.parametrize(
    "text, message",
    [(b"a x\nb \xe9\nc x\n", "iconv"), (b"a x\na y\n", "two values"), (b"z x\n", "no utterance")],
)
def test_fix_does_not_guess(tmp_path, text, message):
    directory = make_dir(tmp_path / "d", text=text)
    before = {p.name: p.read_bytes() for p in directory.iterdir()}
    with pytest.raises(ValueError, match=message):
        repair.fix(directory)
    assert {p.name: p.read_bytes() for p in directory.iterdir()} == before


def test_files_out_of_order_are_sorted_in_files(tmp_path, monkeypatch):
    monkeypatch.setattr(sorting, "RUN", 3)
    ids = [f"u{i:02d}" for i in (5, 3, 11, 7, 0, 3, 9, 1, 3, 8)]
    text = "".join(f"{id_} two words\n" for id_ in ids).encode()
    scp = b"".join(b"u%02d /dev/zero\n" % i for i in range(12))
    directory = make_dir(tmp_path / "d", text=text, utt2spk=scp, **{"wav.scp": scp})
    problems = found(directory)
    assert problems["text", "duplicate ids"] == (2, "u03")
    assert problems["text", "ids missing"] == (4, "u02")
    changes = repair.fix(directory)
    assert changes["utterances removed from wav.scp"] == 4
    kept = sorted(set(ids))
    assert kaldi_dir.read_dict(directory / "text") == dict.fromkeys(kept, "two words")
    assert list(kaldi_dir.read_dict(directory / "wav.scp")) == kept
    assert [p.name for p in directory.glob(".*")] == []


@pytest.mark.parametrize("last", ["\n", ""])
def test_the_place_of_an_id_is_found(tmp_path, last):
    chooser = random.Random(0)
    ids = sorted({"".join(chooser.choices("abz", k=chooser.randint(1, 6))) for _ in range(150)})
    lines = [f"{id_} {'x' * chooser.randint(0, 30)}" for id_ in ids]
    path = tmp_path / "t"
    path.write_text("\n".join(lines) + last)
    begins = [0]
    for line in lines:
        begins.append(begins[-1] + len(line) + 1)
    size = path.stat().st_size
    begins[-1] = size
    assert kaldi_dir.count_lines(path) == len(ids)
    with open(path, "rb") as table:
        for at in range(size + 1):
            assert kaldi_dir.line_begin(table, at) == min(b for b in begins if b >= at)
        for number, id_ in enumerate(ids):
            assert kaldi_dir.lower_bound(table, id_, size) == begins[number]
            assert kaldi_dir.lower_bound(table, id_ + "!", size) == begins[number + 1]
        assert kaldi_dir.lower_bound(table, "A", size) == 0
    rows = list(kaldi_dir.read_table(path, (begins[7], begins[40])))
    assert [id_ for id_, _ in rows] == ids[7:40]
    assert kaldi_dir.count_lines(path, (begins[7], begins[40])) == 33
