"""From encoder frames to positions of the LLM. Each masks padding; none attends to it.

`stack` is the paper's (AudioChatLlama, section 3.2). All share one interface: frames (B, T, C) with
lengths (B,) in; positions (B, P, D), zero where padded, with lengths (B,) out.
"""

# B batch, T encoder frames, P positions, C encoder width, D LLM width, V pieces, Q queries,
# R runs of frames, W frames of a window, X windows of the batch

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from .ctc import collapse
from .masking import mask_padding, valid_mask


class Adapter(nn.Module, ABC):
    """Args of every adapter: `encoder_width` C and `llm_width` D.

    positions_per_frame: positions of the LLM that a frame becomes, at most.
    rounding: how many more a recording has, at most, than its frames make.
    uses_all_parameters: every trained parameter has a gradient in each step."""

    positions_per_frame: float
    rounding: int = 1
    uses_all_parameters = True

    @abstractmethod
    def forward(
        self, x_BTC: torch.Tensor, lengths_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, C) and (B,) to (B, P, D) and (B,)."""


class StackAdapter(Adapter):
    """`stack` consecutive frames joined, then one linear layer; P = T / stack, rounded up."""

    def __init__(self, encoder_width: int, llm_width: int, stack: int = 1):
        super().__init__()
        if stack < 1:
            raise ValueError(f"stack is {stack}; at least one frame is needed")
        self.stack, self.positions_per_frame = stack, 1 / stack
        self.project = nn.Linear(stack * encoder_width, llm_width)

    def forward(self, x_BTC, lengths_B):
        """(B, T, C) and (B,) to (B, P, D) and (B,)."""
        x_BTC = mask_padding(x_BTC, lengths_B)
        x_BTC = F.pad(x_BTC, (0, 0, 0, -x_BTC.shape[1] % self.stack))
        positions_B = (lengths_B + self.stack - 1) // self.stack
        out_BPD = self.project(x_BTC.unflatten(1, (-1, self.stack)).flatten(2))
        return mask_padding(out_BPD, positions_B), positions_B


class ConvAdapter(Adapter):
    """A strided convolution (kernel 2 x stride - 1), a non-linearity, a linear layer."""

    def __init__(self, encoder_width: int, llm_width: int, stride: int = 2):
        super().__init__()
        if stride < 1:
            raise ValueError(f"stride is {stride}; it is at least one frame")
        self.stride, self.positions_per_frame = stride, 1 / stride
        kernel = 2 * stride - 1
        self.conv = nn.Conv1d(
            encoder_width, encoder_width, kernel, stride=stride, padding=kernel // 2
        )
        self.norm = nn.LayerNorm(encoder_width)
        self.project = nn.Linear(encoder_width, llm_width)

    def forward(self, x_BTC, lengths_B):
        """(B, T, C) and (B,) to (B, P, D) and (B,)."""
        x_BTC = mask_padding(x_BTC, lengths_B)
        x_BPC = self.conv(x_BTC.transpose(1, 2)).transpose(1, 2)
        positions_B = (lengths_B + self.stride - 1) // self.stride
        return mask_padding(self.project(F.gelu(self.norm(x_BPC))), positions_B), positions_B


class CTCCompressAdapter(Adapter):
    """Runs of frames with the same best piece are averaged; runs of blanks are dropped.

    The posterior is that of the CTC layer the encoder was pretrained with, which `--init_ctc`
    brings; it is not trained here. An utterance that is blank throughout keeps one position, the
    mean of its frames.

    Args:
        num_pieces: V, pieces of the CTC layer, blank (0) included. Comes from the checkpoint.
        drop_blanks: False: runs of blanks are averaged and kept.
    """

    positions_per_frame = 1.0

    def __init__(
        self, encoder_width: int, llm_width: int, num_pieces: int, drop_blanks: bool = True
    ):
        super().__init__()
        self.drop_blanks = drop_blanks
        self.ctc_out = nn.Linear(encoder_width, num_pieces).requires_grad_(False)
        self.project = nn.Linear(encoder_width, llm_width)

    def forward(self, x_BTC, lengths_B):
        """(B, T, C) and (B,) to (B, P, D) and (B,)."""
        best_BT = self.ctc_out(x_BTC.detach()).argmax(-1)
        merged = [
            self._merge(x_TC[:n], best_T[:n])
            for x_TC, best_T, n in zip(x_BTC, best_BT, lengths_B.tolist(), strict=True)
        ]
        positions_B = torch.tensor([len(m) for m in merged])
        out_BPD = self.project(pad_sequence(merged, batch_first=True))
        return mask_padding(out_BPD, positions_B), positions_B

    def _merge(self, x_TC: torch.Tensor, best_T: torch.Tensor) -> torch.Tensor:
        pieces_R, run_T, counts_R = torch.unique_consecutive(
            best_T, return_inverse=True, return_counts=True
        )
        sums_RC = x_TC.new_zeros(len(pieces_R), x_TC.shape[1]).index_add(0, run_T, x_TC)
        means_RC = sums_RC / counts_R[:, None]
        if not self.drop_blanks:
            return means_RC
        kept = pieces_R != 0
        return means_RC[kept] if bool(kept.any()) else x_TC.mean(0, keepdim=True)


class QFormerAdapter(Adapter):
    """Learned queries attend to each window of frames; a fixed number of positions per window.

    Args:
        window: frames of one window.
        queries: positions each window becomes.
        layers, heads: of the transformer decoder over the window.
    """

    def __init__(
        self,
        encoder_width: int,
        llm_width: int,
        window: int = 8,
        queries: int = 2,
        layers: int = 1,
        heads: int = 4,
    ):
        super().__init__()
        if window < 1 or queries < 1:
            raise ValueError(f"window is {window} and queries {queries}; both are at least 1")
        self.window, self.num_queries = window, queries
        self.positions_per_frame, self.rounding = queries / window, queries
        self.queries_QC = nn.Parameter(torch.randn(queries, encoder_width) * 0.02)
        self.places_WC = nn.Parameter(torch.randn(window, encoder_width) * 0.02)
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(
                encoder_width,
                heads,
                4 * encoder_width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            ),
            layers,
        )
        self.project = nn.Linear(encoder_width, llm_width)

    def forward(self, x_BTC, lengths_B):
        """(B, T, C) and (B,) to (B, P, D) and (B,)."""
        x_BTC = F.pad(mask_padding(x_BTC, lengths_B), (0, 0, 0, -x_BTC.shape[1] % self.window))
        batch, frames, width = x_BTC.shape
        padding_BT = ~valid_mask(lengths_B, frames, x_BTC.device)
        windows_B = (lengths_B + self.window - 1) // self.window
        # A window that is padding throughout would have nothing to attend to: let it see its
        # zeros; its positions are masked below.
        padding_XW = padding_BT.reshape(-1, self.window)
        padding_XW = padding_XW & ~padding_XW.all(1, keepdim=True)
        memory_XWC = x_BTC.reshape(-1, self.window, width) + self.places_WC
        queries_XQC = self.queries_QC.expand(len(memory_XWC), -1, -1)
        attended_XQC = self.decoder(queries_XQC, memory_XWC, memory_key_padding_mask=padding_XW)
        positions_B = windows_B * self.num_queries
        out_BPD = self.project(attended_XQC.reshape(batch, -1, width))
        return mask_padding(out_BPD, positions_B), positions_B


class TokenBridgeAdapter(Adapter):
    """The LLM's own embeddings of the tokens that CTC recognises, and what these miss.

    The recogniser's tokens are the LLM's (stage 3: `--token_type llm`), so its CTC layer, which
    goes on learning here, is a map into the LLM's text space. Each run of frames with the same best
    token becomes one position: that token's embedding, and a linear residual of the run's mean
    frame. The residual begins at zero: before the first update this *is* the cascade with the
    recogniser it starts from. It is in units of the embeddings' RMS: an update of its weights must
    not outweigh the words. Gradients reach the CTC layer as if each frame stood for the mixture of
    all tokens' embeddings by their posterior (the straight-through estimator). An utterance that is
    blank throughout keeps its least blank frame.

    Args:
        num_pieces: V, tokens of the CTC layer, blank (0) included. Comes from the checkpoint.
        mixed: what is read is that mixture itself, not the best token's embedding.
        residual: False: the LLM reads embeddings of tokens alone.
    """

    positions_per_frame = 1.0
    embeddings_VD: torch.Tensor

    def __init__(
        self,
        encoder_width: int,
        llm_width: int,
        num_pieces: int,
        mixed: bool = False,
        residual: bool = True,
    ):
        super().__init__()
        self.mixed = mixed
        self.ctc_out = nn.Linear(encoder_width, num_pieces)
        self.project = nn.Linear(encoder_width, llm_width, bias=False) if residual else None
        if self.project is not None:
            nn.init.zeros_(self.project.weight)
        # Not in checkpoints: they are the LLM's.
        self.register_buffer("embeddings_VD", torch.zeros(num_pieces, llm_width), persistent=False)
        self.register_buffer("unreadable_V", torch.ones(num_pieces, dtype=torch.bool), False)
        self.register_buffer("residual_scale", torch.tensor(1.0), False)

    def read_tokens(self, embeddings_VD: torch.Tensor, readable_V: torch.Tensor) -> None:
        """Take the LLM's embeddings of the tokens. readable_V: those that stand for a token of the
        LLM (not `<blank>`, `<unk>`, `<sos/eos>`)."""
        self.embeddings_VD.copy_(embeddings_VD)
        self.unreadable_V.copy_(~readable_V)
        rms = embeddings_VD[readable_V].float().square().mean().sqrt()
        self.residual_scale.copy_(rms / self.ctc_out.in_features**0.5)

    def forward(self, x_BTC, lengths_B):
        """(B, T, C) and (B,) to (B, P, D) and (B,)."""
        logits_BTV, tokens_BTV = self._logits(x_BTC)
        best_BT = self._best(logits_BTV.detach(), tokens_BTV.detach(), lengths_B)
        starts_BT = (best_BT != 0) & (best_BT != F.pad(best_BT, (1, 0))[:, :-1])
        positions_B = starts_BT.sum(1).cpu()
        kept_BT = best_BT != 0
        run_X = self._runs(starts_BT, int(positions_B.max()))[kept_BT]
        counts_R = torch.bincount(run_X, minlength=len(x_BTC) * int(positions_B.max()))

        def mean(values_XC: torch.Tensor) -> torch.Tensor:
            sums_RC = values_XC.new_zeros(len(counts_R), values_XC.shape[1])
            sums_RC = sums_RC.index_add(0, run_X, values_XC)
            return (sums_RC / counts_R.clamp(min=1)[:, None]).unflatten(0, (len(x_BTC), -1))

        mixture_BPD = mean(tokens_BTV[kept_BT].softmax(-1) @ self.embeddings_VD)
        out_BPD = mixture_BPD
        if not self.mixed:
            token_BPD = mean(self.embeddings_VD[best_BT[kept_BT]])
            out_BPD = token_BPD + (mixture_BPD - mixture_BPD.detach())
        if self.project is not None:
            out_BPD = out_BPD + self.residual_scale * self.project(mean(x_BTC[kept_BT]))
        return mask_padding(out_BPD, positions_B), positions_B

    @property
    def reads_only_tokens(self) -> bool:
        """What the LLM reads follows from the best tokens and nothing else."""
        return not self.mixed and self.project is None

    def draw(
        self, x_BTC: torch.Tensor, lengths_B: torch.Tensor, number: int
    ) -> tuple[torch.Tensor, list[list[tuple[int, ...]]]]:
        """Log-posteriors (B, T, V) of blank and readable tokens, and the token sequences of the
        best paths and of `number` paths drawn from them: number + 1 of B, tokens of the CTC layer.
        A sequence that was drawn may be empty; the best ones never are."""
        logits_BTV, tokens_BTV = self._logits(x_BTC)
        best_BT = self._best(logits_BTV.detach(), tokens_BTV.detach(), lengths_B)
        unreadable_V = self.unreadable_V.clone()
        unreadable_V[0] = False
        floor = torch.finfo(torch.float16).min  # minus infinity has no gradient in a CTC loss
        log_posterior_BTV = logits_BTV.masked_fill(unreadable_V, floor).log_softmax(-1)
        posterior_XV = log_posterior_BTV.detach().exp().flatten(0, 1)
        drawn_XK = torch.multinomial(posterior_XV, number, replacement=True)
        drawn_KBT = drawn_XK.T.unflatten(1, best_BT.shape)
        paths = torch.cat([best_BT[None], drawn_KBT]).tolist()
        lengths = lengths_B.tolist()
        return log_posterior_BTV, [
            [tuple(collapse(path_T[:n])) for path_T, n in zip(path_BT, lengths, strict=True)]
            for path_BT in paths
        ]

    def embed(self, hypotheses: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """The LLM's embeddings (P, D) of each sequence of tokens of the CTC layer."""
        ids = torch.tensor([token for tokens in hypotheses for token in tokens])
        rows = self.embeddings_VD[ids.to(self.embeddings_VD.device, non_blocking=True)]
        return list(rows.split([len(tokens) for tokens in hypotheses]))

    def _logits(self, x_BTC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the CTC layer (B, T, V), and with those that the LLM cannot read at minus infinity."""
        logits_BTV = self.ctc_out(x_BTC)
        logits_BTV = logits_BTV.to(torch.promote_types(logits_BTV.dtype, torch.float32))
        return logits_BTV, logits_BTV.masked_fill(self.unreadable_V, -torch.inf)

    @staticmethod
    def _best(
        logits_BTV: torch.Tensor, tokens_BTV: torch.Tensor, lengths_B: torch.Tensor
    ) -> torch.Tensor:
        """The best path (B, T), 0 where it is blank, unreadable or padding; never 0 throughout."""
        best_BT = logits_BTV.argmax(-1)
        token_nats_BT, token_BT = tokens_BTV.max(-1)
        valid_BT = valid_mask(lengths_B, best_BT.shape[1], best_BT.device)
        best_BT = torch.where(valid_BT & (best_BT == token_BT), best_BT, 0)
        least_blank_BT = (token_nats_BT - logits_BTV[..., 0]).masked_fill(~valid_BT, -torch.inf)
        least_blank_B1 = least_blank_BT.argmax(1, keepdim=True)
        found_B1 = token_BT.gather(1, least_blank_B1)
        empty_B1 = (best_BT == 0).all(1, keepdim=True)
        kept_B1 = torch.where(empty_B1, found_B1, best_BT.gather(1, least_blank_B1))
        return best_BT.scatter(1, least_blank_B1, kept_B1)

    @staticmethod
    def _runs(starts_BT: torch.Tensor, most: int) -> torch.Tensor:
        """The place of each frame's run among `most` places for each utterance (B, T)."""
        first_B1 = most * torch.arange(len(starts_BT), device=starts_BT.device)[:, None]
        return first_B1 + starts_BT.long().cumsum(1) - 1


ADAPTERS: dict[str, type[Adapter]] = {
    "stack": StackAdapter,
    "conv": ConvAdapter,
    "ctc_compress": CTCCompressAdapter,
    "qformer": QFormerAdapter,
    "token_bridge": TokenBridgeAdapter,
}
