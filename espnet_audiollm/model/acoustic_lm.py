"""AudioLM's second and third stages (Borsos et al., 2022, arXiv 2209.03143): a decoder-only
Transformer reads units that are known, then writes those of a codec, one after the other.

    coarse   semantic units at the codec's frames, then its first levels
    fine     the first levels, then all others

Both are this model: a prefix, a mark, a sequence that has the same frames. All units are rows of
one table, each level's with numbers of its own. Which level is due follows from the place, so the
softmax is over the units of that level, in training as while generating: no other can come. Rotary
positions are those of time, so that a frame's units are as far from its prefix in a long utterance
as in a short one.
"""

# B rows, C levels of the prefix, Q levels of the sequence, K units of such a level, T codec frames,
# N units of a prefix (T x C), S of a sequence (T x Q), W tokens of a row (N, the mark, S), D width

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as nnf
from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.train.abs_espnet_model import AbsESPnetModel
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from .dropout import drop_in_layers
from .durations import DurationPredictor, duration_loss
from .masked_levels import gumbel
from .masking import on_host


@dataclass(frozen=True)
class Sampling:
    """How units are drawn.

    Errors (ValueError): a negative temperature or number."""

    temperature: float = 1.0  # 0: the likeliest
    top_k: int = 0  # of the likeliest units, from which is drawn. 0: of all

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0:
            raise ValueError(
                f"a temperature of {self.temperature:g} and --top_k {self.top_k}: neither can be "
                "negative (0: the likeliest unit; 0: all units)"
            )

    def __call__(
        self, logits_BK: torch.Tensor, generators: Sequence[torch.Generator]
    ) -> torch.Tensor:
        """(B,) units, by a generator for each row, so that it does not depend on the others."""
        logits_BK = logits_BK.float()
        if self.temperature == 0:
            return logits_BK.argmax(-1)
        if 0 < self.top_k < logits_BK.shape[1]:
            least_B1 = logits_BK.topk(self.top_k).values[:, -1:]
            logits_BK = logits_BK.masked_fill(logits_BK < least_B1, -torch.inf)
        rows = zip(logits_BK, generators, strict=True)
        noise_BK = torch.stack([gumbel(row_K, generator) for row_K, generator in rows])
        return (logits_BK / self.temperature + noise_BK).argmax(-1)


@dataclass(frozen=True)
class Rows:
    """Token ids of several rows with their positions in time, padded."""

    ids_BW: torch.Tensor
    positions_BW: torch.Tensor
    mask_BW: torch.Tensor  # 1 where there is a token

    @classmethod
    def of(cls, rows: Sequence[tuple[torch.Tensor, torch.Tensor]], side: str) -> Rows:
        """(W,) ids and positions of each; `side` is padded."""
        ids, positions = zip(*rows, strict=True)
        mask = [torch.ones_like(row_W) for row_W in ids]
        padded = [pad_sequence(each, True, 0, side) for each in (list(ids), list(positions), mask)]
        return cls(*padded)

    def extended(self, ids_B: torch.Tensor, positions_B: torch.Tensor) -> Rows:
        """One further token of each, which are all that is to be read; the mask is of all."""
        return Rows(ids_B[:, None], positions_B[:, None], nnf.pad(self.mask_BW, (0, 1), value=1))


