"""What an answer costs: positions read, tokens written, time, memory. One question after the other.

Each system is measured in a process of its own (`measure_apart`): the peak of memory is one
process's, and what one system leaves in it would count for the next.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass

import torch

from ..data.dialogues import iter_dialogues
from ..model.usage import machine, peak_gpu_memory, peak_memory
from ..text.casing import caser
from ..types import Dialogue, Seconds
from .systems import System, load_system


@dataclass(frozen=True)
class SystemParts:
    """How a system is loaded; paths as they are found from here."""

    kind: str
    llm: str
    exp: str | None = None
    checkpoint: str = ""
    quantiser: str | None = None  # of a speech LM, with `encoder` and `tasks`
    encoder: str | None = None
    tasks: str | None = None
    chat_template: str | None = None
    system_prompt: str | None = None
    casing: str = "asis"
    casing_text: str | None = None
    dtype: str = "auto"
    device: str = "cpu"
    max_tokens_factor: float = 4.0
    beam: int = 1


@dataclass(frozen=True)
class AnswerCost:
    """Of N questions, asked one by one; the first was asked once before, and not counted then."""

    ids: tuple[str, ...]
    read: tuple[int, ...]  # positions of each prompt
    written: tuple[int, ...]  # tokens of each answer, its end of turn included
    seconds: tuple[Seconds, ...]  # of each, from the recording to the last token
    memory: int  # peak of the process, bytes
    gpu_memory: int | None  # peak of tensors on the GPU, bytes. None: there is none
    machine: str

    def as_dict(self) -> dict:
        """For comparison.json."""
        return asdict(self)


def measure_apart(parts: SystemParts, data: str, ids: Sequence[str]) -> AnswerCost:
    """Load a system in a new process and let it answer these questions of a set.

    Errors (ValueError): those of loading; the process died."""
    context = multiprocessing.get_context("spawn")  # nothing of this one's memory
    with ProcessPoolExecutor(1, context) as pool:
        try:
            return pool.submit(_measure, parts, data, tuple(ids)).result()
        except BrokenProcessPool:
            raise ValueError(
                f"the process in which {parts.kind} ({parts.exp or parts.llm}) was measured ended "
                "without an answer, for want of memory perhaps: free some, or leave the measuring "
                "out (--measure 0)"
            ) from None


def load(parts: SystemParts) -> System:
    """The system of the parts. Errors (ValueError): those of loading."""
    if parts.kind == "speechlm":
        from .speech_lm import load_parts

        assert parts.quantiser and parts.tasks
        return load_parts(
            parts.llm, parts.quantiser, parts.tasks, parts.encoder, parts.dtype, parts.device
        )
    return load_system(
        parts.kind,
        parts.llm,
        parts.exp,
        parts.checkpoint,
        chat_template=parts.chat_template,
        system_prompt=parts.system_prompt,
        casing=caser(parts.casing, parts.casing_text),
        dtype=parts.dtype,
        device=parts.device,
    )


def measure(system: System, dialogues: Sequence[Dialogue], parts: SystemParts) -> AnswerCost:
    """Of a loaded system."""
    how = (parts.max_tokens_factor, parts.beam)
    system.respond(dialogues[:1], *how)
    read, written, seconds = [], [], []
    for dialogue in dialogues:
        _wait(parts.device)
        began = time.monotonic()
        speech = system.speech([dialogue])
        [(turns, response)] = system.converse([dialogue], *how, speech)
        _wait(parts.device)
        seconds.append(time.monotonic() - began)
        read.append(len(system.prompt(turns, speech)))  # of the last question's
        written.append(len(response.response_ids))
    return AnswerCost(
        tuple(dialogue.id for dialogue in dialogues),
        tuple(read),
        tuple(written),
        tuple(seconds),
        peak_memory(),
        peak_gpu_memory(parts.device),
        machine(parts.device),
    )


def _measure(parts: SystemParts, data: str, ids: tuple[str, ...]) -> AnswerCost:
    wanted = set(ids)
    dialogues = [each for each in iter_dialogues(data) if each.id in wanted]
    with torch.inference_mode():
        return measure(load(parts), dialogues, parts)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
