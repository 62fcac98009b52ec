"""Padding, and how to keep it from mattering.

Lengths may stay on the host while what they measure is on a GPU: a length that is asked for there
(`int(lengths.max())`) would wait for all that the GPU has still to do.
"""

from __future__ import annotations

import torch
from torch.nn.utils.rnn import pad_sequence


def on_host(lengths: torch.Tensor | list[int]) -> torch.Tensor:
    """(B,) lengths where Python can read them without waiting; a GPU's are waited for here."""
    return torch.as_tensor(lengths, device="cpu")


def valid_mask(
    lengths_B: torch.Tensor, longest: int, device: torch.device | None = None
) -> torch.Tensor:
    """(B, longest) bool: True where a position lies within its sequence.

    device: of the mask (None: where the lengths are)."""
    lengths_B = lengths_B.to(device or lengths_B.device, non_blocking=True)
    return torch.arange(longest, device=lengths_B.device) < lengths_B[:, None]


def unpad(rows_BL: torch.Tensor | list, lengths: torch.Tensor | list[int] | None) -> list[list]:
    """Padded rows as lists of numbers without padding."""
    assert lengths is not None
    pairs = zip(on_host(rows_BL).tolist(), on_host(lengths).tolist(), strict=True)
    return [row[:length] for row, length in pairs]


def split_rows(
    x_BN: torch.Tensor, lengths: torch.Tensor | list[int], parts_BK: torch.Tensor | list
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows that are several sequences laid end to end to a row for each sequence, zero-padded, and
    their lengths (on the host).

    parts_BK: the sequences' lengths in each row, zeros after them.

    Errors (ValueError): they do not add up to a row's length."""
    lengths_B, parts_BK = on_host(lengths), on_host(parts_BK)
    wrong = torch.nonzero(parts_BK.sum(1) != lengths_B).flatten().tolist()
    if wrong:
        first = wrong[0]
        raise ValueError(
            f"{len(wrong)} of {len(lengths_B)} examples are not as long as their recordings "
            f"(first: {lengths_B[first]} samples, not {parts_BK[first].sum()}): run stages 2 and 7 "
            "again"
        )
    rows = [[n for n in row if n] for row in parts_BK.tolist()]
    pieces = [p for x_N, row in zip(x_BN, rows, strict=True) for p in x_N[: sum(row)].split(row)]
    return pad_sequence(pieces, batch_first=True), parts_BK[parts_BK > 0]


def even_length(x_BTx: torch.Tensor, step: int) -> torch.Tensor:
    """`x_BTx`, on a GPU with zeros up to a multiple of `step` positions.

    There cuDNN and cuFFT make a plan for each new shape, which takes longer than to run it; with
    lengths of their own, nearly all batches have a new one."""
    if not x_BTx.is_cuda:
        return x_BTx
    sides = (0, 0) * (x_BTx.dim() - 2)
    return torch.nn.functional.pad(x_BTx, (*sides, 0, -x_BTx.shape[1] % step))


def mask_padding(x_BTx: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
    """`x_BTx` with exact zeros at the padded positions (dimension 1 is time)."""
    mask = valid_mask(lengths_B, x_BTx.shape[1], x_BTx.device)
    return x_BTx.masked_fill(~mask.reshape(mask.shape + (1,) * (x_BTx.dim() - 2)), 0.0)
