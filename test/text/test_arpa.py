"""ARPA files: probabilities worked out by hand, what is left out, what is refused."""

import gzip
import io

import numpy as np
import pytest

from espnet_audiollm.text.arpa import BEGIN, END, arpa_order, read_arpa, write_arpa
from espnet_audiollm.text.ngrams import witten_bell

# As KenLM and SRILM write: tabs, <unk>, a back-off weight only where something follows.
FILE = """
\\data\\
ngram 1=5
ngram 2=4
ngram 3=1

\\1-grams:
-99\t<s>\t-0.5
-1.0\t<unk>
-0.6\t</s>
-0.4\ta\t-0.3
-0.7\tb\t-0.2

\\2-grams:
-0.1\t<s> a\t-0.25
-0.2\ta b\t-0.125
-0.3\ta a
-0.15\tb </s>

\\3-grams:
-0.05\t<s> a b

\\end\\
"""
HAND = [  # context, word, log10
    ("", "a", -0.4),
    (BEGIN, "a", -0.1),
    (BEGIN, "b", -0.5 - 0.7),  # no bigram: <s>'s weight
    ("b", "a", -0.2 - 0.4),
    (f"{BEGIN} a", "b", -0.05),
    (f"{BEGIN} a", "a", -0.25 - 0.3),  # the bigram a a
    (f"{BEGIN} a", END, -0.25 - 0.3 - 0.6),  # neither: both weights
    ("a b", "b", -0.125 - 0.2 - 0.7),
    ("b a", "b", -0.2),  # b a is no bigram, so its weight is 1
    ("<unk>", "a", -0.4),
    (f"b {BEGIN} a", "b", -0.05),  # only the last two words count
]


@pytest.fixture
def arpa(tmp_path):
    def write(text=FILE):
        path = tmp_path / "lm.arpa"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(("context", "word", "log10"), HAND)
def test_probabilities_by_hand(arpa, context, word, log10):
    assert read_arpa(arpa()).probability(word, *context.split()) == pytest.approx(10**log10)


def test_a_sentence_counts_with_its_end(arpa):
    nats = read_arpa(arpa()).sentence_log_p(["a", "b"])
    # <s> a: -0.1; <s> a b: -0.05; a b </s>: the weight of "a b", then b </s>
    assert nats == pytest.approx((-0.1 - 0.05 - 0.125 - 0.15) * np.log(10))


def test_order_and_compression(arpa, tmp_path):
    (tmp_path / "lm.arpa.gz").write_bytes(gzip.compress(FILE.encode()))
    assert arpa_order(arpa()) == arpa_order(tmp_path / "lm.arpa.gz") == 3
    assert read_arpa(tmp_path / "lm.arpa.gz").probability("b", BEGIN, "a") == pytest.approx(
        10**-0.05
    )
    (tmp_path / "lm.arpa.gz").write_bytes(gzip.compress(FILE.encode())[:40])
    with pytest.raises(ValueError, match="no ARPA file"):
        read_arpa(tmp_path / "lm.arpa.gz")


def test_words_that_nobody_wants_are_left_out(arpa):
    model = read_arpa(arpa(), {"a"})
    assert model.words == [BEGIN, END, "a"]
    assert model.probability("a", "a") == pytest.approx(10**-0.3)
    assert [len(level.word_N) for level in model.levels] == [3, 2, 0]


def test_written_and_read_it_is_the_same(tmp_path):
    sentences = [list("abca"), list("abd"), list("c"), list("dabca"), list("bdé")]
    model = witten_bell(sentences, 4, ["x"])
    with open(tmp_path / "lm.arpa", "w", encoding="utf-8") as out:
        write_arpa(model, out)
    read = read_arpa(tmp_path / "lm.arpa")
    assert read.words == model.words
    for context in ("", "a", f"{BEGIN} a b", "a b c", "x", "d a b c"):
        places = [model.place_of[word] for word in context.split()]
        assert read.log_p(places) == pytest.approx(model.log_p(places), abs=2e-5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\\data\\", "data", "there is no .data. section"),
        ("ngram 2=4", "ngram 3=4", "line 4: 'ngram 3=4' is not 'ngram 2=COUNT'"),
        ("ngram 2=4", "ngram 2=5", "4 2-grams, and the .data. section says 5"),
        ("\\2-grams:", "\\3-grams:", "stands where .2-grams: should"),
        ("-0.4\ta", "much\ta", "line 11: 'much' or '-0.3' is no number"),
        ("-0.4\ta", "0.4\ta", "log10 0.4 is above 0"),
        ("-0.4\ta", "nan\ta", "log10 nan is above 0"),
        ("-0.2\ta b\t-0.125", "-0.2\ta", "is no line of 2 words"),
        ("-0.7\tb", "-0.7\ta", "line 12: a comes twice"),
        ("-0.3\ta a", "-0.3\ta b", "1 2-grams come twice"),
        ("<s> a b", "b a b", "first 2 words of 1 3-grams .first: 'b a b'. are no 2-gram"),
        ("\\end\\", "", "is missing: the file is cut off"),
        ("</s>", "END", "has no </s>"),
    ],
)
def test_what_is_no_arpa_file_is_refused_with_its_line(arpa, old, new, message):
    assert old in FILE
    with pytest.raises(ValueError, match=message):
        read_arpa(arpa(FILE.replace(old, new)))


def test_a_missing_file(tmp_path):
    for read in (read_arpa, arpa_order):
        with pytest.raises(ValueError, match="does not exist"):
            read(tmp_path / "gone.arpa")
    (tmp_path / "x.arpa").write_bytes(b"\xff\xfe\n")
    with pytest.raises(ValueError, match="UTF-8"):
        read_arpa(tmp_path / "x.arpa")


def test_what_pocketsphinx_reads():
    """The layout it needs: no weights at the last length, none for what ends."""
    out = io.StringIO()
    write_arpa(witten_bell([["a"], ["a", "a"]], 2), out)
    assert out.getvalue() == (  # after a: a once, the end twice; 2 of 5 are shared
        "\\data\\\nngram 1=3\nngram 2=3\n"
        "\n\\1-grams:\n-99.000000 <s> -0.477121\n-0.397940 </s>\n-0.221849 a -0.397940\n"
        "\n\\2-grams:\n-0.062148 <s> a\n-0.251812 a </s>\n-0.356547 a a\n\n\\end\\\n"
    )
