"""Lists of characters and words: what is in them, what is not, and how often."""

import pickle

import pytest

from espnet_audiollm.text.pieces import train_pieces
from espnet_audiollm.text.tokens import Learned, Tokenizer, learn, read_token_list

LINES = ["the cat sat", "the  dog sat", "", "the cat ate <unk>"]


def tokens(directory):
    return read_token_list(directory / "tokens.txt")


def test_words_by_how_often_they_come(tmp_path):
    assert learn(LINES, "word", 0, 1, tmp_path) == Learned(8, 5, 0, 10, 1)
    words = ["the", "cat", "sat", "ate", "dog"]
    assert tokens(tmp_path) == ["<blank>", "<unk>", *words, "<sos/eos>"]


@pytest.mark.parametrize(
    ("size", "min_count", "kept", "unknown"),
    [(0, 2, ["the", "cat", "sat"], 3), (5, 1, ["the", "cat"], 5), (100, 3, ["the"], 7)],
)
def test_rare_words_are_unknown(tmp_path, size, min_count, kept, unknown):
    learned = learn(LINES, "word", size, min_count, tmp_path)
    assert tokens(tmp_path)[2:-1] == kept
    assert (learned.unknown, learned.left_out, learned.running) == (unknown, 5 - len(kept), 10)
    share = f"({len(kept)} of 5 different ones); unknown: {unknown} of 10 ({10 * unknown:.2f} %)"
    assert str(learned) == f"{len(kept) + 3} tokens {share}"


def test_characters(tmp_path):
    learned = learn(["ab  ba\u00a0é", "a b"], "char", 0, 1, tmp_path)
    assert tokens(tmp_path) == ["<blank>", "<unk>", "<space>", "a", "b", "é", "<sos/eos>"]
    assert (learned.running, learned.unknown) == (10, 0)


@pytest.mark.parametrize(
    ("token_type", "known", "back"),
    [("word", "the dog sat", "the <unk> sat"), ("char", "the dog sat", "the og sat")],
)
def test_there_and_back(tmp_path, token_type, known, back):
    learn(["the cat sat", "tog eats"], token_type, 0, 1, tmp_path)
    tokenizer = Tokenizer(token_type, tokens(tmp_path))
    names = tokens(tmp_path)
    ids = tokenizer.ids(known)
    assert ids.count(names.index("<unk>")) == 1
    assert tokenizer.text([names[i] for i in ids]) == back
    assert tokenizer.text(tokenizer.tokens("  the\tcat ")) == "the cat"
    assert pickle.loads(pickle.dumps(tokenizer)).ids(known) == ids


def test_pieces_are_sentencepieces(tmp_path):
    train_pieces(["the cat sat", "a dog ate"], 18, "bpe", tmp_path)
    tokenizer = Tokenizer("bpe", tokens(tmp_path), tmp_path / "bpe.model")
    pieces = tokenizer.tokens("the dog sat")
    assert (
        pieces[0].startswith("\u2581") and "".join(pieces).replace("\u2581", " ") == " the dog sat"
    )
    assert [tokens(tmp_path)[i] for i in tokenizer.ids("the dog sat")] == pieces
    assert tokenizer.ids("z")[-1] == 1
    assert tokenizer.text(pieces) == "the dog sat"
    assert pickle.loads(pickle.dumps(tokenizer)).tokens("the dog sat") == pieces


@pytest.mark.parametrize(
    ("lines", "token_type", "size", "min_count", "message"),
    [
        (["", " "], "word", 0, 1, "no text to learn a token list from: run stage 2"),
        (LINES, "word", 3, 1, "--vocab_size 3 has no room"),
        (LINES, "word", 0, 4, "no word comes 4 times .*'the', comes 3 times.*--min_count"),
        (["<unk> <unk>"], "word", 0, 1, "no word comes 1 times"),
        (["a <blank> b"], "word", 0, 1, "the transcripts have <blank>, a sign of .*, 1 times"),
    ],
)  # fmt: skip
def test_what_makes_no_list(tmp_path, lines, token_type, size, min_count, message):
    with pytest.raises(ValueError, match=message):
        learn(lines, token_type, size, min_count, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_characters_of_signs_are_characters(tmp_path):
    learn(["a <blank> b"], "char", 0, 1, tmp_path)
    assert "<" in tokens(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it begins with"),
        ("<blank>\n<unk>\na\n", "begins with"),
        ("<unk>\n<blank>\na\n<sos/eos>\n", "begins with"),
        ("<blank>\n<unk>\na\na\n<sos/eos>\n", "'a' comes twice"),
    ],
)
def test_files_that_are_no_lists(tmp_path, text, message):
    (tmp_path / "tokens.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        tokens(tmp_path)


def test_a_tokenizer_says_what_it_lacks(tmp_path):
    with pytest.raises(ValueError, match="'phone' is none of bpe, char, word"):
        Tokenizer("phone", ["<unk>"])
    with pytest.raises(ValueError, match="need --bpemodel"):
        Tokenizer("bpe", ["<unk>"])
    with pytest.raises(ValueError, match="no.model does not exist: run stage 3"):
        Tokenizer("bpe", ["<unk>"], tmp_path / "no.model")
