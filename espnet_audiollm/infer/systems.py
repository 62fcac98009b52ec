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
from pathlib import Path
from typing import TypeAlias

import torch

from ..data.kaldi_dir import read_dict
from ..data.prompt import decode, encode, reply_ids
from ..model import llm as llms
from ..model.llm import LLM
from ..model.response_loss import embed_prompt, response_nats
from ..store.kinds import KINDS, Kind
from ..text.casing import Caser, caser
from ..types import Audio, Dialogue, Nats, Response, Seconds, Turn, Turns, Units, Utterance
from .batches import by_length, read_batch
from .generate import Generated, generate
from .labels import label_of
from .recognise import load_recogniser

CHECKPOINT = "valid.loss.ave.pth"
MAX_TOKENS_FACTOR = 4.0  # an answer has at most this x its prompt's positions (section 3.1)

Speech: TypeAlias = str | torch.Tensor  # in place of a spoken turn: a text, or embeddings (P, D)
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

    def batches(
        self, items: Iterable[Item], seconds: Seconds = 120.0, positions: int = 4096
    ) -> list[list[Item]]:
        """Batches of like size, padding counted: at most `seconds` of audio, or for a system that
        reads text at most `positions` of prompts."""
        items = list(items)
        if self.kind.input == "audio":
            return list(by_length(items, lambda item: item.dialogue.duration, seconds))
        lengths = {item.id: self.num_positions(item.dialogue) for item in items}
        return list(by_length(items, lambda item: lengths[item.id], positions))

    @torch.inference_mode()
    def speech(self, dialogues: Iterable[Dialogue]) -> dict[Audio, Speech]:
        """What stands in the prompts for each recording: a text, or embeddings (P, D)."""
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

        Errors (ValueError): a prompt that the LLM's context does not hold, with its id."""
        dialogues = [self.complete(dialogue) for dialogue in dialogues]
        speech = self.speech(dialogues) if speech is None else speech
        talks = self._fill_turns(dialogues, speech, max_tokens_factor, beam)
        _, said = self._say(talks, dialogues, speech, max_tokens_factor, beam)
        found = [self._response(*each, speech) for each in zip(dialogues, said, strict=True)]
        return list(zip(talks, found, strict=True))

    @torch.inference_mode()
    def answer(
        self,
        items: Sequence[Item],
        max_tokens_factor: float = MAX_TOKENS_FACTOR,
        beam: int = 1,
        speech: Mapping[Audio, Speech] | None = None,
    ) -> list[Answer]:
        """The answers to one batch, and what the references cost; arguments as for `respond`."""
        dialogues = [self.complete(item.dialogue) for item in items]
        speech = self.speech(dialogues) if speech is None else speech
        talks = self._fill_turns(dialogues, speech, max_tokens_factor, beam)
        prompts, said = self._say(talks, dialogues, speech, max_tokens_factor, beam)
        targets = [torch.tensor(item.reference_ids, device=prompts[0].device) for item in items]
        costs = response_nats(self.llm.model, prompts, targets)
        return [
            Answer(
                self._response(dialogue, generated, speech),
                turns,
                float(cost_R.double().sum()),
                tuple(cost_R.tolist()),
            )
            for dialogue, turns, generated, cost_R in zip(
                dialogues, talks, said, costs, strict=True
            )
        ]

    def complete(self, dialogue: Dialogue) -> Dialogue:
        """The dialogue with the system turn that the system answers under."""
        if self.system_prompt is None or dialogue.turns[0].role == "system":
            return dialogue
        return replace(dialogue, turns=(Turn("system", self.system_prompt), *dialogue.turns))

    @torch.inference_mode()
    def embed(self, turns: Turns, speech: Mapping[Audio, Speech]) -> torch.Tensor:
        """The embeddings (L, D) of turns within the chat template."""
        read = [_parts(turn, speech) for turn in turns]
        audios = [part for parts in read for part in parts if isinstance(part, torch.Tensor)]
        slots = (tuple(p if isinstance(p, str) else Audio() for p in parts) for parts in read)
        template = tuple(Turn(turn.role, parts) for turn, parts in zip(turns, slots, strict=True))
        return embed_prompt(self.llm.model, encode(template, self.llm.tokenizer), audios)

    def num_positions(self, dialogue: Dialogue) -> int:
        """Of the prompt of a system that reads text, template included; open turns are empty."""
        dialogue = self.complete(dialogue)
        speech = self.speech([dialogue])
        texts = [_written(turn, speech) for turn in dialogue.turns]
        turns = tuple(Turn(t.role, text) for t, text in zip(dialogue.turns, texts, strict=True))
        return len(encode(turns, self.llm.tokenizer))

    def _fill_turns(
        self,
        dialogues: Sequence[Dialogue],
        speech: Mapping[Audio, Speech],
        factor: float,
        beam: int,
    ) -> list[Turns]:
        """The turns of each dialogue; where an assistant's is open, what the system answers."""
        talks = [dialogue.turns for dialogue in dialogues]
        while waiting := [i for i, turns in enumerate(talks) if _open_turn(turns) is not None]:
            before = [talks[i][: _open_turn(talks[i])] for i in waiting]
            _, said = self._say(before, [dialogues[i] for i in waiting], speech, factor, beam)
            for i, turns, generated in zip(waiting, before, said, strict=True):
                own = Turn("assistant", decode(generated.ids, self.llm.tokenizer))
                talks[i] = (*turns, own, *talks[i][len(turns) + 1 :])
        return talks

    def _say(
        self,
        talks: Sequence[Turns],
        dialogues: Sequence[Dialogue],
        speech: Mapping[Audio, Speech],
        factor: float,
        beam: int,
    ) -> tuple[list[torch.Tensor], list[Generated]]:
        """The prompts (L, D), and what is said after them."""
        prompts = [self.embed(turns, speech) for turns in talks]
        limits = [max(1, int(factor * len(prompt))) for prompt in prompts]
        names = [dialogue.id for dialogue in dialogues]
        return prompts, generate(self.llm, prompts, limits, beam, names)

    def _response(
        self, dialogue: Dialogue, generated: Generated, speech: Mapping[Audio, Speech]
    ) -> Response:
        return Response(
            dialogue.id,
            _written(dialogue.turns[-1], speech),
            decode(generated.ids, self.llm.tokenizer),
            generated.ids,
            generated.finish_reason,
        )


