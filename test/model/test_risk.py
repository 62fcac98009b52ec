"""Expected cost over drawn hypotheses: against all paths counted out, and as a loss."""

import itertools

import pytest
import torch

from espnet_audiollm.model.adapters import TokenBridgeAdapter
from espnet_audiollm.model.ctc import collapse
from espnet_audiollm.model.risk import distinct, expected_excess

FRAMES, TOKENS = 3, 4  # blank, one that the LLM cannot read, two that it can
COSTS = {(2,): 1.0, (3,): 0.25, (2, 3): 3.0, (3, 2): 0.5, (2, 2): 2.0, (3, 3): 5.0}
LENGTHS = torch.tensor([FRAMES])


def cost_of(tokens):
    return COSTS.get(tokens, 4.0)


def costs(drawn, recordings):
    """The cost of an example: that of its recordings' tokens, added up."""
    bounds = list(itertools.accumulate(recordings, initial=0))

    def cost(k, examples):
        parts = [drawn[k][bounds[i] : bounds[i + 1]] for i in examples]
        return torch.tensor([sum(map(cost_of, part)) for part in parts])

    return cost


def excess(log_posterior, lengths, drawn, recordings):
    cost = costs(drawn, recordings)
    best = cost(0, range(len(recordings)))
    return expected_excess(log_posterior, lengths, drawn, recordings, best, cost)


def counted_out(logits_TV, best):
    """The expected cost over all paths of readable tokens that are not blank throughout, less
    that of the best one."""
    readable_TV = logits_TV.masked_fill(torch.tensor([False, True, False, False]), -1e4)
    posterior_TV = readable_TV.softmax(-1)
    total = expected = 0.0
    for path in itertools.product(range(TOKENS), repeat=FRAMES):
        tokens = tuple(collapse(list(path)))
        if tokens and 1 not in tokens:
            probability = posterior_TV[range(FRAMES), path].prod()
            total = total + probability
            expected = expected + probability * cost_of(tokens)
    return expected / total - cost_of(best)


@pytest.fixture
def bridge():
    torch.manual_seed(0)
    adapter = TokenBridgeAdapter(TOKENS, 8, TOKENS, residual=False).double()
    adapter.read_tokens(torch.randn(TOKENS, 8).double(), torch.tensor([False, False, True, True]))
    with torch.no_grad():
        adapter.ctc_out.weight.copy_(torch.eye(TOKENS))
        adapter.ctc_out.bias.zero_()
    return adapter


def test_all_hypotheses_have_the_gradient_of_all_paths(bridge):
    logits_TV = torch.randn(FRAMES, TOKENS, dtype=torch.double)
    ours, theirs = (logits_TV.clone().requires_grad_() for _ in range(2))
    log_posterior, drawn = bridge.draw(ours[None], LENGTHS, 3000)
    drawn = [[tokens] for tokens in dict.fromkeys(tokens for [tokens] in drawn)]
    assert len(drawn) == 1 + len({t for t in map(tuple, _sequences()) if t})  # the empty one, too
    flat = [row[0] for row in drawn]
    found = excess(log_posterior, LENGTHS, drawn, [1])
    expected = counted_out(theirs, flat[0])
    torch.testing.assert_close(found[0], expected)
    found.sum().backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def _sequences():
    for path in itertools.product((0, 2, 3), repeat=FRAMES):
        yield collapse(list(path))


def test_the_best_hypothesis_is_what_the_llm_reads(bridge):
    x_BTC = torch.randn(5, FRAMES, TOKENS, dtype=torch.double)
    lengths = torch.tensor([3, 2, 1, 3, 2])
    x_BTC[1, :, 0] += 50  # blank throughout: its least blank frame is kept
    audio_BPD, positions_B = bridge(x_BTC, lengths)
    _, drawn = bridge.draw(x_BTC, lengths, 20)
    assert len(drawn) == 21 and all(drawn[0]) and () in [row[1] for row in drawn]
    for audio_PD, length, embeddings_PD in zip(
        audio_BPD, positions_B, bridge.embed(drawn[0]), strict=True
    ):
        torch.testing.assert_close(audio_PD[:length], embeddings_PD)
    assert not any(1 in tokens for row in drawn for tokens in row)
    assert all(len(row[2]) <= 1 for row in drawn)  # one frame


def test_recordings_of_one_prompt_are_drawn_together():
    drawn = [[(2,), (3,), (2,)], [(2,), (2,), (2,)], [(2,), (2,), ()], [(2,), (3,), (3,)]]
    rows = distinct(drawn, [2, 1])
    assert rows == [[True, True, False, False], [True, False, False, True]]
    log_posterior = torch.randn(3, FRAMES, TOKENS, dtype=torch.double).log_softmax(-1)
    lengths = torch.full((3,), FRAMES)
    both = excess(log_posterior, lengths, drawn, [2, 1])
    assert both[1] < 0  # (3,) costs less than (2,)
    first = [row[:2] for row in drawn]
    apart = excess(log_posterior[:2], lengths[:2], first, [2])
    torch.testing.assert_close(both[0], apart[0])


def test_certain_utterances_ask_nothing_of_the_llm():
    log_posterior = torch.randn(1, FRAMES, TOKENS).log_softmax(-1).requires_grad_()
    drawn = [[(2,)], [(2,)], [()]]

    def never(k, examples):
        raise AssertionError

    found = expected_excess(log_posterior, LENGTHS, drawn, [1], torch.ones(1), never)
    found.sum().backward()
    assert found == 0 and not log_posterior.grad.any()


def test_it_leads_to_the_tokens_that_cost_least(bridge):
    logits_TV = torch.zeros(1, FRAMES, TOKENS, dtype=torch.double)
    logits_TV[..., 2] = 1.0
    logits_TV.requires_grad_()
    optimizer = torch.optim.SGD([logits_TV], lr=2.0)
    for _ in range(200):
        log_posterior, drawn = bridge.draw(logits_TV, LENGTHS, 4)
        loss = excess(log_posterior, LENGTHS, drawn, [1])
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    _, drawn = bridge.draw(logits_TV, LENGTHS, 1)
    assert drawn[0] == [(3,)]
