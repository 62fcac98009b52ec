import pytest
import torch

from espnet_audiollm.model.adapters import (
    ConvAdapter,
    CTCCompressAdapter,
    QFormerAdapter,
    StackAdapter,
    TokenBridgeAdapter,
)


def bridge(encoder_width, llm_width, num_pieces=5, **options):
    """A token bridge as a training begins: the first and the last piece are no token."""
    adapter = TokenBridgeAdapter(encoder_width, llm_width, num_pieces, **options)
    readable_V = torch.tensor([False, *[True] * (num_pieces - 2), False])
    adapter.read_tokens(torch.randn(num_pieces, llm_width), readable_V)
    return adapter


ALL = [
    (StackAdapter, dict(stack=3)),
    (ConvAdapter, dict(stride=2)),
    (CTCCompressAdapter, dict(num_pieces=5)),
    (QFormerAdapter, dict(window=4, queries=2, heads=2)),
    (bridge, {}),
    (bridge, dict(mixed=True)),
]


@pytest.mark.parametrize(("adapter_class", "options"), ALL)
def test_padding_does_not_matter(adapter_class, options):
    torch.manual_seed(0)
    adapter = adapter_class(encoder_width=6, llm_width=10, **options).double().eval()
    x_BTC, lengths_B = torch.randn(3, 11, 6, dtype=torch.float64), torch.tensor([11, 7, 2])
    x_BTC = x_BTC.requires_grad_()  # the padded positions hold garbage on purpose
    out_BPD, positions_B = adapter(x_BTC, lengths_B)
    assert positions_B.max() == out_BPD.shape[1]
    for i, n in enumerate(lengths_B.tolist()):
        alone, positions = adapter(x_BTC[i : i + 1, :n], lengths_B[i : i + 1])
        assert positions.item() == positions_B[i].item() > 0
        torch.testing.assert_close(out_BPD[i, : positions_B[i]], alone[0])
        assert not out_BPD[i, positions_B[i] :].any()
    out_BPD.square().sum().backward()
    assert not x_BTC.grad[1, 7:].any() and not x_BTC.grad[2, 2:].any()
    assert x_BTC.grad[1, :7].any()
    trained = [p for p in adapter.parameters() if p.requires_grad]
    assert adapter.uses_all_parameters and all(p.grad is not None for p in trained)


@pytest.mark.parametrize(("adapter_class", "options"), ALL)
def test_output_starts_on_the_scale_of_its_input(adapter_class, options):
    """Frames of variance 1, as encoders end with a layer norm: outputs neither vanish nor burst."""
    torch.manual_seed(0)
    adapter = adapter_class(encoder_width=64, llm_width=128, **options)
    x_BTC, lengths_B = torch.randn(4, 48, 64), torch.full((4,), 48)
    out_BPD, positions_B = adapter(x_BTC, lengths_B)
    scale = torch.cat([out[:n] for out, n in zip(out_BPD, positions_B, strict=True)]).std()
    assert 0.1 < scale < 2


@pytest.mark.parametrize(("adapter_class", "options"), ALL)
def test_positions_of_a_frame(adapter_class, options):
    """48 frames are a multiple of every window here; those that read a CTC layer drop some."""
    adapter = adapter_class(encoder_width=8, llm_width=4, **options)
    _, positions = adapter(torch.randn(1, 48, 8), torch.tensor([48]))
    expected = 48 * adapter.positions_per_frame
    exact = adapter_class not in (CTCCompressAdapter, bridge)
    assert positions.item() == expected if exact else 0 < positions.item() <= expected


def test_stacking_rounds_up():
    adapter = StackAdapter(encoder_width=6, llm_width=10, stack=4)
    out, lengths = adapter(torch.zeros(2, 9, 6), torch.tensor([9, 4]))
    assert out.shape == (2, 3, 10)  # ceil(9 / 4)
    assert lengths.tolist() == [3, 1]


def test_stacking_joins_neighbours():
    adapter = StackAdapter(encoder_width=1, llm_width=1, stack=2)
    with torch.no_grad():
        adapter.project.weight.copy_(torch.tensor([[1.0, 10.0]]))
        adapter.project.bias.zero_()
    out, _ = adapter(torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([3]))
    assert out.flatten().tolist() == [21.0, 3.0]  # 1 + 10 x 2; 3 + 10 x padding


