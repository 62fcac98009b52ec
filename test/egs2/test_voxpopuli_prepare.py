"""VoxPopuli's preparation on a small corpus as its own scripts leave it."""

import gzip

import corpora
import pytest
from corpora import fails, utterances

from espnet_audiollm.data import audio

SPLITS = ("data/train=train", "data/valid=dev", "data/test=test")


@pytest.fixture
def prepare(root, tmp_path):
    call = corpora.preparer(root, "voxpopuli", tmp_path)
    return lambda *more: call("--corpus", tmp_path / "vox", "--lang", "de", *more, *SPLITS)


FIRST = "20090112-0900-PLENARY-3-de-20090112-18:07:11_3"
SECOND = "20180206-0900-PLENARY-15-de-20180206-21:25:15_7"


@pytest.mark.parametrize("tables", [True, False])
def test_layout(prepare, tmp_path, tables):
    corpora.voxpopuli(tmp_path / "vox", tables=tables)
    done = prepare()
    assert done.returncode == 0, done.stderr
    train = utterances(tmp_path / "data/train")
    assert list(train) == [FIRST, SECOND]
    assert (train[FIRST].text, train[FIRST].speaker) == ("ja drei", "96757")
    assert train[SECOND].speaker == "None"  # as the corpus has it
    assert train[FIRST].audio == str(tmp_path / f"vox/transcribed_data/de/2009/{FIRST}.ogg")
    found = audio.info(train[FIRST].audio)
    assert (found.container, found.rate, found.frames) == ("OGG", 16_000, 1600)
    assert [utt.text for utt in utterances(tmp_path / "data/valid").values()] == ["gut"]
    assert [utt.text for utt in utterances(tmp_path / "data/test").values()] == ["so"]


def test_compressed_tables_and_raw_text(prepare, tmp_path):
    corpora.voxpopuli(tmp_path / "vox")
    for table in (tmp_path / "vox/transcribed_data/de").glob("asr_*.tsv"):
        table.with_name(f"{table.name}.gz").write_bytes(gzip.compress(table.read_bytes()))
        table.unlink()
    done = prepare("--text", "raw")
    assert done.returncode == 0, done.stderr
    assert f"left out 1 transcripts without a word (first: {SECOND})" in done.stdout
    assert {id_: utt.text for id_, utt in utterances(tmp_path / "data/train").items()} == {
        FIRST: "Ja, 3!"
    }


@pytest.mark.parametrize(
    "written, meant",
    [('"Er sagt: ""Ja | 3!"""', 'Er sagt: "Ja | 3!"'), ('"""Ja"", 3!"', '"Ja", 3!')],
)
def test_annotations_are_read_by_csv(prepare, tmp_path, written, meant):
    """As the corpus's own get_asr_data.py does."""
    corpora.voxpopuli(tmp_path / "vox", tables=False)
    table = tmp_path / "vox/transcribed_data/de/asr_de.tsv.gz"
    rows = gzip.decompress(table.read_bytes()).decode()
    table.write_bytes(gzip.compress(rows.replace("|Ja, 3!|", f"|{written}|").encode()))
    done = prepare("--text", "raw")
    assert done.returncode == 0, done.stderr
    assert utterances(tmp_path / "data/train")[FIRST].text == meant


def test_faults_of_annotations(prepare, tmp_path):
    corpora.voxpopuli(tmp_path / "vox", tables=False)
    table = tmp_path / "vox/transcribed_data/de/asr_de.tsv.gz"
    rows = gzip.decompress(table.read_bytes()).decode()
    table.write_bytes(gzip.compress(f"{rows}too|few\n".encode()))
    fails(prepare(), "asr_de.tsv.gz: ", "lines that have not 8 fields (first: line 7)")
    table.write_bytes(gzip.compress(rows.replace("|id_|", "|id|").encode()))
    fails(prepare(), "asr_de.tsv.gz: the first line names no column id_")
    table.write_bytes(gzip.compress(f'{rows}"{"x" * 200_000}\n'.encode()))
    fails(prepare(), "asr_de.tsv.gz, after line 6: no table that csv can read", "Get it again")


def test_quotation_marks_of_tables_are_letters(prepare, tmp_path):
    """get_asr_data.py writes them without quoting."""
    corpora.voxpopuli(tmp_path / "vox")
    table = tmp_path / "vox/transcribed_data/de/asr_train.tsv"
    table.write_text(table.read_text().replace("Ja, 3!", '"Ja", 3!'))
    assert prepare("--text", "raw").returncode == 0
    assert utterances(tmp_path / "data/train")[FIRST].text == '"Ja", 3!'


def spoil(place):
    (place / f"2018/{SECOND}.ogg").unlink()
    table = place / "asr_train.tsv"
    lines = table.read_text().splitlines()
    more = [lines[1], lines[1].replace("20090112-0900", "PLENARY", 1), "too\tfew"]
    table.write_bytes("\r\n".join([*lines, *more, ""]).encode() + b"\xff\n")


def test_all_faults_in_one_report(prepare, tmp_path):
    corpora.voxpopuli(tmp_path / "vox")
    spoil(tmp_path / "vox/transcribed_data/de")
    next(tmp_path.glob("vox/transcribed_data/de/2010/*.ogg")).write_bytes(b"")
    fails(
        prepare(),
        f"1 transcripts without audio (first: {SECOND}: ",
        "1 recordings of 0 bytes",
        f"data/train: 1 ids that come twice (first: {FIRST})",
        "1 ids that do not begin with a year (first: PLENARY-PLENARY-3-de-",
        "1 lines that have not 6 fields (first: line 6)",
        "1 lines that are not UTF-8 (first: line 7)",
        "run python -m voxpopuli.get_asr_data --root",
    )
    assert not (tmp_path / "data/train").exists()


def test_a_subset_leaves_gaps_out(prepare, tmp_path):
    corpora.voxpopuli(tmp_path / "vox")
    (tmp_path / f"vox/transcribed_data/de/2018/{SECOND}.ogg").unlink()
    done = prepare("--subset", "true")
    assert done.returncode == 0, done.stderr
    assert f"left out 1 transcripts without audio (first: {SECOND}: " in done.stdout
    assert list(utterances(tmp_path / "data/train")) == [FIRST]


def test_missing_corpus(prepare, tmp_path, root):
    fails(prepare(), "--voxpopuli", "no such directory")
    corpora.voxpopuli(tmp_path / "vox", lang="fr")
    fails(prepare(), "transcribed_data/de is missing", "github.com/facebookresearch/voxpopuli")
    corpora.voxpopuli(tmp_path / "vox", tables=False)
    annotations = tmp_path / "vox/transcribed_data/de/asr_de.tsv.gz"
    annotations.write_bytes(annotations.read_bytes()[:-9])
    fails(prepare(), "asr_de.tsv.gz: damaged")
    annotations.unlink()
    fails(prepare(), "holds no asr_train.tsv or asr_train.tsv.gz or asr_de.tsv.gz")
    fails(corpora.preparer(root, "voxpopuli", tmp_path)(*SPLITS), "--voxpopuli DIR")