class AcousticLM(nn.Module):
    """The decoder of a stage.

    Units of a prefix and of a sequence are numbered as by `flatten` (data/unit_levels.py).

    Args:
        prefix_levels, prefix_size: levels that are known, C, and the units of each.
        levels, level_size: levels that are written, Q, and the units of each, K.
        width, heads, hidden, layers: of a Llama.
        dropout: of what each attention and feed-forward network adds.
    """

    def __init__(
        self,
        prefix_levels: int,
        prefix_size: int,
        levels: int,
        level_size: int,
        width: int = 192,
        heads: int = 4,
        hidden: int = 512,
        layers: int = 4,
        dropout: float = 0.1,
    ):
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} is not a multiple of 2 x heads ({heads})")
        self.prefix_levels, self.levels, self.level_size = prefix_levels, levels, level_size
        self.first = prefix_levels * prefix_size  # row of the first unit that is written
        self.mark = self.first + levels * level_size  # between prefix and sequence
        config = LlamaConfig(
            vocab_size=self.mark + 1,
            hidden_size=width,
            intermediate_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
        )
        self.decoder = LlamaForCausalLM(config)
        self.dropout = dropout
        drop_in_layers(self.decoder, dropout)

    def row(
        self, prefix_N: torch.Tensor, sequence_S: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(W,) token ids and their positions."""
        mark = prefix_N.new_tensor([self.mark])
        ids_W = torch.cat([prefix_N, mark, self.first + sequence_S])
        places_N = torch.arange(len(prefix_N), device=prefix_N.device)
        before_N = self._position(places_N, self.prefix_levels, 1)
        places_S = torch.arange(len(sequence_S), device=prefix_N.device)
        return ids_W, torch.cat([before_N, torch.zeros_like(mark), self.position(places_S)])

    def position(self, places_S: torch.Tensor) -> torch.Tensor:
        """(S,) positions of a sequence's units; 0 is the mark's, 1 the first of the prefix."""
        return self._position(places_S, self.levels, 1 + self.prefix_levels)

    def hidden(self, rows: Rows, cache: DynamicCache | None = None) -> torch.Tensor:
        """(B, W, D) behind the last layer. cache: what was read before, if anything."""
        read = self.decoder.model(
            input_ids=rows.ids_BW,
            position_ids=rows.positions_BW,
            attention_mask=rows.mask_BW,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return read.last_hidden_state

    def logits(self, x_BD: torch.Tensor, level: int) -> torch.Tensor:
        """(B, K) of the units of a level."""
        return nnf.linear(x_BD, self._table()[level])

    def logits_of_frames(self, x_TQD: torch.Tensor) -> torch.Tensor:
        """(T, Q, K) of the units of each level."""
        return torch.einsum("tqd,qkd->tqk", x_TQD, self._table())

    @torch.inference_mode()
    def generate(
        self,
        prefixes: Sequence[torch.Tensor],
        prompts: Sequence[torch.Tensor],
        seeds: Sequence[int],
        sampling: Sampling,
    ) -> list[torch.Tensor]:
        """The (S,) sequence of each prefix, the prompt first and unchanged.

        prefixes: (N,) units; prompts: the beginnings of the sequences, complete frames or nothing;
        seeds: of each row, so that it does not depend on the others."""
        device, levels = self.decoder.device, self.levels
        known_B = torch.tensor([len(prompt) for prompt in prompts], device=device)
        frames = [len(prefix) // self.prefix_levels for prefix in prefixes]
        left = [n * levels - len(prompt) for n, prompt in zip(frames, prompts, strict=True)]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        pairs = zip(prefixes, prompts, strict=True)
        rows = Rows.of([self.row(a.to(device), b.to(device)) for a, b in pairs], "left")
        cache, made = DynamicCache(config=self.decoder.config), list[torch.Tensor]()
        for step in range(max(left)):
            level = step % levels  # of all rows, since prompts have complete frames
            x_BD = self.hidden(rows, cache)[:, -1]
            made.append(level * self.level_size + sampling(self.logits(x_BD, level), generators))
            rows = rows.extended(self.first + made[-1], self.position(known_B + step))
        made_BS = torch.stack(made, 1).cpu() if made else torch.zeros(len(left), 0).long()
        parts = zip(prompts, made_BS, left, strict=True)
        return [torch.cat([prompt.cpu(), made_S[:number]]) for prompt, made_S, number in parts]

    def _position(self, places: torch.Tensor, levels: int, first: int) -> torch.Tensor:
        frame, level = places // levels, places % levels
        return first + frame * (self.prefix_levels + self.levels) + level

    def _table(self) -> torch.Tensor:
        """(Q, K, D): the rows of the units that are written."""
        table_VD = self.decoder.lm_head.weight[self.first : self.mark]
        return table_VD.unflatten(0, (self.levels, self.level_size))


class AcousticLMESPnetModel(AbsESPnetModel):
    """A stage and its loss.

    lm: the stage's decoder.
    longest: codec frames of an utterance that are looked at. In training they begin anywhere; in
    validation they are those of the middle, so that the loss is the same in every epoch and batch.
    duration_predictor: of semantic units without repeats. None: there are no semantic units."""

    def __init__(
        self, lm: AcousticLM, longest: int, duration_predictor: DurationPredictor | None = None
    ):
        super().__init__()
        if longest < 1:
            raise ValueError("--longest has not one frame: give the seconds of an utterance")
        self.lm, self.longest, self.duration_predictor = lm, longest, duration_predictor

    def forward(
        self,
        prefix: torch.Tensor,
        prefix_lengths: torch.Tensor,
        sequence: torch.Tensor,
        sequence_lengths: torch.Tensor,
        units: torch.Tensor | None = None,
        units_lengths: torch.Tensor | None = None,
        durations: torch.Tensor | None = None,
        duration_share: float = 1.0,
        **kwargs: object,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """Returns the loss, statistics and the number of predicted units as weight. The loss is the
        mean cross-entropy (nats) of the sequences' units, and with a predictor the mean squared
        deviation of logarithms of durations.

        Args:
            prefix: (B, N); sequence: (B, S).
            units, durations: (B, L) semantic units without repeats, -1 where padded.
            duration_share: of the term of durations (see `term_counts`)."""
        lm, frames_B = self.lm, on_host(sequence_lengths) // self.lm.levels
        cuts = [self._cut(frames) for frames in frames_B.tolist()]
        pairs = [
            (prefix_N[_times(cut, lm.prefix_levels)], sequence_S[_times(cut, lm.levels)])
            for cut, prefix_N, sequence_S in zip(cuts, prefix, sequence, strict=True)
        ]
        x_BWD = lm.hidden(Rows.of([lm.row(*pair) for pair in pairs], "right"))
        before = [
            x_WD[len(prefix_N) : len(prefix_N) + len(sequence_S)]  # each one before its unit
            for x_WD, (prefix_N, sequence_S) in zip(x_BWD, pairs, strict=True)
        ]
        x_TQD = torch.cat(before).unflatten(0, (-1, lm.levels))
        first_Q = torch.arange(lm.levels, device=prefix.device) * lm.level_size
        targets_TQ = torch.cat([pair[1] for pair in pairs]).view(-1, lm.levels) - first_Q
        logits_TQK = lm.logits_of_frames(x_TQD).float()
        loss = nnf.cross_entropy(logits_TQK.flatten(0, 1), targets_TQ.flatten())
        accuracy = (logits_TQK.argmax(-1) == targets_TQ).float().mean()
        stats = {"units": loss, "accuracy": accuracy}
        if self.duration_predictor is not None:
            row = units, durations, units_lengths
            stats["duration"] = duration_share * _duration_loss(self.duration_predictor, *row)
            loss = loss + stats["duration"]
        stats = {name: value.detach() for name, value in {"loss": loss, **stats}.items()}
        weight = loss.new_full((), targets_TQ.numel())
        return force_gatherable((loss, stats, weight), loss.device)

    def term_counts(self, batch: Mapping[str, Any]) -> dict[str, int]:
        """Units that are predicted, which the loss's weight counts, and semantic units without
        repeats, which the term of durations is a mean over (see train/shares.py)."""
        if self.duration_predictor is None:
            return {}
        frames_B = on_host(batch["sequence_lengths"]) // self.lm.levels
        predicted = int(frames_B.clamp(max=self.longest).sum()) * self.lm.levels
        return {"weight": predicted, "duration_share": int(sum(batch["units_lengths"]))}

    def collect_feats(self, **batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """Nothing is collected before the training."""
        return {}

    def _cut(self, frames: int) -> slice:
        spare = max(0, frames - self.longest)
        start = int(torch.randint(spare + 1, ())) if self.training else spare // 2
        return slice(start, start + min(frames, self.longest))


def _duration_loss(predictor: DurationPredictor, units_BL, durations_BL, lengths_B) -> torch.Tensor:
    lengths_B = on_host(lengths_B)
    log_BL = predictor.predict(units_BL, lengths_B, predictor.no_voice(len(units_BL)))
    return duration_loss(log_BL, durations_BL, lengths_B)


def _times(cut: slice, levels: int) -> slice:
    """Of frames to that of units, `levels` in each frame."""
    return slice(cut.start * levels, cut.stop * levels)
