"""Conversations of several turns, answered by a system (AudioChatLlama, section 4.5).

One code path for all systems: they differ in what stands in the prompt where a turn is spoken. The
text system has its transcript there, a cascade what a recogniser made of it, AudioLLM the audio's
embeddings, one slot a spoken turn.
"""

# L prompt positions, P audio positions, D LLM width, R response tokens

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ..data import audio
from ..data.conversations import Dialogue, SpokenTurn
from ..data.prompt import decode, encode, reply_ids
from ..model.llm import LLM
from ..model.response_loss import embed_prompt, response_nats
from ..types import Audio, Nats, Seconds, Turn, Utterance
from .batches import by_length, read_batch
from .generate import Generated, generate

if TYPE_CHECKING:
    from ..model.audiollm import AudioLLMESPnetModel

Heard = Mapping[str, str | torch.Tensor]  # by path: a transcript, or embeddings (P, D)


@dataclass(frozen=True)
class Question:
    """A dialogue, and the response whose nats are measured."""

    dialogue: Dialogue
    reference_ids: tuple[int, ...] | None  # None: what the system itself answers
    duration: Seconds  # of all its audio

    @property
    def id(self) -> str:
        return self.dialogue.id


@dataclass(frozen=True)
class Reply:
    """What a system said last; what the reference response costs it."""

    id: str
    turns: tuple[SpokenTurn, ...]  # as they were, its own answers in their places
    response: str
    response_ids: tuple[int, ...]
    reference_ids: tuple[int, ...]
    token_nats: tuple[Nats, ...]  # of each of the reference's tokens


def batches(questions: Iterable[Question], seconds: Seconds, most: int = 32) -> list[list]:
    """Batches of at most `seconds` of audio and `most` dialogues."""
    return list(by_length(questions, lambda q: q.duration, seconds, most))


def measure(dialogue: Dialogue) -> Seconds:
    """How long its audio is. Errors (ValueError): audio that cannot be read, with the id."""
    try:
        return sum(audio.info(turn.audio).duration for turn in dialogue.audios)
    except audio.AudioError as error:
        raise ValueError(f"{dialogue.id}: {error}") from error


def utterances(dialogues: Iterable[Dialogue]) -> list[Utterance]:
    """Every recording once."""
    paths = {turn.audio: turn.text for dialogue in dialogues for turn in dialogue.audios}
    return [Utterance(path, path, speaker="", text=text) for path, text in paths.items()]


@torch.inference_mode()
def hear(
    model: AudioLLMESPnetModel, dialogues: Sequence[Dialogue], device: str = "cpu"
) -> dict[str, torch.Tensor]:
    """The embeddings (P, D) of every recording."""
    spoken = utterances(dialogues)
    model.eval()
    audios = model.encode_audio(*read_batch(spoken, device)) if spoken else []
    return {utt.audio: audio_PD for utt, audio_PD in zip(spoken, audios, strict=True)}


def reference_ids(llm: LLM, reference: str) -> tuple[int, ...]:
    """The tokens with which the LLM would say it, end of turn included, whatever was asked."""
    return tuple(reply_ids((Turn("user", "a"),), reference, llm.tokenizer, llm.eos_ids))


@torch.inference_mode()
def converse(
    llm: LLM,
    questions: Sequence[Question],
    heard: Heard,
    max_tokens_factor: float = 4.0,
    beam: int = 1,
) -> list[Reply]:
    """The replies to one batch.

    Args:
        heard: of every recording; where it lacks one the transcript is read.
        max_tokens_factor, beam: as for `respond.answer`.
    """
    if not questions:
        return []
    talks = answer_open_turns(llm, questions, heard, max_tokens_factor, beam)
    prompts = [prompt(llm, turns, heard) for turns in talks]
    said = say(llm, prompts, [q.id for q in questions], max_tokens_factor, beam)
    wanted = [q.reference_ids or g.ids for q, g in zip(questions, said, strict=True)]
    targets = [torch.tensor(ids, device=prompts[0].device) for ids in wanted]
    costs = response_nats(llm.model, prompts, targets)
    return [
        Reply(q.id, turns, decode(g.ids, llm.tokenizer), g.ids, ids, tuple(cost_R.tolist()))
        for q, turns, g, ids, cost_R in zip(questions, talks, said, wanted, costs, strict=True)
    ]


def answer_open_turns(
    llm: LLM, questions: Sequence[Question], heard: Heard, factor: float, beam: int
) -> list[tuple[SpokenTurn, ...]]:
    """The turns of each dialogue; where an assistant's text is missing, what the system says."""
    talks = [q.dialogue.turns for q in questions]
    while waiting := [i for i, turns in enumerate(talks) if open_turn(turns) is not None]:
        places = [open_turn(talks[i]) for i in waiting]
        prompts = [
            prompt(llm, talks[i][:place], heard) for i, place in zip(waiting, places, strict=True)
        ]
        said = say(llm, prompts, [questions[i].id for i in waiting], factor, beam)
        for i, place, generated in zip(waiting, places, said, strict=True):
            own = replace(talks[i][place], text=decode(generated.ids, llm.tokenizer))
            talks[i] = (*talks[i][:place], own, *talks[i][place + 1 :])
    return talks


def open_turn(turns: Sequence[SpokenTurn]) -> int | None:
    """The place of the first turn that is not said yet."""
    return next((i for i, turn in enumerate(turns) if turn.text is None), None)


def prompt(llm: LLM, turns: Sequence[SpokenTurn], heard: Heard) -> torch.Tensor:
    """The embeddings (L, D) of turns within the chat template."""
    contents = [heard.get(turn.audio, turn.text) if turn.audio else turn.text for turn in turns]
    audios = [content for content in contents if isinstance(content, torch.Tensor)]
    conversation = tuple(
        Turn(turn.role, Audio() if isinstance(content, torch.Tensor) else content)
        for turn, content in zip(turns, contents, strict=True)
    )
    return embed_prompt(llm.model, encode(conversation, llm.tokenizer), audios)


def say(
    llm: LLM, prompts: Sequence[torch.Tensor], names: Sequence[str], factor: float, beam: int
) -> list[Generated]:
    limits = [max(1, int(factor * len(each))) for each in prompts]
    return generate(llm, prompts, limits, beam, names)
