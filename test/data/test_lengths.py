"""Lengths for batches: what ESPnet's collect_stats counts, without its reading of audio."""

import pytest

from espnet_audiollm.data import lengths
from espnet_audiollm.data.kaldi_dir import read_dict, write_table
from espnet_audiollm.data.lengths import CountTokens, count_words, write_lengths

TEXTS = {"a": "one two", "b": "three", "c": "two two two", "d": "o n e", "é": "ñ three"}


@pytest.fixture
def tables(tmp_path):
    """Paths of samples, transcripts, token ids, and a model of 12 pieces."""
    from espnet_audiollm.text.pieces import train_pieces

    write_table(tmp_path / "samples", ((id_, str(1000 + i)) for i, id_ in enumerate(TEXTS)))
    write_table(tmp_path / "text", TEXTS.items())
    write_table(tmp_path / "ids", ((id_, "7 " * (i + 1)) for i, id_ in enumerate(TEXTS)))
    train_pieces(list(TEXTS.values()), 14, "bpe", tmp_path / "bpe")
    return tmp_path


@pytest.mark.parametrize("chunk", [2, 4096])
def test_pieces_are_those_that_training_makes(tables, monkeypatch, chunk):
    from espnet_audiollm.tasks.ctc import TokenIds
    from espnet_audiollm.text.tokens import Tokenizer, read_token_list

    monkeypatch.setattr(lengths, "CHUNK", chunk)
    model = tables / "bpe" / "bpe.model"
    count = CountTokens("bpe", bpemodel=model)
    assert write_lengths(tables / "samples", tables / "text", count, tables / "out", "text") == 5
    train = TokenIds(Tokenizer("bpe", read_token_list(tables / "bpe" / "tokens.txt"), model))
    wanted = {id_: str(len(train(id_, {"text": text})["text"])) for id_, text in TEXTS.items()}
    assert read_dict(tables / "out" / "text_shape") == wanted
    assert read_dict(tables / "out" / "speech_shape") == read_dict(tables / "samples")


@pytest.mark.parametrize(
    ("token_type", "lengths", "unknown"),
    [
        ("word", {"a": 2, "b": 1, "c": 3, "d": 3, "é": 2}, "4 of 11 tokens unknown (36.36 %)"),
        ("char", {"a": 7, "b": 5, "c": 11, "d": 5, "é": 7}, "1 of 35 tokens unknown (2.86 %)"),
    ],
)
def test_characters_and_words_are_counted(tables, token_type, lengths, unknown):
    from espnet_audiollm.text.tokens import learn

    learn(["one two three two"], token_type, 0, 1, tables / "list")
    count = CountTokens(token_type, tables / "list" / "tokens.txt")
    write_lengths(tables / "samples", tables / "text", count, tables / "out", "text")
    found = {id_: int(value) for id_, value in read_dict(tables / "out" / "text_shape").items()}
    assert found == lengths
    assert str(count) == unknown  # o, n, e, ñ as words; ñ as a character


def test_token_ids_are_counted(tables):
    write_lengths(tables / "samples", tables / "ids", count_words, tables / "out", "response")
    assert (tables / "out" / "response_shape").read_text() == "a 1\nb 2\nc 3\nd 4\né 5\n"


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("abcd", "é is missing in .*ids"),
        ("acdé", "b is missing in .*ids"),
        ("abbcdé", "duplicate ids"),
        ("abcdée", "out of order"),
        ("abcdeé", "e is missing in .*samples"),
        ("abcdéü", "ü is missing in .*samples"),
    ],
)
def test_tables_that_differ_leave_nothing(tables, ids, message):
    (tables / "ids").write_text("".join(f"{id_} 1\n" for id_ in ids))
    with pytest.raises(ValueError, match=message):
        write_lengths(tables / "samples", tables / "ids", count_words, tables / "out", "response")
    assert not list((tables / "out").iterdir())


def test_what_is_missing_or_empty_is_named(tables):
    write = (tables / "samples", tables / "ids", count_words, tables / "out", "response")
    (tables / "ids").write_text("a 1\nb\nc 1\nd 1\né 1\n")
    with pytest.raises(ValueError, match="ids: b is empty"):
        write_lengths(*write)
    (tables / "ids").unlink()
    with pytest.raises(ValueError, match="ids does not exist"):
        write_lengths(*write)
    with pytest.raises(ValueError, match="none.model does not exist: run stage 3"):
        CountTokens("bpe", bpemodel=tables / "none.model")
    with pytest.raises(ValueError, match="none.txt does not exist: run stage 3"):
        CountTokens("char", tables / "none.txt")
