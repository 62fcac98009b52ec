"""What a training step needs of memory, as a table with its arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..model import step_memory as parts
from ..model.step_memory import StepMemory
from ..types import SAMPLE_RATE

Row = tuple[str, str, float]  # what, arithmetic, bytes


def memory_rows(memory: StepMemory, shards: int = 1) -> list[Row]:
    """Of the moment that needs most, the sum last. shards: processes that share out the LLM."""
    there, rows = dict(memory.parts), list[Row]()

    def add(what: str, names: tuple[str, ...], arithmetic: str, number: float = 0) -> None:
        size = sum(there.pop(name, 0) for name in names)
        if size:
            each = f" x {_bytes(size / number)}" if number else ""
            rows.append((what, f"{arithmetic}{each}", size))

    shared = f"a share of its layers ({shards} processes), and two of them complete"
    add("the LLM's weights", (parts.FROZEN,), "all of them" if shards == 1 else shared)
    trained = f"{memory.trained / 1e6:,.0f} million weights"
    add("trained weights", (parts.TRAINED,), trained, memory.trained)
    add("optimizer", (parts.OPTIMIZER,), trained, memory.trained)
    add("gradients of other batches, of DDP", (parts.HELD,), trained, memory.trained)
    audio = memory.audio / SAMPLE_RATE
    encoder = (parts.DATA, parts.FRONT_END, parts.SUBSAMPLING, parts.ENCODER)
    add("encoder", encoder, f"{audio:,.0f} s of audio", audio)
    positions = f"{memory.positions:,} positions"
    add("the LLM's layers", (parts.LAYERS,), positions, memory.positions)
    add("outputs", (parts.OUTPUTS,), f"{memory.predicted:,} rows", memory.predicted)
    for name in sorted(there):
        add(name, (name,), "gradients, and what lives for a moment")
    return [*rows, ("together", f"when most is needed: {memory.where}", memory.bytes)]


@dataclass
class StepTable:
    """The table of several trainings.

    gpus: that share a batch; shards: of them, those that share out the LLM's layers."""

    gpus: int = 1
    shards: int = 1
    lines: list[str] = field(
        default_factory=lambda: ["| memory of a GPU | arithmetic | GB |", "|---|---|--:|"]
    )

    def add(self, stage: str, utterances: int, memory: StepMemory) -> None:
        """The rows of a stage, of a batch of so many utterances."""
        for what, arithmetic, size in memory_rows(memory, self.shards):
            name = f"{stage}, {utterances} utterances: {what}"
            self.lines.append(f"| {name} | {arithmetic} | {size / 1e9:,.1f} |")

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def bound(self, most: int, memory: StepMemory) -> str:
        """What --max_positions does for the memory of an alignment (0: there is no bound)."""
        position = memory.parts.get(parts.LAYERS, 0) / memory.positions
        costs = f"a position takes {position / 1e6:.2f} MB of the LLM's layers"
        if not most:
            return (
                "Without --max_positions a batch of shorter utterances has more positions: each "
                f"brings its prompt and response, and {costs}."
            )
        return (
            f"--max_positions {most:,}: a batch has no more, of {self.gpus} GPUs together; "
            f"{costs}, {most / self.gpus * position / 1e9:,.1f} GB of a GPU at most where they "
            "share it evenly."
        )


def _bytes(size: float) -> str:
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.2f} {unit}"
    return f"{size:.3g} bytes"
