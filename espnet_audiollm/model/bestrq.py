"""BEST-RQ: a speech encoder learns from audio only (Chiu et al., 2022, arXiv 2202.01855).

Spans of the features are replaced by noise, and the encoder's output there predicts the codes that
a random quantiser gives to what was hidden.
"""

# B batch, N samples, F mel frames, M mel bands, T encoder frames, D encoder width, Q codebooks,
# K codes, X masked frames of a batch

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as nnf
from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.train.abs_espnet_model import AbsESPnetModel
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from .masking import on_host, valid_mask
from .random_quantiser import RandomQuantiser, count, perplexity
from .speech_encoder import SpeechEncoder


class BestRQESPnetModel(AbsESPnetModel):
    """A speech encoder, a frozen random quantiser, and a linear layer for each codebook.

    In training the masks are drawn anew. In validation they follow from an utterance's length, so
    that the loss of an utterance is the same in every epoch and every batch.

    Args:
        speech_encoder: our conformer behind log mel features.
        quantiser: gives the codes.
        mask_prob: chance of an encoder frame to begin a masked span.
        mask_frames: encoder frames of a span.
        noise: standard deviation of what stands in place of masked features.
    """

    def __init__(
        self,
        speech_encoder: SpeechEncoder,
        quantiser: RandomQuantiser,
        mask_prob: float = 0.08,
        mask_frames: int = 5,
        noise: float = 0.1,
    ):
        super().__init__()
        if not 0 < mask_prob < 1 or mask_frames < 1:
            raise ValueError(
                f"mask_prob {mask_prob:g} and mask_frames {mask_frames}: give a probability "
                "between 0 and 1, and at least 1 frame"
            )
        self.speech_encoder, self.quantiser = speech_encoder, quantiser
        self.mask_prob, self.mask_frames, self.noise = mask_prob, mask_frames, noise
        width, codebooks = speech_encoder.output_size(), len(quantiser.codes_QKE)
        self.heads = nn.ModuleList(nn.Linear(width, quantiser.size) for _ in range(codebooks))

    @property
    def uses_all_parameters(self) -> bool:
        """Whether every trained parameter has a gradient in each step."""
        return self.speech_encoder.uses_all_parameters

    def forward(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor, **kwargs: object
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """Returns the mean cross-entropy (nats) of a masked frame's codes, statistics, and the
        number of masked frames as weight.

        `accuracy` is to be compared with `most_common`, the share of the masked codes that are the
        batch's most common one: who learned nothing reaches that. `code_ppl` is the perplexity of
        the codes of a batch, `said_ppl` that of what is predicted; near 1 all is one code.

        Args:
            speech: (B, N) samples; speech_lengths: (B,), on the host or a plain list.
        """
        encoder = self.speech_encoder
        lengths_B = on_host(speech_lengths)
        x_BFM, frames_B = encoder.features(speech, lengths_B)
        codes_BTQ = self.quantiser(x_BFM, frames_B)
        if encoder.normalize is not None:
            x_BFM, _ = encoder.normalize(x_BFM, frames_B)
        step = self.quantiser.subsampling
        steps_B = (frames_B + step - 1) // step
        mask_BT, noise_BFM = self._draw(steps_B, frames_B, x_BFM)
        hidden_BF = mask_BT.repeat_interleave(step, 1)[:, : x_BFM.shape[1], None]
        x_BFM = torch.where(hidden_BF.to(x_BFM.device, non_blocking=True), noise_BFM, x_BFM)
        x_BTD, _ = encoder.encode(x_BFM, frames_B)
        codes_XQ = _at(codes_BTQ, mask_BT)
        masked_XD = _at(x_BTD, mask_BT)
        logits = [head(masked_XD).float() for head in self.heads]
        losses = [nnf.cross_entropy(x_XK, codes_XQ[:, q]) for q, x_XK in enumerate(logits)]
        loss = torch.stack(losses).mean()
        said_XQ = torch.stack([x_XK.argmax(-1) for x_XK in logits], dim=-1)
        stats = {
            "loss": loss.detach(),
            "accuracy": (codes_XQ == said_XQ).float().mean(),
            "most_common": self._mean(lambda n_K: n_K.max() / n_K.sum(), codes_XQ),
            "said_ppl": self._mean(perplexity, said_XQ),
            "code_ppl": self._mean(
                perplexity, _at(codes_BTQ, valid_mask(steps_B, mask_BT.shape[1]))
            ),
        }
        return force_gatherable((loss, stats, loss.new_full((), len(masked_XD))), loss.device)

    def collect_feats(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor, **kwargs: object
    ) -> dict[str, torch.Tensor]:
        """(B, F, M) features and (B,) frames, for the statistics of global_mvn."""
        feats, feats_lengths = self.speech_encoder.features(speech, speech_lengths)
        return {"feats": feats, "feats_lengths": feats_lengths}

    def _draw(
        self, steps_B: torch.Tensor, frames_B: torch.Tensor, x_BFM: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T) bool on the host, and noise like the features."""
        if self.training:
            uniform_BT = torch.rand(len(steps_B), int(steps_B.max()))
            return self._spans(uniform_BT, steps_B), self.noise * torch.randn_like(x_BFM)
        uniform, noise = [], []
        for steps, frames in zip(steps_B.tolist(), frames_B.tolist(), strict=True):
            generator = torch.Generator().manual_seed(frames)
            uniform.append(torch.rand(steps, generator=generator))
            noise.append(torch.randn(frames, x_BFM.shape[2], generator=generator))
        mask_BT = self._spans(pad_sequence(uniform, batch_first=True), steps_B)
        return mask_BT, self.noise * pad_sequence(noise, batch_first=True).to(x_BFM)

    def _spans(self, uniform_BT: torch.Tensor, steps_B: torch.Tensor) -> torch.Tensor:
        return spans(uniform_BT, steps_B, self.mask_prob, self.mask_frames)

    def _mean(
        self, measure: Callable[[torch.Tensor], torch.Tensor], codes_NQ: torch.Tensor
    ) -> torch.Tensor:
        """Of the counts of each codebook's codes."""
        counts = [count(codes_N, self.quantiser.size) for codes_N in codes_NQ.T]
        return torch.stack([measure(counts_K) for counts_K in counts]).mean()


def _at(x_BTx: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """(X, ...) the frames where a mask on the host is True: a GPU is not waited for."""
    places_X = mask_BT.flatten().nonzero()[:, 0].to(x_BTx.device, non_blocking=True)
    return x_BTx.flatten(0, 1)[places_X]


def spans(
    uniform_BT: torch.Tensor, steps_B: torch.Tensor, prob: float, frames: int
) -> torch.Tensor:
    """(B, T) bool: True from each place whose number is below `prob`, for so many frames, inside
    its utterance. An utterance where none is gets the span that begins at its smallest number.

    uniform_BT: numbers between 0 and 1."""
    valid_BT = valid_mask(steps_B, uniform_BT.shape[1])
    uniform_BT = uniform_BT.masked_fill(~valid_BT, 2.0)
    first_BT = uniform_BT <= uniform_BT.amin(1, keepdim=True).clamp(min=prob)
    before_BT = nnf.pad(first_BT.float(), (frames - 1, 0))
    return (nnf.max_pool1d(before_BT, frames, 1) > 0) & valid_BT
