"""What CTC can align, and what it says of the rest."""

import math

import pytest
import torch
import torch.nn.functional as F

from espnet_audiollm.model.ctc import BLANK, PADDING, collapse, frames_needed

CASES = [([3, 4, 5], 3), ([3, 3, 4], 4), ([3, 3, 3], 5), ([3], 1), ([4, 3, 3, 4], 5)]


@pytest.mark.parametrize(("tokens", "frames"), CASES)
def test_one_frame_fewer_than_needed_has_no_alignment(tokens, frames):
    """By torch's own loss, which is infinite where nothing can be aligned."""
    text = torch.tensor([tokens + [PADDING] * 2])
    assert frames_needed(text, torch.tensor([len(tokens)])).tolist() == [frames]
    scores_TBV = torch.zeros(10, 1, 6).log_softmax(-1)
    for given, finite in ((frames, True), (frames - 1, False)):
        if given:
            lengths = torch.tensor([given]), torch.tensor([len(tokens)])
            loss = F.ctc_loss(scores_TBV, text.clamp(min=0), *lengths, blank=BLANK)
            assert math.isfinite(loss.item()) == finite


def test_padding_needs_no_frames():
    text = torch.tensor([[3, 3, 5], [3, PADDING, PADDING]])
    assert frames_needed(text, torch.tensor([3, 1])).tolist() == [4, 1]


def test_collapse():
    assert collapse([0, 3, 3, 0, 3, 5, 5, 0]) == [3, 3, 5]
