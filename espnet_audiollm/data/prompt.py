"""Turns of text, audio and units in, token ids with audio slots out.

The only place where a chat template meets audio. The template is the tokenizer's own; a text
conversation comes out as `apply_chat_template` gives it. Where a turn is audio, one `AUDIO_SLOT`
stands for all its positions; where it is units, their tokens stand. A turn may have several parts:
an instruction, and the audio that it is about. The text on both sides of a slot is tokenised as it
would be around text: SentencePiece neither puts a space before what follows, nor leaves behind the
space that belongs to the first word (Llama-2's "[INST] ").

What a user says is text. A special token spelled out in it ("</s>", "<|eot_id|>") is cut so that
it is tokenised as the characters it consists of. Markers that are plain text in the template
itself (Llama-2's "[INST]") cannot be distinguished from the same characters said by a user.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from ..types import Audio, Content, Part, Turn, Turns, Units
from .unit_tokens import UnitTokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AUDIO_SLOT = -1  # no token has this id

DATE = "26 Jul 2024"  # Llama-3's own default; its later templates would tell the LLM today's date

# No text has these by chance, and nobody is shown them.
_SLOT, _CUT = (f"[{kind}{uuid.uuid4().hex}]" for kind in ("slot", "cut"))
_MARKS = re.compile(f"({re.escape(_SLOT)}|{re.escape(_CUT)})")
_PROBES = ("a", "0", ".", "\n")  # contents beside which the surrounding text is tokenised
_SHORT = 4096  # characters of a text whose tokens are kept for the next conversation


def user_prompt(content: Content, system_prompt: str | None = None) -> Turns:
    """The conversation of one request. system_prompt: None has no system turn, "" an empty one."""
    system = () if system_prompt is None else (Turn("system", system_prompt),)
    return (*system, Turn("user", content))


def encode(
    turns: Turns,
    tokenizer: PreTrainedTokenizerBase,
    add_generation_prompt: bool = True,
    units: UnitTokens | None = None,
) -> list[int]:
    """Token ids of a conversation, AUDIO_SLOT where the content of an audio turn stands.

    units: where units stand in the vocabulary; None: the LLM has none.

    Errors (ValueError): a conversation that the chat template refuses, or in which it repeats or
    leaves out a turn's speech; units that the LLM does not have."""
    size = len(tokenizer)
    special = _special_tokens(tokenizer, size)
    fills, marked = [], []
    for turn in turns:
        assert turn.content is not None  # it is the system's own answer that is filled in
        fills += [_fill(part, units) for part in turn.parts if not isinstance(part, str)]
        marked.append(Turn(turn.role, _mark(turn.parts, special)))
    rendered = render(tuple(marked), tokenizer, add_generation_prompt)
    if rendered.count(_SLOT) != len(fills):
        raise ValueError(
            f"the chat template shows {rendered.count(_SLOT)} of {len(fills)} audio turns: "
            "give another one with --chat_template"
        )
    return _tokenise(_MARKS.split(rendered), iter(fills), tokenizer, size)


