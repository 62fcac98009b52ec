"""Systems: what answers dialogues, and what the reference responses cost it.

One code path for all kinds (store/kinds.py). They differ in what stands in the prompt where a turn
is spoken: the reference has the transcript there, a cascade a recogniser's hypothesis, AudioLLM
the embeddings of the audio, `no_prompt` nothing (AudioChatLlama, section 4.1).

    system = load_system("audiollm", "meta-llama/Llama-2-7b-chat-hf", exp="exp/audiollm")
    [response] = system.respond([Dialogue("a", (Turn("user", Audio("question.wav")),))])
"""

# L prompt positions, P audio positions, D LLM width

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import torch

from ..data.kaldi_dir import read_dict
from ..data.prompt import decode, encode, reply_ids, user_prompt
from ..data.unit_tokens import UnitTokens
from ..model import llm as llms
from ..model.llm import LLM
from ..model.response_loss import embed_prompt, response_nats
from ..store.kinds import KINDS, Kind
from ..store.model_directory import files_of
from ..store.speech_directory import is_speech_lm
from ..text.casing import AS_IS, Caser
from ..types import Audio, Dialogue, Nats, Response, Seconds, Turn, Turns, Units, Utterance
from .batches import by_length, read_batch
from .decoder import Prompt, embed
from .generate import Generate, Generated, generate
from .labels import label_of
from .recognise import load_recogniser

CHECKPOINT = "valid.loss.ave.pth"
# An answer has at most this x the positions of its prompt (section 3.1), in the form that all
# systems share: transcripts in place of speech, open turns empty.
MAX_TOKENS_FACTOR = 4.0

# in place of a spoken turn: a text, embeddings (P, D), or units
Speech: TypeAlias = str | torch.Tensor | Units
Reader: TypeAlias = Callable[[Sequence[Utterance]], Sequence[Speech]]


@dataclass(frozen=True)
class Item:
    """A dialogue, and the response whose nats are measured (token ids, end of turn included)."""

    dialogue: Dialogue
    reference_ids: tuple[int, ...]

    @property
    def id(self) -> str:
        """The dialogue's id."""
        return self.dialogue.id


@dataclass(frozen=True)
class Answer:
    """A system's own response, and the nats of the reference response under its prompt."""

    response: Response
    turns: Turns  # of the dialogue, the system's own answers in their places
    nats: Nats
    token_nats: tuple[Nats, ...]  # of each reference token


NO_ANSWER = Generated((), "context", 0.0)  # of a dialogue that the LLM's context does not hold


@dataclass(frozen=True)
class _Talk:
    """A dialogue at its end."""

    turns: Turns  # the system's own answers in their places
    prompt: torch.Tensor  # (L, D), after which the reference response is measured
    said: Generated  # NO_ANSWER: none; the prompt is an empty one then


