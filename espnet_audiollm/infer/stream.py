"""One answer, token by token, as a chat or a server passes it on: text as soon as it is certain.

Greedy unless asked otherwise: then the tokens are those of `generate`, and the pieces of text put
together are what `data.prompt.decode` makes of them.
"""

# V vocabulary

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..model.llm import LLM
from ..types import FinishReason
from .decoder import Prompt, Session, room

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

INCOMPLETE = "\ufffd"  # decoders write it for bytes that are not a character (yet)
COLDEST = 1e-4  # temperatures below it are 0: log-probabilities divided by them would be infinite


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen.

    Errors (ValueError): a temperature below 0, top_p not in (0, 1]."""

    temperature: float = 0.0  # below COLDEST: the most probable token
    top_p: float = 1.0  # only of the most probable tokens that have this much together
    seed: int | None = None  # None: other tokens each time

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"a temperature of {self.temperature}: at least 0")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"a top_p of {self.top_p}: above 0 and at most 1")

    @property
    def greedy(self) -> bool:
        """Whether it is always the most probable token."""
        return self.temperature < COLDEST


@dataclass(frozen=True)
class Piece:
    """A token of the answer, and the text that is certain since the piece before."""

    token: int
    text: str  # "": nothing yet
    finish_reason: FinishReason | None  # None: more comes. "stop": end-of-turn token or stop string


def stream(
    session: Session,
    prompt: Prompt,
    max_new_tokens: int,
    stop: Sequence[str] = (),
    sampling: Sampling = Sampling(),  # noqa: B008 (it cannot be changed)
    name: str = "the prompt",
) -> Iterator[Piece]:
    """Answer `prompt`, the complete one of this turn, in `session`; a piece for each token.

    max_new_tokens: lowered to what the LLM's context leaves.
    stop: strings that end the answer; they and what follows are left out of the text.

    Errors (ValueError), before the first piece: an empty prompt or one that fills the context
    (`name` says whose), a limit below 1, an empty stop string."""
    if max_new_tokens < 1:
        raise ValueError(f"{name} may have {max_new_tokens} new tokens: at least 1")
    if "" in stop:
        raise ValueError("a stop string is empty: leave it out")
    limit = min(max_new_tokens, room(session.llm, name, prompt))
    return _pieces(session, prompt, Writer(session.llm, limit, stop, sampling))


def _pieces(session: Session, prompt: Prompt, writer: Writer) -> Iterator[Piece]:
    piece = writer.write(session.read(prompt))
    yield piece
    while piece.finish_reason is None:
        piece = writer.write(session.step(piece.token))
        yield piece


class Writer:
    """One answer as it is written: log-probabilities in, pieces out, whoever runs the LLM.

    limit: the most tokens; they fit the LLM's context."""

    def __init__(self, llm: LLM, limit: int, stop: Sequence[str], sampling: Sampling):
        self.limit, self.tokens = limit, 0
        self._ends = set(llm.eos_ids)
        self._sampler, self._text = Sampler(sampling), TextStream(llm.tokenizer, stop)

    def write(self, logp_V: torch.Tensor) -> Piece:
        """The next token, by the log-probabilities of all."""
        return self.add(self._sampler.choose(logp_V))

    def add(self, token: int) -> Piece:
        """The next token, whoever chose it."""
        self.tokens += 1
        certain = self._text.feed(token)
        if token in self._ends or self._text.stopped:
            return Piece(token, certain + self._text.finish(), "stop")
        if self.tokens == self.limit:
            return Piece(token, certain + self._text.finish(), "length")
        return Piece(token, certain, None)


class Sampler:
    """Chooses tokens; the same seed chooses the same ones, on a GPU as on a CPU."""

    def __init__(self, sampling: Sampling):
        self.sampling = sampling
        self.generator = torch.Generator()
        if sampling.seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(sampling.seed)

    def choose(self, logp_V: torch.Tensor) -> int:
        """A token, by the log-probabilities of all."""
        if self.sampling.greedy:
            return int(logp_V.argmax())
        scaled_V = logp_V.cpu().double() / self.sampling.temperature
        p_V, tokens_V = scaled_V.softmax(-1).sort(descending=True, stable=True)
        before_V = p_V.cumsum(-1) - p_V
        kept_V = p_V.masked_fill(before_V >= self.sampling.top_p, 0.0)
        return int(tokens_V[torch.multinomial(kept_V, 1, generator=self.generator)])


class TextStream:
    """Token ids in, text out as soon as no later token can change it.

    Held back: the bytes of an unfinished character, what may be the beginning of a stop string, and
    space, which is left out at both ends of an answer. Special tokens have no text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str] = ()):
        added = tokenizer.added_tokens_decoder.items()
        self._special = {id_ for id_, token in added if token.special}
        self._tokenizer, self._stop = tokenizer, stop
        self._window: list[int] = []  # the last tokens whose text is out, then those that wait
        self._out = 0  # tokens of the window whose text is out
        self._held = ""
        self._begun = False
        self.stopped = False  # a stop string came

    def feed(self, token: int) -> str:
        """The text that is certain now and was not before."""
        if token in self._special or self.stopped:
            return ""
        self._window.append(token)
        text = self._text(self._window)
        return "" if text.endswith(INCOMPLETE) else self._release(self._new(text), last=False)

    def finish(self) -> str:
        """What is still held back, when no token comes any more."""
        return "" if self.stopped else self._release(self._new(self._text(self._window)), last=True)

    def _text(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, clean_up_tokenization_spaces=False)

    def _new(self, text: str) -> str:
        """What the waiting tokens add to the text of those before; a decoder leaves the first space
        of a text out, so that no token is decoded by itself."""
        new = text[len(self._text(self._window[: self._out])) :]
        self._window = self._window[self._out :]
        self._out = len(self._window)
        return new

    def _release(self, new: str, last: bool) -> str:
        text = self._held + new
        ends = [place for place in map(text.find, self._stop) if place >= 0]
        if ends:
            text, self.stopped, last = text[: min(ends)], True, True
        safe = len(text) if last else len(text) - self._beginning_of_stop(text)
        certain = text[:safe].rstrip()
        self._held = "" if last else text[len(certain) :]
        if not self._begun:
            certain = certain.lstrip()
        self._begun = self._begun or bool(certain)
        return certain

    def _beginning_of_stop(self, text: str) -> int:
        """The length of the longest end of `text` that a stop string begins with."""
        longest = max(map(len, self._stop), default=1)
        lengths = range(min(longest - 1, len(text)), 0, -1)
        return next((n for n in lengths if self._begins(text[-n:])), 0)

    def _begins(self, end: str) -> bool:
        return any(stop.startswith(end) for stop in self._stop)