def content_ids(turns: Turns, index: int, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens of the text of turn `index`: what an audio slot there would stand for.

    It is what is left of `encode(turns)` when the tokens around the slot are taken away, so the
    text's embeddings in the slot give the very sequence of the text prompt.

    Errors (ValueError): a turn is not text, or its text merges with the template."""
    if not all(isinstance(turn.content, str) for turn in turns):
        raise ValueError("content_ids wants a conversation of text")
    spoken = (*turns[:index], Turn(turns[index].role, Audio()), *turns[index + 1 :])
    text, around = encode(turns, tokenizer), encode(spoken, tokenizer)
    before = around.index(AUDIO_SLOT)
    after = len(around) - before - 1
    end = len(text) - after
    if text[:before] != around[:before] or text[end:] != around[before + 1 :]:
        raise ValueError(
            f"the text of turn {index} merges with the chat template around it: {turns[index]}"
        )
    return text[before:end]


def reply_ids(
    turns: Turns,
    reply: Content,
    tokenizer: PreTrainedTokenizerBase,
    eos_ids: Iterable[int] = (),
    units: UnitTokens | None = None,
    prompt: list[int] | None = None,
) -> list[int]:
    """The tokens that the LLM would have to answer to `turns` to say `reply`, end of turn included.

    Taken from the template's form of an assistant turn, up to its first end-of-turn token.
    units: as for `encode`. prompt: what `encode` made of the turns, where that is known.

    Errors (ValueError): the template does not continue its own prompt with the reply."""
    ends = set(eos_ids) or {tokenizer.eos_token_id}
    prompt = encode(turns, tokenizer, units=units) if prompt is None else prompt
    answered = encode((*turns, Turn("assistant", reply)), tokenizer, False, units)
    stop = next((i for i in range(len(prompt), len(answered)) if answered[i] in ends), None)
    if answered[: len(prompt)] != prompt or stop is None:
        raise ValueError(
            "the chat template does not write an assistant turn as its own prompt followed by the "
            "reply and an end-of-turn token: give another one with --chat_template"
        )
    return answered[len(prompt) : stop + 1]


def lines_before(
    lines: Sequence[Content],
    tokenizer: PreTrainedTokenizerBase,
    eos_ids: Iterable[int] = (),
    units: UnitTokens | None = None,
) -> list[int]:
    """The tokens of lines that stand before another one in a reply, line ends included.

    Each has the tokens of a reply of its own (`reply_ids`), so that a response is the same tokens
    whatever stands before it: by itself a tokenizer would take others after a line end.

    Errors (ValueError): as for `reply_ids`; a line end merges with what is before it."""
    ids: list[int] = []
    if not lines:
        return ids
    ends = tuple(eos_ids)
    after, line_end = _after_a_reply(tokenizer, len(tokenizer), ends), _line_end(tokenizer)
    prompt = encode(_ASKED, tokenizer)
    for line in lines:
        if line:
            ids += reply_ids(_ASKED, line, tokenizer, ends, units, prompt)[:-after]
        ids += line_end
    return ids


_ASKED = (Turn("user", "a"),)


@lru_cache(maxsize=8)
def _after_a_reply(tokenizer: PreTrainedTokenizerBase, size: int, eos_ids: tuple[int, ...]) -> int:
    """How many tokens the template has behind a reply's own, up to the first end of turn."""
    replies = [reply_ids(_ASKED, probe, tokenizer, eos_ids)[::-1] for probe in _PROBES[:2]]
    pairs = zip(*replies, strict=False)
    return next(i for i, (a, b) in enumerate(pairs) if a != b)


def _line_end(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    probe = _PROBES[0]
    without, ended = (
        tokenizer.encode(text, add_special_tokens=False) for text in (probe, f"{probe}\n")
    )
    if ended[: len(without)] != without:
        raise ValueError(
            "the LLM's tokenizer merges a line end with the letter before it, so that outputs "
            "cannot be told apart: leave tasks of several outputs out of the mixture"
        )
    return ended[len(without) :]


def render(
    turns: Turns, tokenizer: PreTrainedTokenizerBase, add_generation_prompt: bool = True
) -> str:
    """What the chat template makes of a conversation of text.

    Errors (ValueError): the template refuses it."""
    import jinja2

    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    try:
        return tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            date_string=DATE,
        )
    except jinja2.exceptions.TemplateError as error:
        roles = ", ".join(turn.role for turn in turns)
        raise ValueError(f"the chat template refuses the turns ({roles}): {error}") from error


def decode(ids: Iterable[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """The text of a response, special tokens left out, without space at its ends."""
    text = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text.strip()


@lru_cache(maxsize=8)
def _special_tokens(tokenizer: PreTrainedTokenizerBase, size: int) -> re.Pattern[str]:
    """Finds what the tokenizer (of `size` tokens) reads as one special token, wherever it stands.

    One pattern for all: an LLM may have thousands of special tokens, one for each unit."""
    added = tokenizer.added_tokens_decoder.values()
    found = {token.content for token in added if token.special} | set(tokenizer.all_special_tokens)
    cuttable = sorted(token for token in found if len(token) > 1)  # one character cannot be cut
    if not cuttable:
        return re.compile("(?!)")
    first = re.escape("".join(sorted({token[0] for token in cuttable})))  # rare in texts, so quick
    return re.compile(f"(?=[{first}])(?={'|'.join(map(re.escape, cuttable))})")


def _cut(text: str, special: re.Pattern[str]) -> str:
    """Put a mark after the first character of every special token spelled out in `text`."""
    ends = [match.start() + 1 for match in special.finditer(text)]
    starts = [0, *ends]
    return _CUT.join(text[a:b] for a, b in zip(starts, [*ends, len(text)], strict=True))


def _mark(parts: Iterable[Part], special: re.Pattern[str]) -> str:
    """The parts of a turn as one text: slots where audio and units stand, the rest cut."""
    return "".join(_cut(part, special) if isinstance(part, str) else _SLOT for part in parts)


def _fill(content: Audio | Units, units: UnitTokens | None) -> list[int]:
    """What stands in the prompt for a part of a turn that is spoken."""
    if isinstance(content, Audio):
        return [AUDIO_SLOT]
    if units is None:
        raise ValueError(
            "a turn is units, but the LLM has no unit tokens: give one whose vocabulary has them"
        )
    return units.encode(content)


def _tokenise(
    parts: Sequence[str], fills: Iterator[list[int]], tokenizer: PreTrainedTokenizerBase, size: int
) -> list[int]:
    """Tokenise texts (even places) and the marks between them (odd places); slots are filled."""
    ids: list[int] = []
    for i in range(0, len(parts), 2):
        mark_before = parts[i - 1] if i else None
        mark_after = parts[i + 1] if i + 1 < len(parts) else None
        around = mark_before is not None, mark_after == _SLOT
        tokenise = _tokenise_short if len(parts[i]) <= _SHORT else _tokenise_part
        ids += tokenise(parts[i], *around, tokenizer, size)
        ids += next(fills) if mark_after == _SLOT else []
    return ids


def _tokenise_part(
    text: str, continues: bool, before_slot: bool, tokenizer: PreTrainedTokenizerBase, size: int
) -> tuple[int, ...]:
    """The ids of `text` as they are with some content directly before or after it.

    A probe stands for that content; the tokens inside `text` are kept. A space before a slot
    belongs to the slot, as it belongs to the first word of a text."""
    if not text:
        return ()
    if not continues and not before_slot:
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    for probe in _PROBES:
        left, right = probe if continues else "", probe if before_slot else ""
        ids, clean = _between(left, text, right, tokenizer)
        if clean:
            break
    return tuple(ids)


# What a template has around its slots comes again with every conversation.
_tokenise_short = lru_cache(maxsize=1024)(_tokenise_part)


def _between(
    left: str, text: str, right: str, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], bool]:
    """Ids of the tokens of `text` in `left + text + right`; whether none reaches beyond it."""
    joined = left + text + right
    encoded = tokenizer(joined, add_special_tokens=False, return_offsets_mapping=True)
    begin, end = len(left), len(left) + len(text)
    ids, clean = [], True
    for token, (start, stop) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        if right and stop >= end and joined[start:end] == " ":
            continue  # the space that opens the content's first word, by itself or with it
        if start >= begin and stop <= end:
            ids.append(token)
        elif start < end and stop > begin:
            clean = False
    return ids, clean
