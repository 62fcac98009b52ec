"""From encoder frames to positions of the LLM. Each masks padding; none attends to it.

`stack` is the paper's (AudioChatLlama, section 3.2). All share one interface: frames (B, T, C) with
lengths (B,) in; positions (B, P, D), zero where padded, with lengths (B,) out.
"""

# B batch, T encoder frames, P positions, C encoder width, D LLM width, V pieces, Q queries,
# R runs of frames, W frames of a window, X windows of the batch

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from .masking import mask_padding, valid_mask


class Adapter(nn.Module, ABC):
    """Args of every adapter: `encoder_width` C and `llm_width` D.

    positions_per_frame: positions of the LLM that a frame becomes, at most."""

    positions_per_frame: float

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
        self.positions_per_frame = queries / window
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


ADAPTERS: dict[str, type[Adapter]] = {
    "stack": StackAdapter,
    "conv": ConvAdapter,
    "ctc_compress": CTCCompressAdapter,
    "qformer": QFormerAdapter,
}
