"""Turns of text and audio in, token ids with audio slots out.

The only place where a chat template meets an audio placeholder. The template is the tokenizer's
own; a text conversation comes out as `apply_chat_template` gives it. Where a turn is heard and
not read, one `AUDIO_SLOT` stands for all its positions, and the text on both sides is tokenised
as it would be around text: SentencePiece neither puts a space before what follows the slot, nor
leaves behind the space that belongs to the first word (Llama-2's "[INST] ").

What a user says is text. A special token spelled out in it ("</s>", "<|eot_id|>") is cut so that
it is tokenised as the characters it consists of. Markers that are plain text in the template
itself (Llama-2's "[INST]") cannot be told from the same characters said by a user.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence

from ..types import Audio, Turn, Turns

AUDIO_SLOT = -1  # no token has this id

DATE = "26 Jul 2024"  # Llama-3's own default; its later templates would tell the LLM today's date

_PROBES = ("a", "0", ".", "\n")  # contents beside which the surrounding text is tokenised


def user_prompt(content: str | Audio, system_prompt: str | None = None) -> Turns:
    """The conversation of one request. system_prompt: None has no system turn, "" an empty one."""
    system = () if system_prompt is None else (Turn("system", system_prompt),)
    return (*system, Turn("user", content))


def encode(turns: Turns, tokenizer, add_generation_prompt: bool = True) -> list[int]:
    """Token ids of a conversation, AUDIO_SLOT where the content of an audio turn stands.

    Errors (ValueError): a conversation that the chat template refuses, or in which it repeats or
    leaves out a turn's audio."""
    slot, cut = (f"[{kind}{uuid.uuid4().hex}]" for kind in ("slot", "cut"))
    special = _special_tokens(tokenizer)
    marked = tuple(
        Turn(
            turn.role, slot if isinstance(turn.content, Audio) else _cut(turn.content, special, cut)
        )
        for turn in turns
    )
    rendered = render(marked, tokenizer, add_generation_prompt)
    slots = sum(isinstance(turn.content, Audio) for turn in turns)
    if rendered.count(slot) != slots:
        raise ValueError(
            f"the chat template shows {rendered.count(slot)} of {slots} audio turns: "
            "give another one with --chat_template"
        )
    return _tokenise(re.split(f"({re.escape(slot)}|{re.escape(cut)})", rendered), slot, tokenizer)


def content_ids(turns: Turns, index: int, tokenizer) -> list[int]:
    """The tokens of the text of turn `index`: what an audio slot there would stand for.

    It is what is left of `encode(turns)` when the tokens around the slot are taken away, so the
    text's embeddings in the slot give the very sequence of the text prompt."""
    heard = [*turns[:index], Turn(turns[index].role, Audio()), *turns[index + 1 :]]
    if any(isinstance(turn.content, Audio) for turn in turns):
        raise ValueError("content_ids wants a conversation of text alone")
    text, around = encode(turns, tokenizer), encode(tuple(heard), tokenizer)
    before = around.index(AUDIO_SLOT)
    after = len(around) - before - 1
    end = len(text) - after
    if text[:before] != around[:before] or text[end:] != around[before + 1 :]:
        raise ValueError(
            f"the text of turn {index} merges with the chat template around it: {turns[index]}"
        )
    return text[before:end]


def reply_ids(turns: Turns, reply: str, tokenizer, eos_ids: Iterable[int] = ()) -> list[int]:
    """The tokens that the LLM would have to answer to `turns` to say `reply`, end of turn included.

    Taken from the template's form of an assistant turn, up to its first end-of-turn token.

    Errors (ValueError): the template does not continue its own prompt with the reply."""
    ends = set(eos_ids) or {tokenizer.eos_token_id}
    prompt = encode(turns, tokenizer)
    whole = encode((*turns, Turn("assistant", reply)), tokenizer, add_generation_prompt=False)
    stop = next((i for i in range(len(prompt), len(whole)) if whole[i] in ends), None)
    if whole[: len(prompt)] != prompt or stop is None:
        raise ValueError(
            "the chat template does not write an assistant turn as its own prompt followed by the "
            "reply and an end-of-turn token: give another one with --chat_template"
        )
    return whole[len(prompt) : stop + 1]


def render(turns: Turns, tokenizer, add_generation_prompt: bool = True) -> str:
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


def decode(ids: Iterable[int], tokenizer) -> str:
    """The text of a response, special tokens left out, without space at its ends."""
    text = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text.strip()


def _special_tokens(tokenizer) -> list[str]:
    """What the tokenizer reads as one special token, wherever it stands."""
    added = tokenizer.added_tokens_decoder.values()
    found = {token.content for token in added if token.special} | set(tokenizer.all_special_tokens)
    return sorted(token for token in found if len(token) > 1)  # one character cannot be cut


def _cut(text: str, special: Iterable[str], cut: str) -> str:
    """Put `cut` after the first character of every special token spelled out in `text`."""
    starts = {m.start() for token in special for m in re.finditer(f"(?={re.escape(token)})", text)}
    pieces, last = [], 0
    for start in sorted(starts):
        pieces.append(text[last : start + 1])
        last = start + 1
    return cut.join([*pieces, text[last:]])


def _tokenise(parts: Sequence[str], slot: str, tokenizer) -> list[int]:
    """Tokenise texts (even places) and the marks between them (odd places)."""
    ids: list[int] = []
    for i in range(0, len(parts), 2):
        mark_before = parts[i - 1] if i else None
        mark_after = parts[i + 1] if i + 1 < len(parts) else None
        ids += _tokenise_part(parts[i], mark_before is not None, mark_after == slot, tokenizer)
        ids += [AUDIO_SLOT] if mark_after == slot else []
    return ids


def _tokenise_part(text: str, continues: bool, before_slot: bool, tokenizer) -> list[int]:
    """The ids of `text` as they are with some content directly before or after it.

    A probe stands for that content; the tokens inside `text` are kept. A space before a slot
    belongs to the slot, as it belongs to the first word of a text."""
    if not text:
        return []
    if not continues and not before_slot:
        return tokenizer(text, add_special_tokens=False)["input_ids"]
    for probe in _PROBES:
        left, right = probe if continues else "", probe if before_slot else ""
        ids, clean = _between(left, text, right, tokenizer)
        if clean:
            return ids
    return ids


def _between(left: str, text: str, right: str, tokenizer) -> tuple[list[int], bool]:
    """Ids of the tokens of `text` in `left + text + right`; whether none reaches beyond it."""
    whole = left + text + right
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    begin, end = len(left), len(left) + len(text)
    ids, clean = [], True
    for token, (start, stop) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        if right and stop >= end and whole[start:end] == " ":
            continue  # the space that opens the content's first word, alone or with it
        if start >= begin and stop <= end:
            ids.append(token)
        elif start < end and stop > begin:
            clean = False
    return ids, clean