@dataclass(frozen=True)
class System:
    """Answers dialogues. Made by `load_system`.

    read: what stands in the prompt for each recording."""

    kind: Kind
    llm: LLM
    read: Reader
    label: str
    model: str = ""  # the experiment's name. "": the kind needs none
    system_prompt: str | None = None  # of dialogues without a system turn. None: no such turn
    casing: Caser = Caser(AS_IS)  # form in which transcripts are asked
    generate: Generate = generate  # what decodes (infer/engines.py)
    units: UnitTokens | None = None  # where units stand among the LLM's tokens. None: it has none

    def batches(
        self, items: Iterable[Item], seconds: Seconds = 120.0, positions: int = 4096
    ) -> list[list[Item]]:
        """Batches of like size, padding counted: at most `seconds` of audio, or for a system that
        reads text at most `positions` of prompts."""
        items = list(items)
        if self.kind.input in ("audio", "units"):
            return list(by_length(items, lambda item: item.dialogue.duration, seconds))
        lengths = {item.id: self.num_positions(item.dialogue) for item in items}
        return list(by_length(items, lambda item: lengths[item.id], positions))

    @torch.inference_mode()
    def speech(self, dialogues: Iterable[Dialogue]) -> dict[Audio, Speech]:
        """What stands in the prompts for each recording: a text, embeddings (P, D), or units."""
        found = {a: id_ for dialogue in dialogues for id_, a in dialogue.recordings().items()}
        recordings = [Utterance(id_, a.path or "", "", text=a.text) for a, id_ in found.items()]
        return dict(zip(found, self.read(recordings) if recordings else (), strict=True))

    def respond(
        self,
        dialogues: Sequence[Dialogue],
        max_tokens_factor: float = MAX_TOKENS_FACTOR,
        beam: int = 1,
        speech: Mapping[Audio, Speech] | None = None,
    ) -> list[Response]:
        """The responses to one batch; see `converse`."""
        return [said for _, said in self.converse(dialogues, max_tokens_factor, beam, speech)]

    def converse(
        self,
        dialogues: Sequence[Dialogue],
        max_tokens_factor: float = MAX_TOKENS_FACTOR,
        beam: int = 1,
        speech: Mapping[Audio, Speech] | None = None,
    ) -> list[tuple[Turns, Response]]:
        """The turns of each dialogue of a batch, the system's own answers in their places, and its
        response to them.

        Args:
            beam: 1 is greedy; the paper decodes audio with 10.
            speech: see `speech`; None: it is read here.

        Errors (ValueError): dialogues that the LLM's context does not hold, with the first id."""
        dialogues = [self.complete(dialogue) for dialogue in dialogues]
        speech = self.speech(dialogues) if speech is None else speech
        talks = self._converse(dialogues, speech, max_tokens_factor, beam)
        lost = [d.id for d, talk in zip(dialogues, talks, strict=True) if talk.said is NO_ANSWER]
        if lost:
            raise ValueError(_too_long(len(lost), len(dialogues), lost[0], self.llm.context))
        pairs = zip(dialogues, talks, strict=True)
        return [(talk.turns, self._response(dialogue, talk, speech)) for dialogue, talk in pairs]

    @torch.inference_mode()
    def answer(
        self,
        items: Sequence[Item],
        max_tokens_factor: float = MAX_TOKENS_FACTOR,
        beam: int = 1,
        speech: Mapping[Audio, Speech] | None = None,
    ) -> list[Answer]:
        """The answers to one batch, and what the references cost; arguments as for `respond`.

        A dialogue that the LLM's context does not hold is not answered (finish_reason "context",
        an empty response), and its reference costs what it costs after an empty prompt. Of an LLM
        with units, likelihoods are of a choice among the tokens of text."""
        dialogues = [self.complete(item.dialogue) for item in items]
        speech = self.speech(dialogues) if speech is None else speech
        talks = self._converse(dialogues, speech, max_tokens_factor, beam)
        prompts = [
            self.before_reference(dialogue, talk.prompt, talk.said)
            for dialogue, talk in zip(dialogues, talks, strict=True)
        ]
        targets = [torch.tensor(item.reference_ids, device=prompts[0].device) for item in items]
        spoken = self.units.ids if self.units else range(0)
        costs = response_nats(self.llm.model, prompts, targets, left_out=spoken)
        return [
            Answer(
                self._response(dialogue, talk, speech),
                talk.turns,
                float(cost_R.double().sum()),
                tuple(cost_R.tolist()),
            )
            for dialogue, talk, cost_R in zip(dialogues, talks, costs, strict=True)
        ]

    def before_reference(
        self, dialogue: Dialogue, prompt_LD: torch.Tensor, said: Generated
    ) -> torch.Tensor:
        """After what the reference response is measured: the prompt (L, D). dialogue: the complete
        one. said: the system's own response to it."""
        return prompt_LD

    def complete(self, dialogue: Dialogue) -> Dialogue:
        """The dialogue with the system turn that the system answers under."""
        if self.system_prompt is None or dialogue.turns[0].role == "system":
            return dialogue
        return replace(dialogue, turns=(Turn("system", self.system_prompt), *dialogue.turns))

    def before(self, turns: Turns) -> Turns:
        """Of a dialogue so far, what stands before its next question."""
        return turns

    @torch.inference_mode()
    def embed(self, turns: Turns, speech: Mapping[Audio, Speech]) -> torch.Tensor:
        """The embeddings (L, D) of turns within the chat template."""
        return embed_prompt(self.llm.model, *self._encode(turns, speech))

    def prompt(self, turns: Turns, speech: Mapping[Audio, Speech]) -> Prompt:
        """What an engine is asked: token ids, or embeddings (L, D) where there is audio."""
        ids, audios = self._encode(turns, speech)
        return embed_prompt(self.llm.model, ids, audios) if audios else ids

    def prompt_ids(
        self,
        dialogues: Sequence[Dialogue],
        max_tokens_factor: float = MAX_TOKENS_FACTOR,
        beam: int = 1,
    ) -> list[list[int]]:
        """Token ids of the complete prompts of a system that reads text, its own answers in earlier
        turns included; arguments as for `respond`."""
        dialogues = [self.complete(dialogue) for dialogue in dialogues]
        speech = self.speech(dialogues)
        turns = {dialogue.id: dialogue.turns for dialogue in dialogues}
        open_ = [each for each in dialogues if _until_open(each.turns) != each.turns]
        talks = self._converse(open_, speech, max_tokens_factor, beam) if open_ else []
        turns |= {each.id: talk.turns for each, talk in zip(open_, talks, strict=True)}
        return [self._encode(turns[dialogue.id], speech)[0] for dialogue in dialogues]

    def _encode(
        self, turns: Turns, speech: Mapping[Audio, Speech]
    ) -> tuple[list[int], list[torch.Tensor]]:
        """Token ids of turns within the chat template, and the audio of its slots."""
        read = [_parts(turn, speech, self.units) for turn in turns]
        audios = [part for parts in read for part in parts if isinstance(part, torch.Tensor)]
        slots = (
            tuple(Audio() if isinstance(part, torch.Tensor) else part for part in parts)
            for parts in read
        )
        template = tuple(Turn(turn.role, parts) for turn, parts in zip(turns, slots, strict=True))
        return encode(template, self.llm.tokenizer, units=self.units), audios

    def num_positions(self, dialogue: Dialogue) -> int:
        """Of the prompt of a system that reads text, template included; open turns are empty."""
        dialogue = self.complete(dialogue)
        speech = self.speech([dialogue])
        texts = [_written(turn, speech) for turn in dialogue.turns]
        turns = tuple(Turn(t.role, text) for t, text in zip(dialogue.turns, texts, strict=True))
        return len(encode(turns, self.llm.tokenizer))

    def limit(self, turns: Turns, factor: float) -> int | None:
        """The most tokens that an answer to the turns may have, of any system: by the positions of
        the prompt with transcripts in it, open turns empty. None: a transcript is not known."""
        texts = [self._spell(turn) for turn in turns]
        known = [text for text in texts if text is not None]
        if len(known) < len(texts):
            return None
        asked = tuple(Turn(turn.role, text) for turn, text in zip(turns, known, strict=True))
        return max(1, int(factor * len(encode(asked, self.llm.tokenizer))))

    def _spell(self, turn: Turn) -> str | None:
        """What a turn reads with its transcripts, "" if it is open; None: one is not known."""
        texts = []
        for part in turn.parts:
            text = part if isinstance(part, str) else part.text
            if text is None:
                return None
            texts.append(self.casing(text) if isinstance(part, Audio) else text)
        return "".join(texts)

    def _converse(
        self,
        dialogues: Sequence[Dialogue],
        speech: Mapping[Audio, Speech],
        factor: float,
        beam: int,
    ) -> list[_Talk]:
        """Every dialogue to its end: where an assistant's turn is open the system answers itself,
        and then the last turn."""
        talks: list[Turns | None] = [dialogue.turns for dialogue in dialogues]
        ends: dict[int, _Talk] = {}
        while waiting := [i for i, turns in enumerate(talks) if turns is not None]:
            before = [_until_open(talks[i] or ()) for i in waiting]
            asked = [dialogues[i] for i in waiting]
            said = self._say(before, asked, speech, factor, beam)
            for i, turns, (prompt, generated) in zip(waiting, before, said, strict=True):
                every_turn, talks[i] = talks[i] or (), None
                if generated is NO_ANSWER:
                    ends[i] = _Talk(_without_open(every_turn), self._empty_prompt(), NO_ANSWER)
                elif turns == every_turn:
                    ends[i] = _Talk(turns, prompt, generated)
                else:
                    own = self._own_turn(turns, dialogues[i], generated, speech)
                    talks[i] = (*turns, own, *every_turn[len(turns) + 1 :])
        return [ends[i] for i in range(len(dialogues))]

    def _say(
        self,
        talks: Sequence[Turns],
        dialogues: Sequence[Dialogue],
        speech: Mapping[Audio, Speech],
        factor: float,
        beam: int,
    ) -> list[tuple[torch.Tensor, Generated]]:
        """The prompts (L, D) of the turns so far, and what is said after them."""
        asked = [self.prompt(turns, speech) for turns in talks]
        prompts = [embed(self.llm, each) for each in asked]
        limits = []
        for turns, dialogue, prompt in zip(talks, dialogues, prompts, strict=True):
            limit = self.limit(dialogue.turns[: len(turns)], factor)
            limit = max(1, int(factor * len(prompt))) if limit is None else limit
            limits.append(min(limit, self._room(turns, dialogue, len(prompt), speech)))
        fit = [i for i, limit in enumerate(limits) if limit > 0]
        names = [dialogues[i].id for i in fit]
        room = [limits[i] for i in fit]
        said = self.generate(self.llm, [asked[i] for i in fit], room, beam, names)
        found = dict(zip(fit, said, strict=True))
        return [(prompt, found.get(i, NO_ANSWER)) for i, prompt in enumerate(prompts)]

    def _own_turn(
        self,
        turns: Turns,
        dialogue: Dialogue,
        generated: Generated,
        speech: Mapping[Audio, Speech],
    ) -> Turn:
        """What was said after `turns`, as a turn. Its text may have more tokens than were said
        (where half of a character ends it): then it is cut until the rest fits the context."""
        ids = generated.ids
        while True:
            own = Turn("assistant", decode(ids, self.llm.tokenizer))
            if not ids or self._room((*turns, own), dialogue, 0, speech) > 0:
                return own
            ids = ids[: len(ids) * 3 // 4]

    def _room(
        self, turns: Turns, dialogue: Dialogue, length: int, speech: Mapping[Audio, Speech]
    ) -> int:
        """The most tokens that fit after the prompt of `turns`, which has `length` positions: what
        the rest of the dialogue leaves of the LLM's context, in equal parts for all answers."""
        rest = dialogue.turns[len(turns) :]
        if rest:
            length = len(self.embed(_without_open((*turns, *rest)), speech))
        answers = 1 + sum(turn.content is None for turn in rest)
        return (self.llm.context - length) // answers

    def _empty_prompt(self) -> torch.Tensor:
        """What a system has without any input."""
        return self.embed(user_prompt("", self.system_prompt), {})

    def _response(
        self, dialogue: Dialogue, talk: _Talk, speech: Mapping[Audio, Speech]
    ) -> Response:
        return Response(
            dialogue.id,
            _written(dialogue.turns[-1], speech),
            decode(talk.said.ids, self.llm.tokenizer),
            talk.said.ids,
            talk.said.finish_reason,
        )


def reference_ids(llm: LLM, reference: str) -> tuple[int, ...]:
    """The tokens with which the LLM would say it, end of turn included, whatever was asked."""
    return tuple(reply_ids((Turn("user", "a"),), reference, llm.tokenizer, llm.eos_ids))


def _parts(
    turn: Turn, speech: Mapping[Audio, Speech], units: UnitTokens | None = None
) -> list[Speech]:
    """What stands in the prompt for each part of a turn; for units, where the LLM has none
    (`units` None), their transcript."""
    read = (speech[part] if isinstance(part, Audio) else part for part in turn.parts)
    written = units is None
    return [part.text or "" if isinstance(part, Units) and written else part for part in read]


def _written(turn: Turn, speech: Mapping[Audio, Speech]) -> str:
    """The same as one text; "" where there is audio, or nothing yet."""
    texts = [part for part in _parts(turn, speech) if isinstance(part, str)]
    return "".join(texts) if len(texts) == len(turn.parts) else ""


def _until_open(turns: Turns) -> Turns:
    """The turns before the first open one; all of them where none is open."""
    return turns[: next((i for i, turn in enumerate(turns) if turn.content is None), len(turns))]


def _without_open(turns: Turns) -> Turns:
    """Open turns made empty ones."""
    return tuple(replace(turn, content="") if turn.content is None else turn for turn in turns)


def _too_long(number: int, total: int, first: str, context: int) -> str:
    return (
        f"{number} of {total} prompts do not fit the LLM's context of {context} tokens with an "
        f"answer (first: {first}): remove these utterances (a smaller --max_audio in stage 2) or "
        "take an LLM with a longer context"
    )


def check_context(system: System, dialogues: Iterable[Dialogue]) -> None:
    """Refuse dialogues that leave no room for their answers (ValueError), before the first batch.

    A token stands for a byte at least, so only long texts are tokenised here. (Where a tokenizer's
    normalisation makes text longer, `respond` finds what slips through.)"""
    context = system.llm.context
    around = system.num_positions(Dialogue("a", (Turn("user", "a"),)))
    total, long, first = 0, 0, ""
    for dialogue in dialogues:
        total += 1
        answers = 1 + sum(turn.content is None for turn in dialogue.turns)
        size = sum(len((turn.text or "").encode()) + around for turn in dialogue.turns)
        if size + answers <= context:
            continue
        length = system.num_positions(dialogue)
        if length + answers > context:
            long, first = long + 1, first or f"{dialogue.id} with {length}"
    if long:
        raise ValueError(_too_long(long, total, first, context))


# --- loading ------------------------------------------------------------------------------------


def kind_of(exp: str | Path) -> str:
    """The kind of system that a model makes: "audiollm" of stage 9 or packed, "cascade" of 5,
    "speechlm" packed.

    Errors (ValueError): it is no trained experiment."""
    from ..train.loading import read_config

    if is_speech_lm(exp):
        return "speechlm"
    return "audiollm" if "audio_adapter" in vars(read_config(exp)) else "cascade"


class Loaders:
    """Load what systems are made of, and keep the LLM and the encoder that were loaded last: who
    loads one system after the other gives them all the same loaders."""

    def __init__(self) -> None:
        self.llm = lru_cache(maxsize=1)(llms.load)
        self.encoder = lru_cache(maxsize=1)(_load_encoder)


def load_system(
    kind: str,
    llm: str | LLM | None,
    exp: str | Path | None = None,
    checkpoint: str = CHECKPOINT,
    *,
    hyp: str | Path | None = None,
    chat_template: str | None = None,
    system_prompt: str | None = None,
    casing: Caser | None = None,
    dtype: str = "auto",
    device: str = "cpu",
    loaders: Loaders | None = None,
) -> System:
    """A trained system, ready to answer.

    Args:
        kind: a name in store/kinds.KINDS.
        llm: Hugging Face id or directory, or an LLM that is loaded already; speechlm: None.
        exp: cascade: experiment of stage 5; audiollm: of stage 9, or packed by stage 12;
            speechlm: packed.
        hyp: cascade: table of hypotheses by recording, in place of the recogniser.
        chat_template: jinja file, when the LLM has none; audiollm: None takes that of its training.
        system_prompt: text of a system turn, None for no such turn; audiollm has that of its
            training.
        casing: form in which texts are asked (text/casing.py).
        loaders: those of other systems, which may share LLM and encoder.

    Errors (ValueError): an unknown kind; an option that it needs is missing; those of loading."""
    if kind not in KINDS:
        raise ValueError(f"the kind of system '{kind}' is not one of {', '.join(KINDS)}")
    if KINDS[kind].input in ("audio", "units", "hypothesis") and not (exp or hyp):
        raise ValueError(f"a system of the kind {kind} needs the experiment of its model (exp)")
    model, loaders = str(exp or ""), loaders or Loaders()
    if KINDS[kind].input == "units":
        from .speech_lm import check_options, load_speech_lm

        check_options(model, llm, chat_template, system_prompt)
        return load_speech_lm(model, dtype, device)
    if llm is None:
        raise ValueError(f"{model or kind} does not hold its LLM: name it (--llm, llm=)")
    if KINDS[kind].input == "audio":
        from ..train.loading import read_config

        config = read_config(model, "llm", "chat_template", "system_prompt")
        chat_template, system_prompt = chat_template or config.chat_template, config.system_prompt
    if isinstance(llm, str):
        llm = loaders.llm(llm, chat_template, dtype, device)
    casing = casing or Caser(AS_IS)
    if KINDS[kind].input == "audio":
        reader: Reader = loaders.encoder(llm, model, checkpoint, device)
    else:
        reader = _reader(KINDS[kind], model, checkpoint, hyp, casing, device)
    label = label_of(KINDS[kind], exp, checkpoint)
    return System(KINDS[kind], llm, reader, label, Path(model).name, system_prompt, casing)


def _reader(
    kind: Kind, exp: str, checkpoint: str, hyp: str | Path | None, case: Caser, device: str
) -> Reader:
    """What a system reads that does not hear: recordings to texts."""
    if kind.input == "nothing":
        return lambda recordings: [""] * len(recordings)
    if kind.input == "transcript":
        return lambda recordings: [case(_transcript(each)) for each in recordings]
    if kind.input == "hypothesis" and hyp is not None:
        table = read_dict(hyp)
        return lambda recordings: [case(_of(table, each.id, hyp)) for each in recordings]
    assert kind.input == "hypothesis"
    recognise = load_recogniser(exp, checkpoint, device=device)
    return lambda recordings: [case(text) for text in recognise(recordings)]


def _load_encoder(llm: LLM, exp: str, checkpoint: str, device: str) -> Reader:
    """An AudioLLM's: recordings to embeddings (P, D)."""
    from ..tasks.audiollm import AudioLLMTask
    from ..train.loading import load_weights, read_config

    config = read_config(exp)
    untied = {f"{split}_data_path_and_name_and_type": None for split in ("train", "valid")}
    options = argparse.Namespace(**{**vars(config), **untied})  # its training data may be gone
    model = AudioLLMTask.build_model(options, llm).to(device)
    load_weights(model, files_of(exp, checkpoint)[1], device)
    model.eval()

    @torch.inference_mode()
    def encode_audio(recordings: Sequence[Utterance]) -> list[torch.Tensor]:
        return model.encode_audio(*read_batch(recordings, device))

    return encode_audio


def _transcript(recording: Utterance) -> str:
    if recording.text is None:
        raise ValueError(f"{recording.id} has no transcript to be asked: leave this system out")
    return recording.text


def _of(table: Mapping[str, str], id_: str, path: str | Path) -> str:
    if id_ not in table:
        raise ValueError(f"{path} has no hypothesis of {id_}: rerun stage 6")
    return table[id_]
