"""The command that learns n-grams: of which text, in which tokens, and what it says of it."""

import pytest

from espnet_audiollm.bin import ngram_train
from espnet_audiollm.text.arpa import read_arpa

TEXT = {"u1": "ab a", "u2": "a b", "u3": "ab"}


@pytest.fixture
def place(tmp_path):
    (tmp_path / "text").write_text("".join(f"{id} {text}\n" for id, text in TEXT.items()))
    (tmp_path / "lines").write_text("".join(f"{text}\n" for text in [*TEXT.values(), "", "bac"]))
    tokens = ["<blank>", "<unk>", "<space>", "a", "b", "d", "<sos/eos>"]
    (tmp_path / "tokens.txt").write_text("\n".join(tokens) + "\n")
    return tmp_path


def train(place, *words):
    cmd = ["--token_type", "char", "--token_list", f"{place}/tokens.txt"]
    return ngram_train.main([*cmd, "--output", f"{place}/out/lm.arpa", *words])


def test_transcripts(place, capsys):
    said = ["--text", f"{place}/text", "--valid_text", f"{place}/text"]
    assert train(place, *said, "--order", "2") == 0
    model = read_arpa(place / "out/lm.arpa")
    assert set(model.words) == {"<s>", "</s>", "<unk>", "<space>", "a", "b", "d"}
    # 9 characters and 3 ends, 4 kinds of 6; after a: b, the end and a space; b twice of 4
    b = (3 + 4 / 6) / 16
    assert model.probability("b", "a") == pytest.approx((2 + 3 * b) / 7, rel=1e-5)
    first, second = capsys.readouterr().out.splitlines()
    assert "2-gram of 3 sentences, 9 tokens (unknown: 0, 0.00 %); 1-grams: 7, 2-grams: " in first
    nats = -sum(
        model.sentence_log_p([{" ": "<space>"}.get(each, each) for each in text])
        for text in TEXT.values()
    )
    assert f"perplexity {2.718281828 ** (nats / 12):.2f} of {place}/text" in second


def test_sentences_with_an_unknown_token(place, capsys):
    assert train(place, "--sentences", f"{place}/lines", "--order", "4") == 0
    assert "4-gram of 4 sentences, 12 tokens (unknown: 1, 8.33 %)" in capsys.readouterr().out
    model = read_arpa(place / "out/lm.arpa")
    assert model.probability("<unk>", "b", "a") > model.probability("d", "b", "a")


@pytest.mark.parametrize(
    ("lines", "words", "message"),
    [
        ("", ["--order", "2"], "lines: no words to make a language model of"),
        ("\n \n", ["--order", "2"], "lines: no words to make a language model of"),
        ("ab\nb\n", ["--order", "5"], "the order 5 needs sentences of 3 words or more, and the"),
        ("ab\n", ["--order", "0"], "order 0 cannot be"),
        ("AB CD\nab\n", ["--order", "2"], "4 of 7 tokens (first: 'A') are none of"),
        ("ab\n", ["--order", "2", "--valid_text", "gone"], "gone does not exist: run stage 2"),
    ],
)
def test_refusals(place, capsys, lines, words, message):
    (place / "lines").write_text(lines)
    with pytest.raises(SystemExit):
        train(place, "--sentences", f"{place}/lines", *words)
    assert message in capsys.readouterr().err


def test_files_that_are_none(place, capsys):
    (place / "binary").write_bytes(b"\xff\xfe\xff")
    for words, message in (
        (["--sentences", f"{place}/gone"], "does not exist: give a text of one sentence a line"),
        (["--sentences", f"{place}/binary"], "is no UTF-8 text"),
        (["--text", f"{place}/gone"], "does not exist: run stage 2 first"),
    ):
        with pytest.raises(SystemExit):
            train(place, *words, "--order", "2")
        assert message in capsys.readouterr().err
        assert not (place / "out").exists()
