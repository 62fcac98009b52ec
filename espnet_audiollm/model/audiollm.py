"""AudioLLM: speech encoder, adapter, a frozen LLM, and its own loss on the response.

AudioChatLlama, sections 2.1 and 3.2: the audio's embeddings stand where the user's text would, and
only what produces them is trained.
"""

# B batch, N samples, T encoder frames, P audio positions, D LLM width, R response tokens

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.train.abs_espnet_model import AbsESPnetModel

from ..data.prompt import AUDIO_SLOT
from .adapters import Adapter
from .llm import LLM
from .masking import on_host, split_rows, unpad
from .response_loss import embed_prompt, response_nats
from .speech_encoder import SpeechEncoder


class AudioLLMESPnetModel(AbsESPnetModel):
    """The LLM is deliberately no submodule: it is not trained, saved, moved or synchronised.

    A checkpoint names it instead (id and fingerprint of its weights), and loading compares.

    Args:
        speech_encoder, adapter: what is trained.
        llm: the frozen LLM, already on its device.
        prompt: token ids of the training prompt, with one AUDIO_SLOT; of examples that bring none.
        packed: lay sequences end to end inside the LLM (False: pad them).
    """

    def __init__(
        self,
        speech_encoder: SpeechEncoder,
        adapter: Adapter,
        llm: LLM,
        prompt: list[int],
        packed: bool = True,
    ):
        super().__init__()
        if prompt.count(AUDIO_SLOT) != 1:
            raise ValueError(
                f"the training prompt has {prompt.count(AUDIO_SLOT)} audio slots; one is needed"
            )
        self.speech_encoder, self.adapter = speech_encoder, adapter
        self.llm, self.prompt, self.packed = llm, prompt, packed

    def forward(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        response: torch.Tensor,
        response_lengths: torch.Tensor,
        prompt: torch.Tensor | None = None,
        prompt_lengths: torch.Tensor | None = None,
        recording_samples: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """Returns the mean nats of a response token, statistics, and the weight (tokens).

        Args:
            speech: (B, N) samples; speech_lengths: (B,), on the host or a plain list: lengths on
                a GPU are waited for.
            response: (B, R) token ids of the LLM's own answer to the transcript, end-of-turn
                token included; response_lengths: (B,), likewise.
            prompt: (B, L) token ids of each example's prompt, an AUDIO_SLOT for each of its
                recordings; prompt_lengths: (B,); on the host. None: the training prompt.
            recording_samples: (B, K) samples of the recordings that lie end to end in a row of
                `speech`, zeros after them; on the host. None: each row is one.
        """
        if recording_samples is not None:
            speech, speech_lengths = split_rows(speech, speech_lengths, recording_samples)
        audios = self.encode_audio(speech, speech_lengths)
        alone = [self.prompt] * len(response)
        templates = alone if prompt is None else unpad(prompt, prompt_lengths)
        prompts = self.embed_prompts(templates, audios)
        lengths = on_host(response_lengths).tolist()
        responses = [r[:n] for r, n in zip(response, lengths, strict=True)]
        nats_X = torch.cat(response_nats(self.llm.model, prompts, responses, self.packed))
        loss = nats_X.mean()
        stats = {
            "loss": loss.detach(),
            "perplexity": loss.detach().exp(),
            "audio_positions": loss.new_full((), sum(map(len, audios)) / len(audios)),
        }
        return force_gatherable((loss, stats, loss.new_full((), len(nats_X))), loss.device)

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
        x_BTC, frames_B = self.speech_encoder(speech, on_host(speech_lengths))
        audio_BPD, positions_B = self.adapter(x_BTC, frames_B)
        return [a[:n] for a, n in zip(audio_BPD, positions_B.tolist(), strict=True)]

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
