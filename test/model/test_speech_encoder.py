"""What an utterance becomes must not depend on what it is batched with."""

import pytest
import torch
from espnet2.asr.encoder.e_branchformer_encoder import EBranchformerEncoder
from espnet2.asr.frontend.default import DefaultFrontend
from tiny_models import noise, tiny_encoder

from espnet_audiollm.model.conformer import SUBSAMPLING_TYPES, ConvSubsampling
from espnet_audiollm.model.frontend import Filterbank
from espnet_audiollm.model.normalize import UtteranceMVN
from espnet_audiollm.model.speech_encoder import SpeechEncoder

LENGTHS = (16_000, 4_321, 9_999, 700)


def assert_single_equals_batched(encoder, train, lengths=LENGTHS):
    encoder.train(train)
    speech_BN, lengths_B = noise(*lengths)
    batched_BTD, frames_B = encoder(speech_BN, lengths_B)
    for i, n in enumerate(lengths):
        single_1TD, frames_1 = encoder(speech_BN[i : i + 1, :n], lengths_B[i : i + 1])
        assert frames_1.item() == frames_B[i].item() == single_1TD.shape[1]
        torch.testing.assert_close(batched_BTD[i, : frames_B[i]], single_1TD[0])
        assert not batched_BTD[i, frames_B[i] :].any()


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("subsampling", [2, 4, 8])
@pytest.mark.parametrize("subsampling_type", SUBSAMPLING_TYPES)
def test_conformer_does_not_see_its_batch(train, subsampling, subsampling_type):
    encoder = tiny_encoder(subsampling=subsampling, subsampling_type=subsampling_type)
    assert_single_equals_batched(encoder, train)


@pytest.mark.parametrize("hop_length", [128, 160])
def test_espnet_front_end_does_not_see_its_batch(hop_length):
    """It pads the batch and reflects at its end; only features, as stage 4 collects them, too."""
    encoder = tiny_encoder()
    front = DefaultFrontend(hop_length=hop_length).double()
    encoder = SpeechEncoder(front, None, UtteranceMVN(), encoder.encoder)
    assert_single_equals_batched(encoder, train=False)
    speech_BN, lengths_B = noise(*LENGTHS)
    together_BFM, frames_B = encoder.features(speech_BN, lengths_B)
    for i, n in enumerate(LENGTHS):
        single_1FM, _ = encoder.features(speech_BN[i : i + 1, :n], lengths_B[i : i + 1])
        torch.testing.assert_close(together_BFM[i, : frames_B[i]], single_1FM[0])
        assert not together_BFM[i, frames_B[i] :].any()


@pytest.mark.parametrize("front", [Filterbank, DefaultFrontend])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_features_are_not_computed_by_autocast(front, dtype):
    """A full-scale tone: the power of its bin is above what float16 holds."""
    tone_1N = torch.sin(2 * torch.pi * 1_000 * torch.arange(16_000) / 16_000)[None]
    encoder = SpeechEncoder(front(), None, None, tiny_encoder().encoder)
    lengths_B = torch.tensor([16_000])
    plain_1FM, _ = encoder.features(tone_1N, lengths_B)
    with torch.autocast("cpu", dtype=dtype):
        cast_1FM, _ = encoder.features(tone_1N, lengths_B)
    assert torch.equal(plain_1FM, cast_1FM) and plain_1FM.dtype == torch.float32


def test_normalisation_does_not_see_the_batch():
    encoder = tiny_encoder()
    encoder.normalize = UtteranceMVN(norm_vars=True)
    assert_single_equals_batched(encoder, train=False)


def test_normalised_frames_have_mean_zero_and_variance_one():
    x_BFM, lengths_B = torch.randn(2, 9, 80, dtype=torch.float64) * 3 + 5, torch.tensor([9, 4])
    y_BFM, _ = UtteranceMVN(norm_vars=True)(x_BFM, lengths_B)
    short = y_BFM[1, :4]
    torch.testing.assert_close(short.mean(0), torch.zeros(80).double())
    torch.testing.assert_close(short.var(0, correction=0), torch.ones(80).double())


def test_espnet_encoder_does_not_see_its_batch_in_inference():
    torch.manual_seed(0)
    branchformer = EBranchformerEncoder(
        80,
        output_size=16,
        attention_heads=2,
        linear_units=16,
        cgmlp_linear_units=32,
        num_blocks=1,
        attention_layer_type="selfattn",
        pos_enc_layer_type="abs_pos",
    )
    encoder = SpeechEncoder(Filterbank(), None, None, branchformer).double()
    assert_single_equals_batched(encoder, train=False, lengths=(16_000, 4_321, 9_999))


