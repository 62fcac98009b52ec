"""AudioLLM: speech encoder, adapter, a frozen LLM, and its own loss on what it answers to the text.

AudioChatLlama, sections 2.1 and 3.2: the audio's embeddings stand where the user's text would, and
only what produces them is trained.
"""

# B batch, N samples, T encoder frames, P audio positions, D LLM width, R response tokens

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.train.abs_espnet_model import AbsESPnetModel
from torch import nn

from ..data.prompt import AUDIO_SLOT
from .adapters import Adapter, TokenBridgeAdapter
from .beginnings import Beginnings, followed_by
from .ctc import ctc_nats
from .llm import LLM
from .masking import on_host, split_rows, unpad
from .packing import Beginning
from .response_loss import embed_prompt, response_nats
from .risk import expected_excess
from .speech_encoder import SpeechEncoder
from .targets import PAPER, Targets


class AudioLLMESPnetModel(AbsESPnetModel):
    """The LLM is deliberately no submodule: it is not trained, saved, moved or synchronised.

    A checkpoint names it instead (id and fingerprint of its weights), and loading compares.

    Args:
        speech_encoder, adapter: what is trained.
        llm: the frozen LLM, already on its device.
        prompt: token ids of the training prompt, with one AUDIO_SLOT; of examples that bring none.
        packed: lay sequences end to end inside the LLM (False: pad them).
        targets: what is learned from (model/targets.py).
        num_pieces: V, outputs of a CTC layer on the encoder (0: there is none). An adapter that has
            one shares it.
        ctc_weight: of the transcript's CTC loss (nats of a token) beside the targets'. The
            paper: 0.
        normalize_audio: bring audio embeddings to the RMS of the LLM's own, times a learned
            gain for each dimension.
    """

    def __init__(
        self,
        speech_encoder: SpeechEncoder,
        adapter: Adapter,
        llm: LLM,
        prompt: list[int],
        packed: bool = True,
        targets: Targets = PAPER,
        num_pieces: int = 0,
        ctc_weight: float = 0.0,
        normalize_audio: bool = False,
    ):
        super().__init__()
        if prompt.count(AUDIO_SLOT) != 1:
            raise ValueError(
                f"the training prompt has {prompt.count(AUDIO_SLOT)} audio slots; one is needed"
            )
        if targets.risk and not (
            isinstance(adapter, TokenBridgeAdapter) and adapter.reads_only_tokens
        ):
            raise ValueError(
                "--risk_weight is of tokens that the LLM reads: give --audio_adapter token_bridge "
                "with mixed: false and residual: false"
            )
        self.speech_encoder, self.adapter = speech_encoder, adapter
        self.llm, self.prompt, self.packed, self.targets = llm, prompt, packed, targets
        self.ctc_weight, self.beginnings = ctc_weight, Beginnings()
        self.ctc_out = None
        if num_pieces and not hasattr(adapter, "ctc_out"):
            self.ctc_out = nn.Linear(speech_encoder.output_size(), num_pieces)
        self.audio_norm = _norm_of(llm) if normalize_audio else None

    @property
    def uses_all_parameters(self) -> bool:
        """Whether every trained parameter has a gradient in each step (the CTC layer's is there
        with a CTC loss alone, of which each example has the transcript)."""
        read = self.audio_norm is None or self.targets.through_llm
        return read and self.speech_encoder.uses_all_parameters and self.adapter.uses_all_parameters

    def forward(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        response: torch.Tensor,
        response_lengths: torch.Tensor,
        prompt: torch.Tensor | None = None,
        prompt_lengths: torch.Tensor | None = None,
        recording_samples: torch.Tensor | None = None,
        text: torch.Tensor | None = None,
        text_lengths: torch.Tensor | None = None,
        recording_tokens: torch.Tensor | None = None,
        ctc_share: float = 1.0,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """Returns the loss of a response token (the paper: its nats), statistics, and the weight
        (tokens).

        Args:
            speech: (B, N) samples; speech_lengths: (B,), on the host or a plain list: lengths on
                a GPU are waited for.
            response: (B, R) token ids of the LLM's own answer to the transcript, end-of-turn
                token included; response_lengths: (B,), likewise.
            prompt: (B, L) token ids of each example's prompt, an AUDIO_SLOT for each of its
                recordings; prompt_lengths: (B,); on the host. None: the training prompt.
            recording_samples: (B, K) samples of the recordings that lie end to end in a row of
                `speech`, zeros after them; on the host. None: each row is one.
            text: (B, L) tokens of the transcripts for the CTC loss; text_lengths: (B,), likewise.
                None: no such loss.
            recording_tokens: (B, K) tokens of each recording in a row of `text`, likewise.
            ctc_share: of the CTC loss (see `term_counts`).
            kwargs: what else the targets need.
        """
        if recording_samples is not None:
            speech, speech_lengths = split_rows(speech, speech_lengths, recording_samples)
        x_BTC, frames_B = self.speech_encoder(speech, on_host(speech_lengths))
        audios = self._adapt(x_BTC, frames_B)
        alone = [self.prompt] * len(response)
        templates = alone if prompt is None else unpad(prompt, prompt_lengths)
        beginning = self.beginnings.of(self.llm.model, templates) if self.packed else None
        templates = followed_by(beginning, templates)
        prompts = self.embed_prompts(templates, audios)
        lengths = on_host(response_lengths).tolist()
        responses = [r[:n] for r, n in zip(response, lengths, strict=True)]
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.targets.through_llm):
            loss, stats, nats_X = self.targets.losses(
                self.llm.model, prompts, responses, kwargs, self.packed, beginning
            )
        stats["audio_positions"] = loss.new_full((), sum(map(len, audios)) / len(audios))
        if self.targets.risk and self.training:
            best_B = torch.stack([nats_R.sum() for nats_R in nats_X.split(lengths)])
            risk = self._risk(x_BTC, frames_B, templates, beginning, responses, best_B)
            loss = loss + self.targets.risk * risk
            stats |= {"risk_loss": risk.detach(), "total_loss": loss.detach()}
        if self.ctc_weight and text is not None and text_lengths is not None:
            if recording_tokens is not None:
                text, text_lengths = split_rows(text, text_lengths, recording_tokens)
            ctc_loss = ctc_share * self._ctc_loss(x_BTC, frames_B, text, on_host(text_lengths))
            loss = loss + self.ctc_weight * ctc_loss
            stats |= {"ctc_loss": ctc_loss.detach(), "total_loss": loss.detach()}
        return force_gatherable((loss, stats, loss.new_full((), sum(lengths))), loss.device)

    def term_counts(self, batch: Mapping[str, Any]) -> dict[str, int]:
        """What the loss's weight counts in a batch, and what the CTC loss is a mean over, by the
        name of the argument that scales it (see train/shares.py). Nothing without a CTC loss."""
        if not self.ctc_weight or batch.get("text_lengths") is None:
            return {}
        names = {"weight": "response_lengths", "ctc_share": "text_lengths"}
        return {term: int(sum(batch[name])) for term, name in names.items()}

    def embed_prompts(
        self, templates: Sequence[list[int]], audios: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        """The embeddings (L, D) of prompts whose slots take the audios (P, D), one after the other.

        Errors (ValueError): there are more slots than audios, or fewer."""
        slots = [template.count(AUDIO_SLOT) for template in templates]
        if sum(slots) != len(audios):
            raise ValueError(
                f"{len(templates)} prompts have {sum(slots)} audio slots, but {len(audios)} "
                "recordings came: give the prompts and recordings of one store of stage 7"
            )
        left = iter(audios)
        return [
            embed_prompt(self.llm.model, template, list(itertools.islice(left, number)))
            for template, number in zip(templates, slots, strict=True)
        ]

    def encode_audio(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor | Sequence[int]
    ) -> list[torch.Tensor]:
        """(B, N) samples and (B,) lengths to the audio embeddings of each utterance, (P, D) without
        padding."""
        return self._adapt(*self.speech_encoder(speech, on_host(speech_lengths)))

    def _adapt(self, x_BTC: torch.Tensor, frames_B: torch.Tensor) -> list[torch.Tensor]:
        audio_BPD, positions_B = self.adapter(x_BTC, frames_B)
        audio_BPD = self._normalized(audio_BPD)
        return [a[:n] for a, n in zip(audio_BPD, positions_B.tolist(), strict=True)]

    def _normalized(self, audio_PD: torch.Tensor) -> torch.Tensor:
        """(..., P, D): as large as the LLM's own embeddings, where that is asked for."""
        return audio_PD if self.audio_norm is None else self.audio_norm(audio_PD)

    def _risk(
        self,
        x_BTC: torch.Tensor,
        frames_B: torch.Tensor,
        templates: Sequence[list[int]],
        beginning: Beginning | None,
        responses: Sequence[torch.Tensor],
        best_B: torch.Tensor,
    ) -> torch.Tensor:
        """Nats of a response token that other hypotheses than the best are expected to cost more.
        The LLM reads all but has no gradient.

        templates: what follows the `beginning`.
        best_B: nats of the responses after the best hypotheses."""
        log_posterior_BTV, drawn = self.adapter.draw(x_BTC, frames_B, self.targets.risk_draws)
        slots = [template.count(AUDIO_SLOT) for template in templates]
        first = list(itertools.accumulate(slots, initial=0))

        @torch.no_grad()
        def cost(k: int, examples: Sequence[int]) -> torch.Tensor:
            hypotheses = [tokens for i in examples for tokens in drawn[k][first[i] : first[i + 1]]]
            audios = [self._normalized(audio_PD) for audio_PD in self.adapter.embed(hypotheses)]
            prompts = self.embed_prompts([templates[i] for i in examples], audios)
            chosen = [responses[i] for i in examples]
            nats = response_nats(self.llm.model, prompts, chosen, self.packed, beginning=beginning)
            return torch.stack([nats_R.sum() for nats_R in nats])

        excess_B = expected_excess(log_posterior_BTV, frames_B, drawn, slots, best_B, cost)
        return excess_B.sum() / sum(map(len, responses))

    def ctc_layer(self) -> nn.Linear:
        """The layer from frames to the recogniser's tokens, the adapter's or the model's own.

        Raises ValueError when the model has none."""
        layer = getattr(self.adapter, "ctc_out", self.ctc_out)
        if layer is None:
            raise ValueError("this model has no CTC layer: train it with --ctc_weight")
        return layer

    def _ctc_loss(
        self,
        x_BTC: torch.Tensor,
        frames_B: torch.Tensor,
        text_BL: torch.Tensor,
        text_lengths_B: torch.Tensor,
    ) -> torch.Tensor:
        """Nats of a token of the transcripts."""
        log_posterior_BTV = self.ctc_layer()(x_BTC).float().log_softmax(-1)
        nats = ctc_nats(log_posterior_BTV, frames_B, text_BL, text_lengths_B)
        return nats / int(text_lengths_B.sum())

    def collect_feats(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """What ESPnet's statistics (stages 4 and 8) are of: features and their lengths."""
        feats, feats_lengths = self.speech_encoder.features(speech, speech_lengths)
        return {"feats": feats, "feats_lengths": feats_lengths}

    def get_extra_state(self) -> dict[str, str]:
        """What a checkpoint says of the LLM it belongs to."""
        return {"llm": self.llm.name, "llm_fingerprint": self.llm.fingerprint}

    def set_extra_state(self, state: dict[str, str]) -> None:
        """Compare. Errors (ValueError): the checkpoint belongs to another LLM."""
        if state["llm_fingerprint"] != self.llm.fingerprint:
            raise ValueError(
                f"this checkpoint was trained with the LLM {state['llm']} "
                f"({state['llm_fingerprint'][:12]}), but --llm {self.llm.name} has other weights "
                f"({self.llm.fingerprint[:12]}): give the LLM it was trained with, or train again"
            )


def _norm_of(llm: LLM) -> nn.RMSNorm:
    """A norm that starts at the RMS of the LLM's text embeddings."""
    weight_VD = llm.model.get_input_embeddings().weight.detach()
    norm = nn.RMSNorm(weight_VD.shape[1])
    nn.init.constant_(norm.weight, float(weight_VD.float().square().mean().sqrt()))
    return norm
