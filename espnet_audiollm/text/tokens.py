"""Token lists of the recogniser: SentencePiece pieces, characters, words, or the LLM's own tokens.

A list is tokens.txt in ESPnet's order: `<blank>`, `<unk>`, tokens, `<sos/eos>`. Pieces have their
bpe.model beside it, an LLM's tokens its tokenizer.json. All but pieces are sorted by how often the
training text has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from ..store.atomic import atomic_write

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor
    from tokenizers import Tokenizer as LLMTokenizer

TokenType = Literal["bpe", "char", "word", "llm"]
TOKEN_TYPES = get_args(TokenType)
MODELS = {"bpe": "bpe.model", "llm": "tokenizer.json"}  # beside the list of a type that has one
BLANK, UNKNOWN, SPACE, END = "<blank>", "<unk>", "<space>", "<sos/eos>"


@dataclass(frozen=True)
class Learned:
    """What a list covers of the text it was learned from."""

    tokens: int  # lines of tokens.txt
    kinds: int  # different tokens of the text
    left_out: int  # of these, too rare or beyond the size
    running: int  # all tokens of the text
    unknown: int  # of these, not in the list

    def __str__(self) -> str:
        return (
            f"{self.tokens} tokens ({self.kinds - self.left_out} of {self.kinds} different ones); "
            f"unknown: {self.unknown} of {self.running} ({100 * self.unknown / self.running:.2f} %)"
        )


def learn(
    lines: Iterable[str],
    token_type: Literal["char", "word", "llm"],
    vocab_size: int,
    min_count: int,
    directory: str | Path,
) -> Learned:
    """Write tokens.txt of the tokens that come at least `min_count` times.

    vocab_size: lines of tokens.txt at most, the most frequent tokens first; 0: no limit.
    directory: of the type llm it holds the LLM's tokenizer.json already.
    Raises ValueError when there is no text, nothing is frequent enough, or a word of the
    transcripts is one of the list's own signs."""
    model = Path(directory) / MODELS[token_type] if token_type in MODELS else None
    tokens = Tokenizer(token_type, (), model).tokens
    counts = Counter(token for line in lines for token in tokens(line))
    own = sorted({BLANK, END, SPACE} & counts.keys() if token_type != "char" else ())
    if own:
        raise ValueError(
            f"the transcripts have {own[0]}, a sign of the token list, {counts[own[0]]} times: "
            "write these transcripts without it"
        )
    running = counts.total()
    if not running:
        raise ValueError("there is no text to learn a token list from: run stage 2 again")
    counts.pop(UNKNOWN, None)
    ranked = sorted(counts, key=lambda token: (-counts[token], token))
    room = vocab_size - 3 if vocab_size else len(ranked)
    kept = [token for token in ranked if counts[token] >= min_count][: max(room, 0)]
    if not kept:
        raise ValueError(_nothing_left(token_type, vocab_size, min_count, counts, ranked))
    with atomic_write(Path(directory) / "tokens.txt") as out:
        out.writelines(f"{token}\n" for token in (BLANK, UNKNOWN, *kept, END))
    known = sum(counts[token] for token in kept)
    return Learned(len(kept) + 3, len(ranked), len(ranked) - len(kept), running, running - known)


def split(text: str, token_type: Literal["char", "word"]) -> list[str]:
    """The words of a text, or its characters with `<space>` between words."""
    if token_type == "word":
        return text.split()
    return [SPACE if char == " " else char for char in " ".join(text.split())]


class Tokenizer:
    """A text to tokens and back, as a token list has them. Picklable, for data-loading workers.

    Raises ValueError for a type that does not exist, or pieces without their model."""

    def __init__(
        self, token_type: TokenType, token_list: Sequence[str], bpemodel: str | Path | None = None
    ):
        if token_type not in TOKEN_TYPES:
            raise ValueError(f"the token type '{token_type}' is none of {', '.join(TOKEN_TYPES)}")
        if token_type in MODELS and not bpemodel:
            name = MODELS[token_type]
            raise ValueError(f"tokens of the type {token_type} need --bpemodel, stage 3's {name}")
        if token_type in MODELS and bpemodel and not Path(bpemodel).is_file():
            raise ValueError(f"{bpemodel} does not exist: run stage 3 first")
        self.token_type, self.bpemodel = token_type, bpemodel
        self.id_of = {token: i for i, token in enumerate(token_list)}
        self._processor: SentencePieceProcessor | None = None
        self._llm: LLMTokenizer | None = None

    def tokens(self, text: str) -> list[str]:
        """The tokens of a text, those that the list does not have among them."""
        if self.token_type == "bpe":
            return self.processor.encode(text, out_type=str)
        if self.token_type == "llm":
            return self.llm.encode(text, add_special_tokens=False).tokens
        return split(text, self.token_type)

    def ids(self, text: str) -> list[int]:
        """Places in the list; `<unk>`'s for a token that it does not have."""
        unknown = self.id_of[UNKNOWN]
        return [self.id_of.get(token, unknown) for token in self.tokens(text)]

    def text(self, tokens: Sequence[str]) -> str:
        """The text of tokens. What is unknown is left out; but an unknown word is `<unk>`."""
        if self.token_type == "bpe":
            return self.processor.decode_pieces(list(tokens)).strip()
        if self.token_type == "llm":
            found = (self.llm.token_to_id(token) for token in tokens if token != UNKNOWN)
            ids = [token for token in found if token is not None]
            return self.llm.decode(ids, skip_special_tokens=False).strip()
        if self.token_type == "word":
            return " ".join(tokens)
        chars = (" " if token == SPACE else token for token in tokens if token != UNKNOWN)
        return " ".join("".join(chars).split())

    @property
    def processor(self) -> SentencePieceProcessor:
        """SentencePiece's."""
        if self._processor is None:
            from sentencepiece import SentencePieceProcessor

            self._processor = SentencePieceProcessor(model_file=str(self.bpemodel))
        return self._processor

    @property
    def llm(self) -> LLMTokenizer:
        """The LLM's."""
        if self._llm is None:
            from tokenizers import Tokenizer as LLMTokenizer

            self._llm = LLMTokenizer.from_file(str(self.bpemodel))
        return self._llm

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_processor": None, "_llm": None}


def read_token_list(path: str | Path) -> list[str]:
    """The lines of a tokens.txt. Raises ValueError for a file that is missing or is none."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"--token_list {path} does not exist: run stage 3 first")
    tokens = path.read_text(encoding="utf-8").split("\n")[:-1]
    twice = [token for token, count in Counter(tokens).items() if count > 1]
    if tokens[:2] != [BLANK, UNKNOWN] or tokens[-1] != END or twice:
        fault = f"{twice[0]!r} comes twice" if twice else f"it begins with {tokens[:2]}"
        raise ValueError(
            f"{path} is no token list ({fault}): its lines are {BLANK}, {UNKNOWN}, tokens, {END}, "
            "each once; run stage 3 again"
        )
    return tokens


def _nothing_left(
    token_type: str, vocab_size: int, min_count: int, counts: Counter, ranked: list
) -> str:
    if 0 < vocab_size <= 3:
        return f"--vocab_size {vocab_size} has no room: {BLANK}, {UNKNOWN}, {END} take 3; 0 is all"
    most = f"the most frequent, {ranked[0]!r}, comes {counts[ranked[0]]} times" if ranked else ""
    return f"no {token_type} comes {min_count} times ({most}): set a smaller --min_count"
