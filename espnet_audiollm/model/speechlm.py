"""A speech LM: a Llama with units in its vocabulary learns the outputs of tasks (AudioPaLM).

Units are tokens like any other, so there is no encoder and no adapter: the loss is the
cross-entropy of the response's tokens, and the prompt is only read.
"""

# B batch, L prompt tokens, R response tokens

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.train.abs_espnet_model import AbsESPnetModel

from .llm import LLM
from .masking import on_host, unpad
from .response_loss import embed_prompt
from .targets import PAPER
from .tuning import load_trained_state, trained_state

EXTRA = "_extra_state"  # as torch calls it


class SpeechLMESPnetModel(AbsESPnetModel):
    """The loss of examples as token ids. Its state is what is trained, and nothing frozen.

    Args:
        llm: with units in its vocabulary, tuned (model/tuning.py).
        made_of: what a checkpoint says of itself, compared when it is loaded: by what the frozen
            weights and the vocabulary are known.
        packed: lay sequences end to end (False: pad them).
    """

    def __init__(self, llm: LLM, made_of: Mapping[str, str], packed: bool = True):
        super().__init__()
        self.model, self.llm = llm.model, llm
        self.made_of, self.packed = dict(made_of), packed

    @property
    def uses_all_parameters(self) -> bool:
        """Whether every trained parameter has a gradient in each step: in a Llama, which has no
        experts that some tokens pass by."""
        return self.model.config.model_type == "llama"

    def forward(
        self,
        prompt: torch.Tensor,
        prompt_lengths: torch.Tensor,
        response: torch.Tensor,
        response_lengths: torch.Tensor,
        utt_id: Sequence[str] = (),
        **kwargs: Any,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """Returns the nats of a response token, statistics, and the weight (response tokens).

        Args:
            prompt: (B, L) token ids, on the host; prompt_lengths: (B,).
            response: (B, R) token ids, the end of turn included; response_lengths: (B,), on the
                host.
            utt_id: "TASK!UTTERANCE" of each example. In validation a batch is of one task, and
                its figures are that task's as well.
        """
        prompts = [embed_prompt(self.model, ids) for ids in unpad(prompt, prompt_lengths)]
        lengths = on_host(response_lengths).tolist()
        responses = [ids[:n] for ids, n in zip(response, lengths, strict=True)]
        loss, stats, _ = PAPER.losses(self.model, prompts, responses, {}, self.packed)
        if not self.training:
            stats |= of_task(stats, utt_id)
        return force_gatherable((loss, stats, loss.new_full((), sum(lengths))), loss.device)

    def collect_feats(self, **batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """ESPnet's hook: there are no features."""
        return {}

    # --- the state: what is trained ---------------------------------------------------------

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The trained weights, and what they were made of."""
        return {**trained_state(self.model), EXTRA: dict(self.made_of)}

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        """Strict. Errors (ValueError): of another LLM, vocabulary, or choice of what is trained."""
        theirs = state_dict.get(EXTRA) or {}
        changed = [name for name, value in self.made_of.items() if theirs.get(name) != value]
        if changed:
            first = changed[0]
            raise ValueError(
                f"this checkpoint was trained with another {first} ({theirs.get(first)!s:.12}) "
                f"than that of --llm {self.llm.name} ({self.made_of[first]!s:.12}): give the LLM "
                "it was trained with, or train again"
            )
        load_trained_state(self.model, {k: v for k, v in state_dict.items() if k != EXTRA})


def of_task(stats: Mapping[str, torch.Tensor], ids: Sequence[str]) -> dict[str, torch.Tensor]:
    """{"loss_TASK": ..., "token_acc_TASK": ...} of a batch of one task; nothing of others."""
    tasks = {id_.partition("!")[0] for id_ in ids}
    if len(tasks) != 1:
        return {}
    (task,) = tasks
    return {f"{name}_{task}": stats[name] for name in ("loss", "token_acc")}
