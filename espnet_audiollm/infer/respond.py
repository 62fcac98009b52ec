"""What a system answers, and what the reference response costs it.

One code path for all systems: they differ in the embeddings that stand in the prompt. A cascade
and the reference have those of a text, AudioLLM those of the audio, `no_prompt` those of nothing.
"""

# L prompt positions, P audio positions, D LLM width

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..data.prompt import content_ids, decode, encode, user_prompt
from ..model.llm import LLM
from ..model.response_loss import embed_prompt, response_nats
from ..types import Nats, Response, Seconds, Utterance
from .batches import by_length, read_batch
from .generate import generate

if TYPE_CHECKING:
    from ..model.audiollm import AudioLLMESPnetModel

SPACES = ("\u2581", "\u0120", " ")  # how tokens spell it: SentencePiece, byte-level BPE, plainly


@dataclass(frozen=True)
class Question:
    """What is asked of a system: a text, or the audio of an utterance."""

    id: str
    text: str  # "" where the audio is asked
    reference_ids: tuple[int, ...]  # the response whose nats are measured
    utterance: Utterance


@dataclass(frozen=True)
class Answer:
    """A system's own response, and the nats of the reference response under its prompt."""

    response: Response
    reference_nats: Nats
    token_nats: tuple[Nats, ...]  # of each reference token


def text_batches(
    llm: LLM,
    questions: Iterable[Question],
    system_prompt: str | None,
    max_positions: int = 4096,
) -> list[list[Question]]:
    """Batches of prompts of like length."""
    prompts = {q.id: encode(user_prompt(q.text, system_prompt), llm.tokenizer) for q in questions}
    return list(by_length(questions, lambda q: len(prompts[q.id]), max_positions))


def audio_batches(questions: Iterable[Question], seconds: Seconds) -> list[list[Question]]:
    """Batches of at most `seconds` of audio, padding counted."""
    return list(by_length(questions, lambda q: q.utterance.duration or 0.0, seconds))


@torch.inference_mode()
def text_prompts(
    llm: LLM, batch: Sequence[Question], system_prompt: str | None
) -> list[torch.Tensor]:
    """The embeddings (L, D) of each text within the chat template."""
    turns = (user_prompt(question.text, system_prompt) for question in batch)
    return [embed_prompt(llm.model, encode(turn, llm.tokenizer)) for turn in turns]


@torch.inference_mode()
def hear(
    model: AudioLLMESPnetModel, batch: Sequence[Question], device: str = "cpu"
) -> list[torch.Tensor]:
    """The embeddings (P, D) of each utterance's audio."""
    model.eval()
    return model.encode_audio(*read_batch([question.utterance for question in batch], device))


@torch.inference_mode()
def prompts_around(
    model: AudioLLMESPnetModel, audios: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """The embeddings (L, D) of the chat template around each audio (P, D)."""
    return [embed_prompt(model.llm.model, model.prompt, [audio]) for audio in audios]


@torch.inference_mode()
def answer(
    llm: LLM,
    batch: Sequence[Question],
    prompts: Sequence[torch.Tensor],
    max_tokens_factor: float = 4.0,
    beam: int = 1,
) -> list[Answer]:
    """The answers to one batch of prompts (L, D).

    Args:
        max_tokens_factor: an answer has at most this many times its prompt's positions
            (AudioChatLlama, section 3.1: 4).
        beam: 1 is greedy; the paper decodes audio with 10.
    """
    limits = [max(1, int(max_tokens_factor * len(prompt))) for prompt in prompts]
    generated = generate(llm, prompts, limits, beam, names=[q.id for q in batch])
    targets = [torch.tensor(q.reference_ids, device=prompts[0].device) for q in batch]
    costs = response_nats(llm.model, prompts, targets)
    return [
        Answer(
            Response(q.id, q.text, decode(g.ids, llm.tokenizer), g.ids, g.finish_reason),
            reference_nats=float(cost.double().sum()),
            token_nats=tuple(cost.tolist()),
        )
        for q, g, cost in zip(batch, generated, costs, strict=True)
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
    (audio_PD,) = model.encode_audio(*read_batch([utterance], device))
    ids, text_TD = embed_transcript(model.llm, utterance.text or "", system_prompt)
    return audio_PD, text_TD, [model.llm.tokenizer.decode([token]).strip() for token in ids]


@torch.inference_mode()
def embed_transcript(
    llm: LLM, text: str, system_prompt: str | None
) -> tuple[list[int], torch.Tensor]:
    """What stands in the prompt where the audio would: T tokens, and their embeddings (T, D)."""
    ids = transcript_ids(llm, text, system_prompt)
    return ids, embed_prompt(llm.model, ids)


def word_starts(ids: Sequence[int], llm: LLM) -> list[int]:
    """The places in `ids` where a word begins: the first, and those that open with a space."""
    tokens = llm.tokenizer.convert_ids_to_tokens(ids)
    return [i for i, token in enumerate(tokens) if i == 0 or token.startswith(SPACES)]


def transcript_ids(llm: LLM, text: str, system_prompt: str | None) -> list[int]:
    """The tokens that stand in the prompt where the audio would."""
    turns = user_prompt(text, system_prompt)
    return content_ids(turns, len(turns) - 1, llm.tokenizer)
