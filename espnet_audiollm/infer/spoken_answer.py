"""An answer that is spoken while it is written: tokens in, transcript and sound out."""

# N samples

from __future__ import annotations

from ..data.speech_replies import Fault
from ..data.speech_tasks import BETWEEN, SPOKEN, Task
from .speech_lm import SpeechLM
from .stream import Piece
from .voices import Speaker

FAULTS: dict[Fault, str] = {
    "no end": "its length limit came before its end: allow more tokens",
    "wrong modality": "it is text where speech was due, or speech where text was",
    "broken units": "its units of speech are not between their marks",
    "wrong units": "it speaks units that are only read",
    "too few": "an output of the task is missing",
    "too many": "it has more outputs than the task",
}


class SpokenAnswer:
    """One answer of a task that ends with speech."""

    def __init__(self, system: SpeechLM, task: Task, speaker: Speaker):
        self.system, self.task, self.speaker = system, task, speaker
        self.text = ""  # all that was written
        self.transcript = ""  # what is spoken, where the task writes it first
        self._ids: list[int] = []
        self._said = self._index()
        self._speech: bool | None = None  # None: not begun; False: it has ended

    def _index(self) -> int | None:
        """Which output is the transcript: the last one before the speech, unless it is that of the
        question. None: there is none."""
        before = [i for i, field in enumerate(self.task.made[:-1]) if field not in SPOKEN]
        answers = [i for i in before if self.task.made[i] != "text"]
        return answers[-1] if answers else None

    def feed(self, piece: Piece) -> str:
        """The next token; the transcript that is certain since the one before."""
        units = self.system.units
        assert units is not None
        self._ids.append(piece.token)
        if self._speech is None and piece.token == units.begin:
            self._speech = True
        elif self._speech:
            unit = units.spoken(piece.token)
            self._speech = unit is not None
            if unit is not None:
                self.speaker.add(unit)
        self.text += piece.text
        lines = [line.strip() for line in self.text.split(BETWEEN) if line.strip()]
        if self._said is None or len(lines) <= self._said:
            return ""
        new = lines[self._said][len(self.transcript) :]
        self.transcript += new
        return new

    def fault(self, last: Piece) -> Fault | None:
        """What is wrong with the answer that ended with this piece; None: nothing."""
        assert last.finish_reason is not None
        return self.system.read_answer(self.task, self._ids, last.finish_reason).fault
