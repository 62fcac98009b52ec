"""What the LLM has read of dialogues that ended, for their next turns.

A request that goes on with a dialogue brings all of its turns again. Those before the last question
and its answer find the cache that was kept; the embeddings decide how much of it is the same, so
that an answer that was stopped or changed by the client is continued from where it is the same.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from ..infer.decoder import Session
from ..model.llm import LLM
from ..types import Audio, Turns
from .speech_cache import recording_key


class DialogueCache:
    """Keys and values by the turns that were asked; the least recently used are forgotten.

    number, size: dialogues, and bytes of all together on the LLM's device; 0: none is kept. One
    thread uses it.

    Errors (ValueError): a number or size below 0."""

    def __init__(self, llm: LLM, number: int = 64, size: int = 1 << 30):
        for name, value in (("dialogues", number), ("bytes", size)):
            if value < 0:
                raise ValueError(f"--cache_{name} {value}: at least 0")
        self.llm, self.number, self.size = llm, number, size
        self.continued, self.positions = 0, 0  # dialogues, and positions not computed again
        self.num_bytes = 0
        self._kept: OrderedDict[bytes, Session] = OrderedDict()

    def __len__(self) -> int:
        """Dialogues that are kept."""
        return len(self._kept)

    @property
    def enabled(self) -> bool:
        """Whether any is kept."""
        return bool(self.number and self.size)

    def session(self, turns: Turns) -> Session:
        """To read these turns in: with what is known of those before the last exchange."""
        key = _key(turns[:-2])
        if key not in self._kept:
            return Session(self.llm)
        self._kept.move_to_end(key)
        return self._kept[key].fork()

    def count(self, positions: int) -> None:
        """Positions of a request were known."""
        self.continued += positions > 0
        self.positions += positions

    def keep(self, turns: Turns, session: Session) -> None:
        """Of a dialogue: the turns that were asked, and the session in which they were answered."""
        if not self.enabled or session.num_bytes > self.size:
            return
        self._forget(_key(turns))
        self._kept[_key(turns)] = session
        self.num_bytes += session.num_bytes
        while len(self) > self.number or self.num_bytes > self.size:
            self._forget(next(iter(self._kept)))

    def clear(self) -> None:
        """Forget all: the memory is needed."""
        self._kept.clear()
        self.num_bytes = 0

    def _forget(self, key: bytes) -> None:
        if key in self._kept:
            self.num_bytes -= self._kept.pop(key).num_bytes


def _key(turns: Turns) -> bytes:
    """A hash of the turns: roles, texts, recordings."""
    parts = [
        (turn.role, [recording_key(p) if isinstance(p, Audio) else [p] for p in turn.parts])
        for turn in turns
    ]
    return hashlib.sha256(repr(parts).encode()).digest()
