"""A dialogue that goes on, turn by turn: what a chat and a server hold for each of their users.

The prompts are those of stage 10, so that the same dialogue draws the same tokens; what the LLM has
read of it stays in its cache, and each recording is encoded once.
"""

from __future__ import annotations

from collections.abc import Generator

from ..data.prompt import decode
from ..types import Audio, Dialogue, Turn, Turns
from .decoder import Session
from .stream import Piece, Sampling, stream
from .systems import Speech, System

MAX_NEW_TOKENS = 256


class Chat:
    """One user's dialogue with a system.

    Args:
        max_new_tokens: of each answer.
        sampling: how tokens are chosen; greedy as in stage 10 unless asked otherwise.
    """

    def __init__(
        self,
        system: System,
        max_new_tokens: int = MAX_NEW_TOKENS,
        sampling: Sampling = Sampling(),  # noqa: B008 (it cannot be changed)
    ):
        self.system, self.max_new_tokens, self.sampling = system, max_new_tokens, sampling
        self.session = Session(system.llm)
        self.turns: Turns = ()
        self._speech: dict[Audio, Speech] = {}

    def say(self, content: str | Audio, task: str | None = None) -> Generator[Piece, None, None]:
        """Say something, and get the answer piece by piece. An answer that is not waited for to its
        end stands in the dialogue as far as it came.

        task: of a speech LM, see Dialogue.

        Errors (ValueError), with the dialogue as it was: audio that cannot be read, a dialogue that
        fills the LLM's context."""
        asked = (*self.system.before(self.turns), Turn("user", content))
        prompt = self.system.prompt(self._complete(asked, task), self._heard(asked))
        pieces = stream(
            self.session, prompt, self.max_new_tokens, (), self.sampling, "this dialogue"
        )
        ids: list[int] = []
        try:
            for piece in pieces:
                ids.append(piece.token)
                yield piece
        finally:
            if ids:
                said = decode(ids, self.system.llm.tokenizer)
                self.turns = (*asked, Turn("assistant", said))

    def undo(self) -> None:
        """Forget the last thing that was said, and its answer."""
        self.turns = self.turns[:-2]

    def restart(self) -> None:
        """Forget the dialogue."""
        self.turns = ()
        self.session.forget()
        self._speech.clear()

    def read(self, audio: Audio) -> Speech:
        """What stands in the prompt for a recording: a hypothesis, or embeddings (P, D)."""
        return self._heard((Turn("user", audio),))[audio]

    def _complete(self, turns: Turns, task: str | None) -> Turns:
        return self.system.complete(Dialogue("chat", turns, task=task)).turns

    def _heard(self, turns: Turns) -> dict[Audio, Speech]:
        """What stands for each recording of the turns; only new ones are read."""
        new = [turn for turn in turns if turn.audio and turn.audio not in self._speech]
        if new:
            self._speech |= self.system.speech([Dialogue("chat", tuple(new))])
        return self._speech
