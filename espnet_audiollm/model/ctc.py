"""CTC pretraining of the speech encoder (AudioChatLlama, section 3.2)."""

# B batch, N samples, T encoder frames, V pieces (0: blank), L tokens of a transcript

from __future__ import annotations

import torch
import torch.nn.functional as F
from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.train.abs_espnet_model import AbsESPnetModel
from torch import nn

from .masking import on_host
from .speech_encoder import SpeechEncoder

BLANK = 0
PADDING = -1  # of token ids


class CTCESPnetModel(AbsESPnetModel):
    """A speech encoder and a linear layer onto the SentencePiece pieces."""

    def __init__(self, speech_encoder: SpeechEncoder, token_list: list[str]):
        super().__init__()
        self.token_list = token_list
        self.speech_encoder = speech_encoder
        self.ctc_out = nn.Linear(speech_encoder.output_size(), len(token_list))

    @property
    def uses_all_parameters(self) -> bool:
        """Whether every trained parameter has a gradient in each step."""
        return self.speech_encoder.uses_all_parameters

    def forward(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        text: torch.Tensor,
        text_lengths: torch.Tensor,
        **kwargs: object,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """Returns the mean CTC loss of an utterance (nats), statistics, and the weight B.

        An utterance with more tokens than frames has no alignment: it teaches nothing, and counts
        as 0 in the loss. `too_long` says which share they are; of more than a few, the tokens are
        too small for the encoder's frames (characters need 40 ms: subsampling 4).

        Args:
            speech: (B, N) samples; speech_lengths: (B,), on the host or a plain list: lengths on
                a GPU are waited for.
            text: (B, L) token ids; text_lengths: (B,), likewise.
        """
        text_lengths = on_host(text_lengths)
        log_posterior_BTV, frames_B = self.log_posteriors(speech, speech_lengths)
        nats = ctc_nats(log_posterior_BTV, frames_B, text, text_lengths)
        loss = nats / len(speech)
        too_long = frames_needed(text, text_lengths) > frames_B.to(loss.device, non_blocking=True)
        stats = {"loss": loss.detach(), "piece_error": None, "too_long": too_long.float().mean()}
        if not self.training:
            best_BT = log_posterior_BTV.argmax(-1)
            stats["piece_error"] = piece_error(best_BT, frames_B, text, text_lengths)
        return force_gatherable((loss, stats, loss.new_full((), len(speech))), loss.device)

    def log_posteriors(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, V) natural logarithms and (B,) frames."""
        x_BTD, frames_B = self.speech_encoder(speech, on_host(speech_lengths))
        return self.ctc_out(x_BTD).float().log_softmax(-1), frames_B

    def collect_feats(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor, **kwargs: object
    ) -> dict[str, torch.Tensor]:
        """(B, F, M) features and (B,) frames, for the statistics of global_mvn."""
        feats, feats_lengths = self.speech_encoder.features(speech, speech_lengths)
        return {"feats": feats, "feats_lengths": feats_lengths}


def ctc_nats(
    log_posterior_BTV: torch.Tensor,
    frames_B: torch.Tensor,
    text_BL: torch.Tensor,
    text_lengths_B: torch.Tensor,
) -> torch.Tensor:
    """The CTC loss (nats) of a batch, summed; an utterance without an alignment counts as 0."""
    return F.ctc_loss(
        log_posterior_BTV.transpose(0, 1),
        text_BL.clamp(min=0),
        frames_B,
        text_lengths_B,
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,
    )


def frames_needed(text_BL: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
    """(B,) frames that CTC needs: one a token, and a blank between two that are the same."""
    repeats_BL = (text_BL[:, 1:] == text_BL[:, :-1]) & (text_BL[:, 1:] != PADDING)
    return lengths_B.to(text_BL.device, non_blocking=True) + repeats_BL.sum(1)


def collapse(best_T: list[int]) -> list[int]:
    """A best path to pieces: repeats joined, blanks dropped."""
    return [
        piece
        for i, piece in enumerate(best_T)
        if piece != BLANK and (i == 0 or piece != best_T[i - 1])
    ]


def piece_error(
    best_BT: torch.Tensor, frames_B: torch.Tensor, text_BL: torch.Tensor, lengths_B: torch.Tensor
) -> torch.Tensor:
    """Edit distance of the greedy pieces over the reference pieces, as a fraction."""
    import jiwer

    def as_words(ids: list[int]) -> str:
        return " ".join(map(str, ids))

    rows = zip(
        best_BT.tolist(), frames_B.tolist(), text_BL.tolist(), lengths_B.tolist(), strict=True
    )
    references, hypotheses = [], []
    for best, frames, text, length in rows:
        references.append(as_words(text[:length]))
        hypotheses.append(as_words(collapse(best[:frames])))
    return torch.tensor(jiwer.wer(references, hypotheses))
