"""The beam over CTC posteriors: cases worked out by hand, and the LLM as a language model."""

import pytest
import torch
from chat_llms import save_tiny_llm
from espnet.nets.scorer_interface import BatchScorerInterface

from espnet_audiollm.data.prompt import content_ids, encode, user_prompt
from espnet_audiollm.infer.beam_search import LOG_ZERO, BeamSearch, LLMScorer
from espnet_audiollm.infer.recognise import beam_search, greedy
from espnet_audiollm.model import llm as llms

BLANK, A, B, END = range(4)


def posteriors(*frames):
    """Log-posteriors of blank, A, B; the end never comes in a frame."""
    return torch.tensor([[*frame, 0.0] for frame in frames]).clamp_min(1e-30).log()


class Table(BatchScorerInterface):
    """A language model: the probabilities of the next token after the last one."""

    def __init__(self, after):
        self.after = after

    def batch_score(self, ys, states, xs):
        rows = [self.after[y] for y in ys[:, -1].tolist()]
        return torch.tensor(rows).clamp_min(1e-30).log(), states


SURE = posteriors((0.1, 0.8, 0.1), (0.8, 0.1, 0.1), (0.1, 0.1, 0.8), (0.1, 0.1, 0.8))


@pytest.mark.parametrize("beam", [1, 2, 10])
def test_where_the_best_path_is_the_best_labelling_it_is_the_greedy_one(beam):
    assert BeamSearch(4, beam)(SURE) == greedy(SURE) == [A, B]


def test_a_labelling_of_many_alignments_beats_the_best_path():
    """The best path is blank, blank: 0.36. A is "A-", "-A" and "AA": 0.24 + 0.24 + 0.16 = 0.64."""
    posteriors_TV = posteriors((0.6, 0.4, 0.0), (0.6, 0.4, 0.0))
    assert greedy(posteriors_TV) == []
    assert BeamSearch(4, 2)(posteriors_TV) == [A]


def test_nothing_said_is_no_token():
    assert BeamSearch(4, 3)(posteriors((0.9, 0.05, 0.05), (0.9, 0.05, 0.05))) == []


def test_the_language_model_turns_what_was_nearly_recognised():
    """One frame: A 0.5, B 0.4. The language model says A 0.1, B 0.8 and then always the end, so
    that a weight w turns it where 0.5 * 0.1 ** w < 0.4 * 0.8 ** w: w > 0.107."""
    posteriors_TV = posteriors((0.1, 0.5, 0.4))
    start, end = [0.0, 0.1, 0.8, 0.1], [0.0, 0.0, 0.0, 1.0]
    lm = Table({END: start, A: end, B: end, BLANK: end})
    assert BeamSearch(4, 3)(posteriors_TV) == [A]
    assert BeamSearch(4, 3, lm, 0.1)(posteriors_TV) == [A]
    assert BeamSearch(4, 3, lm, 0.12)(posteriors_TV) == [B]


def test_a_beam_of_one_without_language_model_is_greedy_decoding():
    assert beam_search(1) is None
    assert beam_search(2)(["<blank>", "a", "b", "<sos/eos>"])(SURE) == [A, B]


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    directory = tmp_path_factory.mktemp("llm")
    save_tiny_llm(directory)
    return llms.load(str(directory))


TEXTS = ("the cat sat on the mat", "the dog ran to paris", "what")


def test_the_llm_scores_a_users_words_as_it_reads_them_in_its_prompt(llm):
    """Rows in another order at each step, as a search has them, against one pass over each complete
    prompt; the token after the words is their end."""
    turns = {text: user_prompt(text) for text in TEXTS}
    words = {text: content_ids(turns[text], 0, llm.tokenizer) for text in TEXTS}
    names = llm.tokenizer.convert_ids_to_tokens(sorted({i for ids in words.values() for i in ids}))
    tokens = ["<blank>", "<unk>", *names, "<sos/eos>"]
    scorer, x = LLMScorer(llm, tokens), torch.zeros(3, len(tokens))
    place = {name: i for i, name in enumerate(tokens)}
    rows = {
        text: [place[name] for name in llm.tokenizer.convert_ids_to_tokens(ids)]
        for text, ids in words.items()
    }
    end = len(tokens) - 1
    states = [scorer.batch_init_state(x)]
    first, states = scorer.batch_score(torch.tensor([[end]]), states, x)
    assert (first[0, :2] == LOG_ZERO).all()
    total = {text: float(first[0, ids[0]]) for text, ids in rows.items()}
    left, states = list(TEXTS), states * len(TEXTS)
    for step in range(1, 1 + max(map(len, rows.values()))):
        order = list(reversed(range(len(left))))
        left, states = [left[i] for i in order], [states[i] for i in order]
        ys = torch.tensor([[end, *rows[text][:step]] for text in left])
        scores, states = scorer.batch_score(ys, states, x)
        for text, row in zip(left, scores, strict=True):
            total[text] += float(row[rows[text][step] if step < len(rows[text]) else end])
        kept = [i for i, text in enumerate(left) if step < len(rows[text])]
        left, states = [left[i] for i in kept], [states[i] for i in kept]
        if not left:
            break
    for text in TEXTS:
        ids = torch.tensor([encode(turns[text], llm.tokenizer)])
        log_p = llm.model(ids).logits[0].log_softmax(-1)
        spoken = words[text]
        start = next(i for i in range(ids.shape[1]) if ids[0, i:].tolist()[: len(spoken)] == spoken)
        span = range(start, start + len(spoken) + 1)
        expected = sum(float(log_p[i - 1, ids[0, i]]) for i in span)
        assert total[text] == pytest.approx(expected, abs=1e-3)


def test_tokens_of_another_llm_are_refused(llm):
    with pytest.raises(ValueError, match="1 of 4 tokens .* none of the LLM .*first: 'zebra'"):
        LLMScorer(llm, ["<blank>", "<unk>", "zebra", "<sos/eos>"])