@pytest.mark.parametrize("subsampling_type", SUBSAMPLING_TYPES)
def test_gradients_do_not_see_the_batch(subsampling_type):
    encoder = tiny_encoder(subsampling_type=subsampling_type)
    speech_BN, lengths_B = noise(*LENGTHS)

    def gradients(batches):
        encoder.zero_grad()
        for speech, lengths in batches:
            encoder(speech, lengths)[0].square().sum().backward()
        return [p.grad.clone() for p in encoder.parameters()]

    together = gradients([(speech_BN, lengths_B)])
    single = gradients(
        [(speech_BN[i : i + 1, :n], lengths_B[i : i + 1]) for i, n in enumerate(LENGTHS)]
    )
    for a, b in zip(together, single, strict=True):
        torch.testing.assert_close(a, b)


def test_eighty_milliseconds_a_frame():
    encoder = tiny_encoder()
    _, frames = encoder(*noise(160 * 799 + 400))  # 800 filterbank frames: 8 s
    assert frames.tolist() == [100]


@pytest.mark.parametrize("subsampling_type", SUBSAMPLING_TYPES)
@pytest.mark.parametrize(
    ("factor", "frames", "expected"), [(8, 9, 2), (8, 8, 1), (4, 9, 3), (2, 9, 5), (8, 1, 1)]
)
def test_subsampling_rounds_up(factor, frames, expected, subsampling_type):
    subsampling = ConvSubsampling(80, 6, 2, factor, subsampling_type)
    out, lengths = subsampling(torch.zeros(1, frames, 80), torch.tensor([frames]))
    assert out.shape == (1, expected, 6)
    assert lengths.tolist() == [expected]


def test_a_separable_convolution_is_a_full_one_of_few_weights():
    """Channel o of the full one reads channel c by pointwise[o, c] x depthwise[c]."""
    separable = ConvSubsampling(80, 6, 4, 4, "separable").double()
    full = ConvSubsampling(80, 6, 4, 4).double()
    full.out, full.convs[0] = separable.out, separable.convs[0]
    depthwise, pointwise = separable.convs[1]
    assert depthwise.weight.numel() + pointwise.weight.numel() == 4 * 9 + 4 * 4
    with torch.no_grad():
        full.convs[1].weight.copy_(pointwise.weight * depthwise.weight.transpose(0, 1))
        full.convs[1].bias.copy_(pointwise.bias + pointwise.weight[:, :, 0, 0] @ depthwise.bias)
    x_BFM, lengths_B = torch.randn(2, 50, 80).double(), torch.tensor([50, 31])
    torch.testing.assert_close(separable(x_BFM, lengths_B)[0], full(x_BFM, lengths_B)[0])


def test_a_separable_convolution_under_autocast_is_close_to_float32():
    separable = ConvSubsampling(80, 6, 4, 8, "separable")
    x_BFM, lengths_B = torch.randn(2, 50, 80), torch.tensor([50, 31])
    with torch.autocast("cpu", torch.bfloat16):
        cast, _ = separable(x_BFM, lengths_B)
    plain, _ = separable(x_BFM, lengths_B)
    assert cast.dtype == torch.bfloat16
    torch.testing.assert_close(cast.float(), plain, atol=0.02, rtol=0.02)


def test_an_unknown_subsampling_names_the_known():
    with pytest.raises(ValueError, match="depthwise.*conv or separable"):
        ConvSubsampling(80, 6, 2, 8, "depthwise")


def test_filterbank_counts_complete_windows():
    # 400 + 160 samples: windows at 0 and 160; one sample less: only the first.
    frontend = Filterbank()
    assert frontend(*noise(560, 559, dtype=torch.float32))[1].tolist() == [2, 1]


def test_a_tone_is_loudest_in_its_band():
    rate, hertz = 16_000, 1_000.0
    tone = torch.sin(2 * torch.pi * hertz * torch.arange(rate) / rate)[None]
    mel = Filterbank()(tone, torch.tensor([rate]))[0].mean((0, 1))
    bands = Filterbank().mel * torch.fft.rfftfreq(512, 1 / rate)[:, None]
    centres = bands.sum(0) / Filterbank().mel.sum(0)
    assert abs(centres[mel.argmax()] - hertz) < 40  # Hz: within half a band


def test_activation_checkpointing_changes_nothing():
    """Not one bit of output and gradients, dropout included: it draws the same again."""
    speech_BN, lengths_B = noise(*LENGTHS)
    kept, recomputed = (
        tiny_encoder(dropout_rate=0.3, activation_checkpointing=option).train()
        for option in (False, True)
    )
    outputs = []
    for encoder in (kept, recomputed):
        torch.manual_seed(2)
        outputs.append(encoder(speech_BN, lengths_B)[0])
        outputs[-1].square().sum().backward()
    assert torch.equal(*outputs)
    dry = kept.eval()(speech_BN, lengths_B)[0]
    assert not torch.equal(dry, outputs[0])
    for a, b in zip(kept.parameters(), recomputed.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
