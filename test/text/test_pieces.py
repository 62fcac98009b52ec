import io

import pytest
import sentencepiece

from espnet_audiollm.text import pieces

LINES = ["the cat sat on the mat", "a dog ate my homework", "three one four"]


def test_token_list_is_in_espnet_order(tmp_path):
    assert pieces.train_pieces(LINES, 24, "unigram", tmp_path)
    tokens = (tmp_path / "tokens.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert len(tokens) == 24
    assert tokens[:2] == ["<blank>", "<unk>"] and tokens[-1] == "<sos/eos>"
    assert not {"<s>", "</s>"} & set(tokens)
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "bpe.model"))
    assert set(model.encode("the cat ate three", out_type=str)) <= set(tokens)


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_the_same_text_gives_the_same_files(tmp_path, model_type):
    for name in "ab":
        pieces.train_pieces(LINES, 25, model_type, tmp_path / name)
    for file in ("bpe.model", "tokens.txt"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_second_run_does_nothing_and_other_text_does(tmp_path):
    assert pieces.train_pieces(LINES, 24, "unigram", tmp_path)
    before = (tmp_path / "bpe.model").stat().st_mtime_ns
    assert not pieces.train_pieces(LINES, 24, "unigram", tmp_path)
    assert (tmp_path / "bpe.model").stat().st_mtime_ns == before
    assert pieces.train_pieces([*LINES, "a zebra"], 24, "unigram", tmp_path)
    assert "z" in (tmp_path / "tokens.txt").read_text()


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_too_large_names_the_largest_that_works(tmp_path, model_type):
    with pytest.raises(ValueError, match="the largest that works is") as error:
        pieces.train_pieces(LINES, 500, model_type, tmp_path)
    assert not list(tmp_path.iterdir())
    largest = int(str(error.value).rsplit("--vocab_size ", 1)[1].split()[0])
    assert pieces.train_pieces(LINES, largest, model_type, tmp_path)
    with pytest.raises(ValueError, match=f"largest that works is {largest}"):
        pieces.train_pieces(LINES, largest + 1, model_type, tmp_path)


def test_too_small_names_the_smallest(tmp_path):
    with pytest.raises(ValueError, match="set --vocab_size 21 or more"):
        pieces.train_pieces(LINES, 10, "unigram", tmp_path)


def test_no_text(tmp_path):
    with pytest.raises(ValueError, match="no text"):
        pieces.train_pieces(["", " "], 10, "unigram", tmp_path)


def test_a_broken_write_leaves_no_marker(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "token_list", lambda model: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pieces.train_pieces(LINES, 24, "unigram", tmp_path)
    assert not (tmp_path / ".learned").exists() and not (tmp_path / "tokens.txt").exists()
    monkeypatch.undo()
    assert pieces.train_pieces(LINES, 24, "unigram", tmp_path)
    assert (tmp_path / "tokens.txt").exists()


def test_long_lines_are_not_skipped(tmp_path):
    model = io.BytesIO()
    model.write(pieces._train(["ab " * 3000, "q " * 3000], 7, "unigram"))  # over 4192 bytes
    assert "q" in "".join(pieces.token_list(model.getvalue()))


def test_of_too_much_text_evenly_spaced_lines_are_taken(tmp_path, monkeypatch):
    many = [LINES[0], "xyz", "", LINES[1], "xyz"]  # of four with words, every other one
    size = sum(len(line) + 1 for line in many if line)
    monkeypatch.setattr(pieces, "MAX_BYTES", size - 1)
    assert pieces.train_pieces(many, 20, "unigram", tmp_path / "many")
    assert pieces.train_pieces(LINES[:2], 20, "unigram", tmp_path / "two")
    model = [(tmp_path / name / "bpe.model").read_bytes() for name in ("many", "two")]
    assert model[0] == model[1]


def test_lines_need_not_be_held(tmp_path):
    class Lines:
        def __iter__(self):
            return iter(LINES)

    pieces.train_pieces(Lines(), 24, "unigram", tmp_path / "stream")
    pieces.train_pieces(LINES, 24, "unigram", tmp_path / "list")
    for name in ("bpe.model", ".learned"):
        assert (tmp_path / "stream" / name).read_bytes() == (tmp_path / "list" / name).read_bytes()
