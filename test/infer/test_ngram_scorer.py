"""n-grams in the beam search: against every labelling counted out, and of which tokens they are."""

import itertools

import numpy as np
import pytest
import torch

from espnet_audiollm.infer.beam_search import LOG_ZERO, BeamSearch
from espnet_audiollm.infer.ngram_scorer import NGramScorer
from espnet_audiollm.model.ctc import collapse
from espnet_audiollm.text.arpa import read_arpa, write_arpa
from espnet_audiollm.text.ngrams import witten_bell

TOKENS = ["<blank>", "<unk>", "a", "b", "<sos/eos>"]
SAID = [["a", "b"], ["a", "b", "a"], ["b", "a"], ["a"], ["a", "b"]]


def save(path, sentences=SAID, order=3, vocabulary=("<unk>", "a", "b")):
    with open(path, "w") as out:
        write_arpa(witten_bell(sentences, order, vocabulary), out)
    return path


@pytest.fixture
def arpa(tmp_path):
    return save(tmp_path / "lm.arpa")


def test_scores_are_those_of_the_file(arpa):
    model, scorer = read_arpa(arpa), NGramScorer(arpa, TOKENS)
    ys = torch.tensor([[4, 2, 3, 2], [4, 3, 3, 1]])
    log_p_BV, _ = scorer.batch_score(ys, [None, None], torch.zeros(2, 5, dtype=torch.float64))
    for row, context in zip(log_p_BV, (["b", "a"], ["b", "<unk>"]), strict=True):
        assert row[0] == LOG_ZERO
        expected = [model.probability(word, *context) for word in ("<unk>", "a", "b", "</s>")]
        assert row[1:].exp().tolist() == pytest.approx(expected)
    assert log_p_BV[:, 1:].exp().sum(-1).tolist() == pytest.approx([1, 1], abs=1e-4)
    first, _ = scorer.batch_score(torch.tensor([[4]]), [None], torch.zeros(1, 5))
    assert first[0, 2].exp() == pytest.approx(model.probability("a", "<s>"))


def counted_out(posterior_TV, model, weight):
    """The best labelling: all alignments of each, summed; its n-grams with their end."""
    total = {}
    for path in itertools.product(range(4), repeat=len(posterior_TV)):
        labels = tuple(collapse(list(path)))
        share = np.prod([posterior_TV[t, v] for t, v in enumerate(path)])
        total[labels] = total.get(labels, 0) + share
    names = {labels: [TOKENS[label] for label in labels] for labels in total}
    return max(total, key=lambda at: np.log(total[at]) + weight * model.sentence_log_p(names[at]))


@pytest.mark.parametrize("weight", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("order", [1, 2, 4])
def test_a_beam_finds_what_counting_all_labellings_finds(tmp_path, order, weight):
    """Three frames: at most 36 hypotheses a step. Tokens that no frame has let the beam hold 40."""
    never = [f"never{i}" for i in range(40)]
    tokens = [*TOKENS[:-1], *never, TOKENS[-1]]
    arpa = save(tmp_path / "lm.arpa", order=order, vocabulary=tokens[1:-1])
    model, rng, changed = read_arpa(arpa), np.random.default_rng(order), 0
    search = BeamSearch(len(tokens), 40, NGramScorer(arpa, tokens), weight)
    for _ in range(12):
        posterior_TV = rng.dirichlet([1.0] * 4, 3)
        log_posterior_TV = np.log(np.c_[posterior_TV, np.full((3, 41), 1e-30)])
        best = counted_out(posterior_TV, model, weight)
        assert tuple(search(torch.tensor(log_posterior_TV))) == best
        changed += best != counted_out(posterior_TV, model, 0.0)
    assert changed  # the language model matters


def test_a_token_that_the_text_lacked_is_its_unknown_one(tmp_path):
    """As in files of KenLM, whose vocabulary is the text's and <unk>."""
    arpa = save(tmp_path / "lm.arpa", [["a"], ["a", "a"]], 2, ["<unk>"])
    scorer = NGramScorer(arpa, ["<blank>", "<unk>", "a", "b", "<sos/eos>"])
    scores, _ = scorer.batch_score(torch.tensor([[4, 2]]), [None], torch.zeros(1, 5))
    assert scores[0, 3] == scores[0, 1] > LOG_ZERO


def test_an_unknown_token_never_comes_where_the_model_has_none(tmp_path):
    arpa = save(tmp_path / "lm.arpa", [["a"], ["a", "b"]], 2, None)
    scorer = NGramScorer(arpa, ["<blank>", "<unk>", "a", "b", "<sos/eos>"])
    scores, _ = scorer.batch_score(torch.tensor([[4, 2]]), [None], torch.zeros(1, 5))
    assert scores[0, 1] == LOG_ZERO < min(scores[0, 2:])


def test_a_model_of_something_else_is_refused(tmp_path):
    words = save(tmp_path / "words.arpa", [["the", "cat", "a"]], 2)
    tokens = ["<blank>", "<unk>", "a", "▁b", "▁c", "d", "<sos/eos>"]
    with pytest.raises(ValueError, match="lacks 3 of 5 tokens .*first: '▁b'.*tokens.txt has them"):
        NGramScorer(words, tokens)


def test_a_closed_vocabulary_is_refused_where_tokens_have_no_score(tmp_path):
    arpa = save(tmp_path / "lm.arpa", [["a", "b"]], 2, None)
    with pytest.raises(ValueError, match="lacks 1 of 4 tokens .*first: 'c'.* has no <unk>"):
        NGramScorer(arpa, ["<blank>", "<unk>", "a", "b", "c", "<sos/eos>"])
