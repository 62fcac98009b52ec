"""SoundStorm (Borsos et al., 2023, arXiv 2305.09636): from semantic units to all levels of a codec,
in the voice of a prompt.

A conformer sees, at each frame of the codec, the semantic unit that lasts then and the units of all
levels as far as they are known, in one sum. It predicts the masked units of one level at once. The
prompt is the beginning of the same sequence, with all its levels known. Here durations of semantic
units without repeats are predicted, too: a speech LM need not say how long its units last.
"""

# B batch, L levels, K units of a level, T codec frames, P frames of the prompt, D width,
# N semantic units without repeats, X frames whose units are predicted

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as nnf
from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.train.abs_espnet_model import AbsESPnetModel
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from .conformer import ConformerLayer, RotaryPositions
from .dropout import Dropout
from .durations import DurationPredictor, duration_loss
from .masked_levels import Drawn, choose, draw, left_after
from .masking import on_host, valid_mask

PADDING = -1  # of units, durations and levels


class SoundStorm(nn.Module):
    """Semantic units and known units of a codec to those that are masked.

    Args:
        size: semantic units.
        levels: of the codec, L.
        level_size: units of a level, K.
        width, heads, hidden, layers, kernel: of the conformer.
        dropout: everywhere.
    """

    def __init__(
        self,
        size: int,
        levels: int,
        level_size: int,
        width: int = 192,
        heads: int = 4,
        hidden: int = 768,
        layers: int = 4,
        kernel: int = 5,
        dropout: float = 0.1,
    ):
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} is not a multiple of 2 x heads ({heads})")
        self.levels, self.level_size = levels, level_size
        self.semantic = nn.Embedding(size, width)
        self.acoustic = nn.Embedding(levels * (level_size + 1), width)
        nn.init.normal_(self.acoustic.weight, std=levels**-0.5)  # their sum is as large as one
        self.dropout = Dropout(dropout)
        self.positions = RotaryPositions(width // heads)
        self.layers = nn.ModuleList(
            ConformerLayer(width, heads, hidden, kernel, dropout) for _ in range(layers)
        )
        self.head_weight_LKD = nn.Parameter(torch.randn(levels, level_size, width) * width**-0.5)
        self.head_bias_LK = nn.Parameter(torch.zeros(levels, level_size))
        self.duration_predictor = DurationPredictor(size, width, dropout)

    @property
    def mask(self) -> int:
        """What stands in place of a unit that is not known."""
        return self.level_size

    def encode(
        self, semantic_BT: torch.Tensor, codes_BTL: torch.Tensor, lengths_B: torch.Tensor
    ) -> torch.Tensor:
        """(B, T, D) for the heads.

        codes_BTL: units of each level, `mask` where they are not known."""
        first_L = torch.arange(self.levels, device=codes_BTL.device) * (self.level_size + 1)
        known_BTD = self.acoustic(codes_BTL.clamp(min=0) + first_L).sum(2)
        x_BTD = self.dropout(self.semantic(semantic_BT.clamp(min=0)) + known_BTD)
        mask_B11T = valid_mask(lengths_B, x_BTD.shape[1], x_BTD.device)[:, None, None]
        angles = self.positions(x_BTD.shape[1])
        for layer in self.layers:
            x_BTD = layer(x_BTD, mask_B11T, angles)
        return x_BTD

    def logits(self, x_XD: torch.Tensor, level: int) -> torch.Tensor:
        """(X, K) of a level's units."""
        return nnf.linear(x_XD, self.head_weight_LKD[level], self.head_bias_LK[level])

    @torch.inference_mode()
    def generate(
        self,
        semantic: Sequence[torch.Tensor],
        prompts: Sequence[torch.Tensor],
        seeds: Sequence[int],
        iterations: Sequence[int] = (16, 1),
        temperature: float = 1.0,
    ) -> list[torch.Tensor]:
        """The (T, L) units of all levels of each utterance, the prompt's first and unchanged.

        semantic: (T,) at the codec's frames, the prompt's first.
        prompts: (P, L) units; (0, L): a voice that chance decides.
        seeds: of each utterance, so that it does not depend on the others.
        iterations: for the first level, the second, ...; the last number is for all that follow.
        temperature: of the first level's units; the likeliest are taken of the others."""
        device = self.semantic.weight.device
        lengths = [len(each) for each in semantic]
        lengths_B = torch.tensor(lengths)
        semantic_BT = pad_sequence(list(semantic), batch_first=True).to(device)
        codes_BTL = semantic_BT.new_full((*semantic_BT.shape, self.levels), self.mask)
        for codes_TL, prompt_PL in zip(codes_BTL, prompts, strict=True):
            codes_TL[: len(prompt_PL)] = prompt_PL.to(device)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        for level in range(self.levels):
            steps = iterations[min(level, len(iterations) - 1)]
            warmth = temperature if level == 0 else 0.0
            for step in range(1, steps + 1):
                x_BTD = self.encode(semantic_BT, codes_BTL, lengths_B)
                for row, generator in enumerate(generators):
                    known, end = len(prompts[row]), lengths[row]
                    units_T = codes_BTL[row, known:end, level]
                    places_X = (units_T == self.mask).nonzero()[:, 0]
                    left = left_after(step, steps, len(units_T), len(places_X))
                    logits_XK = self.logits(x_BTD[row, known:end][places_X], level)
                    doubt = 1 - step / steps
                    units_X, kept_X = choose(logits_XK, left, warmth, doubt, generator)
                    units_T[places_X[kept_X]] = units_X[kept_X]
        return [codes_TL[:end] for codes_TL, end in zip(codes_BTL, lengths, strict=True)]


class SoundStormESPnetModel(AbsESPnetModel):
    """SoundStorm and its loss.

    In training masks are drawn anew. In validation they follow from an utterance's length, so that
    its loss is the same in every epoch and every batch.

    unprompted: the share of utterances that have no prompt."""

    def __init__(self, soundstorm: SoundStorm, unprompted: float = 0.1):
        super().__init__()
        if not 0 <= unprompted <= 1:
            raise ValueError(f"unprompted is {unprompted}; it can be from 0 to 1")
        self.soundstorm, self.unprompted = soundstorm, unprompted

    def forward(
        self,
        units: torch.Tensor,
        units_lengths: torch.Tensor,
        durations: torch.Tensor,
        durations_lengths: torch.Tensor,
        semantic: torch.Tensor,
        semantic_lengths: torch.Tensor,
        levels: torch.Tensor,
        levels_lengths: torch.Tensor,
        drawn: Sequence[Drawn] | None = None,
        duration_share: float = 1.0,
        **kwargs: object,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """Returns the loss, statistics and the number of predicted units as weight. The loss is the
        mean cross-entropy (nats) of the masked units of the level that was drawn for an utterance,
        and the mean squared deviation of logarithms of durations.

        Args:
            units, durations: (B, N) semantic units without repeats, -1 where padded.
            semantic: (B, T) semantic units at the codec's frames; levels: (B, T, L).
            drawn: what of each utterance is masked (None: drawn here).
            duration_share: of the term of durations (see `term_counts`)."""
        model, lengths_B = self.soundstorm, on_host(levels_lengths)
        drawn = drawn or self._draw_all(lengths_B)
        hidden_BTL = pad_sequence([d.hidden(model.levels) for d in drawn], batch_first=True)
        codes_BTL = levels.masked_fill(hidden_BTL.to(levels.device), model.mask)
        x_BTD = model.encode(semantic, codes_BTL, lengths_B)
        losses, right = [], []
        for level in sorted({d.level for d in drawn}):
            asked = [d.asked_T & (d.level == level) for d in drawn]
            asked_BT = pad_sequence(asked, batch_first=True).to(levels.device)
            logits_XK = model.logits(x_BTD[asked_BT], level).float()
            targets_X = levels[..., level][asked_BT]
            losses.append(nnf.cross_entropy(logits_XK, targets_X, reduction="none"))
            right.append(logits_XK.argmax(-1) == targets_X)
        unit_loss = torch.cat(losses).mean()
        predictor, units_lengths = model.duration_predictor, on_host(units_lengths)
        log_BN = predictor.predict(units, units_lengths, predictor.no_voice(len(units)))
        rhythm_loss = duration_share * duration_loss(log_BN, durations, units_lengths)
        loss = unit_loss + rhythm_loss
        accuracy = torch.cat(right).float().mean()
        stats = {"loss": loss, "units": unit_loss, "duration": rhythm_loss, "accuracy": accuracy}
        stats = {name: value.detach() for name, value in stats.items()}
        weight = loss.new_full((), sum(len(each) for each in losses))
        return force_gatherable((loss, stats, weight), loss.device)

    def prepare(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The masks of a batch to learn from: how many units they ask for is counted before."""
        return {"drawn": self._draw_all(on_host(batch["levels_lengths"]))}

    def term_counts(self, batch: Mapping[str, Any]) -> dict[str, int]:
        """Units that are predicted, which the loss's weight counts, and units without repeats,
        which the term of durations is a mean over (see train/shares.py)."""
        asked = sum(int(each.asked_T.sum()) for each in batch["drawn"])
        return {"weight": asked, "duration_share": int(sum(batch["units_lengths"]))}

    def collect_feats(self, **batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """Nothing is collected before the training."""
        return {}

    def _draw_all(self, lengths_B: torch.Tensor) -> list[Drawn]:
        return [self._draw(frames) for frames in lengths_B.tolist()]

    def _draw(self, frames: int) -> Drawn:
        generator = None if self.training else torch.Generator().manual_seed(frames)
        return draw(frames, self.soundstorm.levels, self.unprompted, generator)