def reference_ids(llm: LLM, reference: str) -> tuple[int, ...]:
    """The tokens with which the LLM would say it, end of turn included, whatever was asked."""
    return tuple(reply_ids((Turn("user", "a"),), reference, llm.tokenizer, llm.eos_ids))


def _parts(turn: Turn, speech: Mapping[Audio, Speech]) -> list[Speech]:
    """What stands in the prompt for each part of a turn."""
    read = (speech[part] if isinstance(part, Audio) else part for part in turn.parts)
    return [part.text or "" if isinstance(part, Units) else part for part in read]


def _written(turn: Turn, speech: Mapping[Audio, Speech]) -> str:
    """The same as one text; "" where there is audio, or nothing yet."""
    texts = [part for part in _parts(turn, speech) if isinstance(part, str)]
    return "".join(texts) if len(texts) == len(turn.parts) else ""


def _open_turn(turns: Turns) -> int | None:
    return next((i for i, turn in enumerate(turns) if turn.content is None), None)


def check_context(system: System, dialogues: Iterable[Dialogue]) -> None:
    """Refuse dialogues that leave no room for an answer (ValueError), before the first batch.

    A token stands for a byte at least, so only long texts are tokenised here. (Where a tokenizer's
    normalisation makes text longer, `generate` finds what slips through.)"""
    context = system.llm.context
    around = system.num_positions(Dialogue("a", (Turn("user", "a"),)))
    total, long, first = 0, 0, ""
    for dialogue in dialogues:
        total += 1
        size = sum(len((turn.text or "").encode()) + around for turn in dialogue.turns)
        if size >= context and (length := system.num_positions(dialogue)) >= context:
            long, first = long + 1, first or f"{dialogue.id} with {length}"
    if long:
        raise ValueError(
            f"{long} of {total} prompts do not fit the LLM's context of {context} tokens "
            f"(first: {first}): remove these utterances (a smaller --max_audio in stage 2) or take "
            "an LLM with a longer context"
        )