def ctc_compress(drop_blanks=True):
    """Width 3, posterior = the frame itself, output = the frame itself."""
    adapter = CTCCompressAdapter(3, 3, num_pieces=3, drop_blanks=drop_blanks)
    with torch.no_grad():
        for layer in (adapter.ctc_out, adapter.project):
            layer.weight.copy_(torch.eye(3))
            layer.bias.zero_()
    return adapter


FRAMES = torch.tensor([[[9.0, 0, 0], [0, 5, 0], [0, 7, 0], [9, 0, 0], [0, 0, 2]]])


def test_runs_are_averaged_and_blanks_dropped():
    out, lengths = ctc_compress()(FRAMES, torch.tensor([5]))
    assert lengths.tolist() == [2]
    assert out[0].tolist() == [[0, 6, 0], [0, 0, 2]]


def test_blanks_can_be_kept():
    out, lengths = ctc_compress(drop_blanks=False)(FRAMES, torch.tensor([5]))
    assert lengths.tolist() == [4]


def test_all_blank_keeps_one_position():
    out, lengths = ctc_compress()(FRAMES[:, :1], torch.tensor([1]))
    assert lengths.tolist() == [1]
    assert out[0].tolist() == [[9, 0, 0]]


def test_the_ctc_layer_is_not_trained():
    assert not any(p.requires_grad for p in ctc_compress().ctc_out.parameters())


def reading_bridge(**options):
    """Width 4, posterior = the frame itself; the tokens 1 to 3 have the embeddings 10, 20, 30."""
    adapter = TokenBridgeAdapter(4, 1, num_pieces=4, **options)
    embeddings = torch.tensor([[0.0], [10], [20], [30]])
    adapter.read_tokens(embeddings, torch.tensor([False, True, True, True]))
    with torch.no_grad():
        adapter.ctc_out.weight.copy_(torch.eye(4))
        adapter.ctc_out.bias.zero_()
    return adapter


SAID = torch.tensor(  # token 1, 1, blank, 1, 2, blank
    [[[0.0, 9, 0, 0], [0, 5, 0, 0], [9, 0, 1, 0], [0, 7, 0, 0], [0, 0, 8, 0], [9, 0, 0, 0]]]
)


def test_a_bridge_begins_with_the_embeddings_of_what_was_recognised():
    out, lengths = reading_bridge()(SAID, torch.tensor([6]))
    assert lengths.tolist() == [3]
    torch.testing.assert_close(out[0], torch.tensor([[10.0], [10], [20]]))


def test_a_mixture_is_weighted_by_the_posterior_without_blank():
    out, _ = reading_bridge(mixed=True)(SAID[:, 4:5] / 8, torch.tensor([1]))
    weights = torch.tensor([0.0, 1, 0]).softmax(0)
    torch.testing.assert_close(out[0, 0], (weights * torch.tensor([10.0, 20, 30])).sum()[None])


def test_gradients_reach_the_ctc_layer_through_the_best_token():
    adapter = reading_bridge()
    out, _ = adapter(SAID[:, 4:5] / 8, torch.tensor([1]))
    out.sum().backward()
    grad = adapter.ctc_out.bias.grad
    assert grad[0] == 0 and grad[1] < 0 < grad[3]  # towards the larger embedding


def test_the_residual_of_a_bridge_learns():
    """In units of the RMS of the embeddings 10, 20 and 30, over the root of the width 4."""
    adapter = reading_bridge()
    out, _ = adapter(SAID, torch.tensor([6]))
    out.sum().backward()
    unit = (1400 / 3) ** 0.5 / 2
    torch.testing.assert_close(adapter.project.weight.grad[0], unit * torch.tensor([0.0, 14, 8, 0]))


def test_what_is_blank_throughout_keeps_its_least_blank_frame():
    blank = torch.tensor([[[9.0, 0, 0, 0], [5, 0, 0, 4], [9, 0, 0, 0]]])
    out, lengths = reading_bridge()(blank, torch.tensor([3]))
    assert lengths.tolist() == [1] and out[0].tolist() == [[30]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StackAdapter(4, 4, stack=0), "stack is 0"),
        (lambda: ConvAdapter(4, 4, stride=0), "stride is 0"),
        (lambda: QFormerAdapter(4, 4, window=0), "window is 0"),
    ],
)
def test_impossible_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
