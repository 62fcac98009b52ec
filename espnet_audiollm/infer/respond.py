"""What a system answers, and what the reference response costs it.

One code path for all systems: they differ in the embeddings that stand in the prompt. A cascade
and the reference have those of a text, AudioLLM those of the audio, `no_prompt` those of nothing.
"""

# L prompt positions, P audio positions, D LLM width

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from ..data.prompt import content_ids, decode, encode, user_prompt
from ..model.audiollm import AudioLLMESPnetModel
from ..model.llm import LLM
from ..model.response_loss import embed_prompt, response_nats
from ..types import Nats, Response, Seconds, Utterance
from .batches import audio_batches, by_length, read_batch
from .generate import generate

PromptBatch = tuple[list[str], list[torch.Tensor]]  # ids, embeddings (L, D) each


@dataclass(frozen=True)
class Answer:
    """A system's own response, and the nats of the reference response under its prompt."""

    response: Response
    reference_nats: Nats
    reference_tokens: int


@torch.inference_mode()
def text_prompts(
    llm: LLM, texts: Mapping[str, str], system_prompt: str | None, max_positions: int = 4096
) -> Iterator[PromptBatch]:
    """Batches of {id: text} as prompts, of like length."""
    encoded = [
        (id_, encode(user_prompt(text, system_prompt), llm.tokenizer))
        for id_, text in texts.items()
    ]
    for batch in by_length(encoded, lambda item: len(item[1]), max_positions):
        yield [id_ for id_, _ in batch], [embed_prompt(llm.model, ids) for _, ids in batch]


@torch.inference_mode()
def audio_prompts(
    model: AudioLLMESPnetModel,
    utterances: Sequence[Utterance],
    batch_seconds: Seconds = 120.0,
    device: str = "cpu",
) -> Iterator[PromptBatch]:
    """Batches of utterances as prompts: the embeddings of the audio within the chat template."""
    model.eval()
    for batch in audio_batches(utterances, batch_seconds):
        audios = model.hear(*read_batch(batch, device))
        prompts = [embed_prompt(model.llm.model, model.prompt, [audio]) for audio in audios]
        yield [utt.id for utt in batch], prompts


@torch.inference_mode()
def answers(
    llm: LLM,
    prompts: Iterator[PromptBatch],
    references: Mapping[str, Response],
    texts: Callable[[str], str],
    max_tokens_factor: float = 4.0,
    beam: int = 1,
) -> Iterator[list[Answer]]:
    """Yield the answers to each batch of prompts.

    Args:
        references: the responses whose nats are measured.
        texts: id to what is written down as the prompt ("" for audio).
        max_tokens_factor: an answer has at most this many times its prompt's positions
            (AudioChatLlama, section 3.1: 4).
        beam: 1 is greedy; the paper decodes audio with 10.
    """
    for ids, embeds in prompts:
        limits = [max(1, int(max_tokens_factor * len(e))) for e in embeds]
        generated = generate(llm, embeds, limits, beam)
        targets = [torch.tensor(references[i].response_ids, device=embeds[0].device) for i in ids]
        costs = response_nats(llm.model, embeds, targets)
        yield [
            Answer(
                Response(id_, texts(id_), decode(g.ids, llm.tokenizer), g.ids, g.finish_reason),
                reference_nats=float(cost.double().sum()),
                reference_tokens=len(cost),
            )
            for id_, g, cost in zip(ids, generated, costs, strict=True)
        ]


@torch.inference_mode()
def audio_and_text_embeddings(
    model: AudioLLMESPnetModel,
    utterance: Utterance,
    system_prompt: str | None = None,
    device: str = "cpu",
) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """For the paper's Figure 3: audio (P, D), text (T, D) of the transcript, and its T tokens."""
    model.eval()
    (audio_PD,) = model.hear(*read_batch([utterance], device))
    ids = transcript_ids(model.llm, utterance.text or "", system_prompt)
    text_TD = embed_prompt(model.llm.model, ids)
    return audio_PD, text_TD, [model.llm.tokenizer.decode([token]).strip() for token in ids]


def transcript_ids(llm: LLM, text: str, system_prompt: str | None) -> list[int]:
    """The tokens that stand in the prompt where the audio would."""
    turns = user_prompt(text, system_prompt)
    return content_ids(turns, len(turns) - 1, llm.tokenizer)