# --- loading ------------------------------------------------------------------------------------


def load_system(
    kind: str,
    llm: str | LLM,
    exp: str | Path | None = None,
    checkpoint: str = CHECKPOINT,
    *,
    hyp: str | Path | None = None,
    chat_template: str | None = None,
    system_prompt: str | None = None,
    casing: Caser | None = None,
    dtype: str = "auto",
    device: str = "cpu",
) -> System:
    """A trained system, ready to answer.

    Args:
        kind: a name in store/kinds.KINDS.
        llm: Hugging Face id or directory, or an LLM that is loaded already.
        exp: cascade: experiment of stage 5; audiollm: of stage 9.
        hyp: cascade: table of hypotheses by recording, in place of the recogniser.
        chat_template: jinja file, when the LLM has none; audiollm: None takes that of its training.
        system_prompt: text of a system turn, None for no such turn; audiollm has that of its
            training.
        casing: form in which texts are asked (text/casing.py).

    Errors (ValueError): an unknown kind; an option that it needs is missing; those of loading."""
    if kind not in KINDS:
        raise ValueError(f"the kind of system '{kind}' is not one of {', '.join(KINDS)}")
    if KINDS[kind].input in ("audio", "hypothesis") and not (exp or hyp):
        raise ValueError(f"a system of the kind {kind} needs the experiment of its model (exp)")
    model, config = exp or "", None
    if KINDS[kind].input == "audio":
        from ..train.loading import read_config

        config = read_config(model, "llm", "chat_template", "system_prompt")
        chat_template, system_prompt = chat_template or config.chat_template, config.system_prompt
    if isinstance(llm, str):
        llm = llms.load(llm, chat_template, dtype, device)
    reader = _reader(
        KINDS[kind], llm, model, checkpoint, hyp, config, casing or caser("asis"), device
    )
    label = label_of(KINDS[kind], exp, checkpoint)
    return System(KINDS[kind], llm, reader, label, Path(model).name, system_prompt)


def _reader(
    kind: Kind,
    llm: LLM,
    exp: str | Path,
    checkpoint: str,
    hyp: str | Path | None,
    config: argparse.Namespace | None,
    case: Caser,
    device: str,
) -> Reader:
    if kind.input == "nothing":
        return lambda recordings: [""] * len(recordings)
    if kind.input == "transcript":
        return lambda recordings: [case(_transcript(each)) for each in recordings]
    if kind.input == "hypothesis" and hyp is not None:
        table = read_dict(hyp)
        return lambda recordings: [case(_of(table, each.id, hyp)) for each in recordings]
    if kind.input == "hypothesis":
        recognise = load_recogniser(exp, checkpoint, device=device)
        return lambda recordings: [case(text) for text in recognise(recordings)]
    assert config is not None
    return _load_encoder(llm, exp, checkpoint, config, device)


def _load_encoder(
    llm: LLM, exp: str | Path, checkpoint: str, config: argparse.Namespace, device: str
) -> Reader:
    """An AudioLLM's: recordings to embeddings (P, D)."""
    from ..tasks.audiollm import AudioLLMTask
    from ..train.loading import load_weights

    untied = {f"{split}_data_path_and_name_and_type": None for split in ("train", "valid")}
    options = argparse.Namespace(**{**vars(config), **untied})  # its training data may be gone
    model = AudioLLMTask.build_model(options, llm).to(device)
    load_weights(model, Path(exp) / checkpoint, device)
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
