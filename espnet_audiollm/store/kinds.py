"""The kinds of systems: one table for all that answers, scores or shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Input = Literal["transcript", "hypothesis", "audio", "units", "nothing"]


@dataclass(frozen=True)
class Kind:
    """What distinguishes a kind of system; the order of KINDS is that of every table."""

    name: str  # in run.json and results.json, and on the command line
    title: str  # in the tables
    input: Input  # what stands in the prompt where a turn is spoken
    colour: str = ""  # in the pictures. "": each of its systems has another one
    line: str = "-"  # in the pictures, a style of matplotlib
    label: str = ""  # of its only row. "": a label is made of model and checkpoint

    @property
    def uses_audio(self) -> bool:
        """Whether its answers depend on how well the audio was understood."""
        return self.input in ("hypothesis", "audio", "units")


KINDS = {
    kind.name: kind
    for kind in (
        Kind("reference", "reference text", "transcript", "#666666", "--", "reference text"),
        Kind("cascade", "cascade", "hypothesis", "#0b6e4f"),
        Kind("audiollm", "AudioLLM", "audio"),
        Kind("speechlm", "speech LM", "units"),
        Kind("no_prompt", "no prompt", "nothing", "#666666", ":", "no prompt"),
    )
}


def rank(name: str) -> int:
    """The place of a kind in the order of the tables, from 0."""
    return list(KINDS).index(name)
