"""A speech LM as a system: a question in text or audio to an answer in text, in speech, or both.

The LLM reads units, and its prompt asks for a task (data/speech_tasks.py) as the examples of its
training did, by the tag or in words: token for token the one that bin/prepare_tasks makes of an
utterance of that id, so that answers are those of bin/respond_tasks. Each question stands alone: no
example of its training had more than one.

    system = load_speech_lm("exp/speechlm/packed")
    [answer] = system.respond([Dialogue("a", (Turn("user", Audio("question.wav")),))])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..data.instructions import Wording
from ..data.prompt import lines_before
from ..data.speech_replies import SpeechReply, read_reply
from ..data.speech_tasks import SPOKEN, Task
from ..data.task_examples import read_about
from ..data.unit_tables import merge_repeats
from ..data.unit_tokens import UnitVocabulary, read_vocabulary
from ..model import llm as llms
from ..model.llm import LLM
from ..model.response_loss import embed_prompt
from ..store import speech_directory
from ..store.kinds import KINDS
from ..store.speech_directory import NEXT, SpeechFacts, read_facts
from ..types import Audio, Dialogue, FinishReason, Response, Turns, Units, Utterance
from ..units.quantiser import Quantiser
from .generate import Generated
from .speak import load_vocoder
from .systems import (
    MAX_TOKENS_FACTOR,
    NO_ANSWER,
    Answer,
    Item,
    Reader,
    Speech,
    System,
)
from .unit_frames import load_frames_of
from .voices import Voices

MAX_TOKENS = 512  # of an answer, as bin/respond_tasks has it


@dataclass(frozen=True, kw_only=True)
class SpeechLM(System):
    """Answers one question at a time. Made by `load_speech_lm`."""

    tasks: Mapping[Task, Wording]  # that it was trained on, and how each was asked for
    voices: Voices | None = None  # None: it does not speak

    def complete(self, dialogue: Dialogue) -> Dialogue:
        """The prompt of the dialogue's task, that of an answer in text where it names none.

        Errors (ValueError): a task that was not trained or has another input; more than one
        question; a question that is not just text or one recording; another system turn."""
        question = _question(dialogue.turns, self.system_prompt)
        task = self.task_for(dialogue.turns, dialogue.task)
        template = self.tasks[task].template(dialogue.id)
        turns = task.prompt(question, self.system_prompt, template)
        return replace(dialogue, turns=turns, task=str(task))

    def before(self, turns: Turns) -> Turns:
        """Nothing: each question stands alone."""
        return ()

    def task_for(self, turns: Turns, tag: str | None = None, spoken: bool | None = None) -> Task:
        """What is done with a question: the task of the tag, or the one that answers questions, in
        speech the one with most steps (they help, and give a transcript), in text with fewest.

        spoken: whether speech is wanted. None: as the tag has it, without a tag text.

        Errors (ValueError): as for `complete`; there is no such task, or more than one."""
        question = _question(turns, self.system_prompt)
        given = "text" if isinstance(question, str) else "audio"
        if tag is not None:
            return self._named(tag, given, spoken)
        fit = [t for t in self.tasks if t.given == given and speaks(t) == bool(spoken)]
        answers = [task for task in fit if task.made[-1] in ("answer", "answer_audio")]
        if answers:
            sign = -1 if spoken else 1
            return min(answers, key=lambda task: sign * len(task.steps))
        if len(fit) == 1:
            return fit[0]
        wanted = f"{'speech' if spoken else 'text'} to a question in {given}"
        raise ValueError(f"no task is known that answers {wanted}: name one; {self._known()}")

    def _named(self, tag: str, given: str, spoken: bool | None) -> Task:
        named = {str(task): task for task in self.tasks}
        if tag not in named:
            raise ValueError(f"the task {tag[:80]!r} was not trained; {self._known()}")
        task = named[tag]
        if task.given != given:
            raise ValueError(f"the task {tag} is given {task.given}, and the question is {given}")
        if spoken is not None and speaks(task) != spoken:
            form = ("text", "speech")
            raise ValueError(f"the task {tag} answers {form[not spoken]}, {form[spoken]} is wanted")
        return task

    def _known(self) -> str:
        return f"this model knows {len(self.tasks)} tasks: {', '.join(map(str, self.tasks))}"

    @property
    def can_speak(self) -> bool:
        """Whether it can be asked for speech."""
        return self.voices is not None and any(map(speaks, self.tasks))

    def limit(self, turns: Turns, factor: float) -> int | None:
        """The most tokens of an answer: units are many, however short the question was."""
        return MAX_TOKENS

    @torch.inference_mode()
    def answer(
        self,
        items: Sequence[Item],
        max_tokens_factor: float = MAX_TOKENS_FACTOR,
        beam: int = 1,
        speech: Mapping[Audio, Speech] | None = None,
    ) -> list[Answer]:
        """As every system's; a response is the last output of its task, "" where that is faulty."""
        answers = super().answer(items, max_tokens_factor, beam, speech)
        pairs = zip(items, answers, strict=True)
        return [
            replace(each, response=self._last_output(item.dialogue, each.response))
            for item, each in pairs
        ]

    def _last_output(self, dialogue: Dialogue, said: Response) -> Response:
        task = self.task_for(dialogue.turns, dialogue.task)
        reply = self.read_answer(task, said.response_ids, said.finish_reason)
        value = reply.values.get(task.made[-1]) if reply.fault is None else None
        return replace(said, response=value if isinstance(value, str) else "")

    def before_reference(
        self, dialogue: Dialogue, prompt_LD: torch.Tensor, said: Generated
    ) -> torch.Tensor:
        """The prompt, and of a task with several outputs the system's own ones before the answer,
        as a cascade has its own hypothesis in the prompt. What it did not write is empty."""
        task = Task.parse(dialogue.task or "")
        if len(task.steps) == 1 or said is NO_ANSWER:
            return prompt_LD
        found = self.read_answer(task, said.ids, said.finish_reason).values
        before = [self._written(found.get(field)) for field in task.made[:-1]]
        lead = lines_before(before, self.llm.tokenizer, self.llm.eos_ids, self.units)
        return torch.cat([prompt_LD, embed_prompt(self.llm.model, lead).to(prompt_LD)])

    def _written(self, value: str | Units | None) -> str | Units:
        """An output as the LLM wrote it: units among all of its own again."""
        assert self.units is not None
        if isinstance(value, Units):
            return Units(tuple(unit + self.units.output for unit in value.ids))
        return value or ""

    def read_answer(
        self, task: Task, ids: Sequence[int], finish_reason: FinishReason
    ) -> SpeechReply:
        """The outputs among an answer's token ids, or what is wrong with them."""
        assert self.units is not None
        return read_reply(task, ids, finish_reason, self.llm.tokenizer, self.units)


def speaks(task: Task) -> bool:
    """Whether a task ends with speech, and has none before that."""
    *before, last = task.made
    return last in SPOKEN and not SPOKEN & set(before)


def _question(turns: Turns, system_prompt: str | None) -> str | Audio | Units:
    """What is asked."""
    system = turns[0].text if turns[0].role == "system" else None
    talk = [turn for turn in turns if turn.role != "system"]
    if system is not None and system != system_prompt:
        trained = "without one" if system_prompt is None else f"with {system_prompt[:80]!r}"
        raise ValueError(f"this model was trained {trained}: leave the system message out")
    if len(talk) != 1:
        raise ValueError(
            f"this model was trained on single questions, and the dialogue has {len(talk)} turns: "
            "send the last question alone"
        )
    parts = talk[0].parts
    if parts and all(isinstance(part, str) for part in parts):
        return "".join(str(part) for part in parts)
    if len(parts) != 1:
        raise ValueError(
            f"a question of this model is text or one recording, not {len(parts)} parts of both: "
            "send one of them"
        )
    return parts[0]


# --- loading ------------------------------------------------------------------------------------


def check_options(
    directory: str | Path, llm: str | LLM | None, chat_template: str | None, prompt: str | None
) -> None:
    """Refuse (ValueError) what a packed speech LM has itself."""
    given = {"llm": llm, "chat_template": chat_template, "system_prompt": prompt}
    names = [name for name, value in given.items() if value is not None]
    if names:
        raise ValueError(
            f"{directory} is a packed speech LM and has its own {names[0]}: leave {names[0]} out"
        )


def load_speech_lm(directory: str | Path, dtype: str = "auto", device: str = "cpu") -> SpeechLM:
    """A packed speech LM.

    Errors (ValueError): a part is missing, damaged, or does not belong to the others."""
    directory = Path(directory)
    facts = read_facts(directory)
    llm = llms.load(str(_part(directory, speech_directory.LLM)), None, dtype, device)
    if dtype == "auto" and llm.fingerprint != facts.llm:
        raise ValueError(
            f"the LLM in {directory} has other weights ({llm.fingerprint[:12]}) than it was packed "
            f"with ({facts.llm[:12]}): {NEXT}"
        )
    vocabulary = read_vocabulary(directory / speech_directory.LLM)
    quantiser = Quantiser.load(_part(directory, speech_directory.QUANTISER))
    check_quantiser(quantiser.fingerprint, facts.quantiser, str(directory))
    encoder = str(directory / speech_directory.ENCODER) if quantiser.source.directory else None
    return SpeechLM(
        KINDS["speechlm"],
        llm,
        _reader(quantiser, vocabulary, str(directory), facts.merged, encoder, device),
        f"{KINDS['speechlm'].title} {directory.resolve().name}",
        directory.name,
        facts.system_prompt,
        units=vocabulary.tokens(llm.tokenizer),
        tasks=_tasks(facts, directory),
        voices=_voices(directory, facts, vocabulary.output.quantiser, device),
    )


def load_parts(
    llm: str | Path,
    quantiser: str | Path,
    tasks: str | Path,
    encoder: str | None = None,
    dtype: str = "auto",
    device: str = "cpu",
) -> SpeechLM:
    """A speech LM that does not speak, of what a recipe leaves: bin/export_llm's directory,
    bin/learn_units' and examples of bin/prepare_tasks, whose tasks it answers.

    quantiser: that of the units that are read.
    encoder: where the quantiser's lies now. None: where it lay then.

    Errors (ValueError): a part is missing, damaged, or does not belong to the others."""
    about, vocabulary = read_about(tasks), read_vocabulary(llm)
    about.check_vocabulary(vocabulary, str(tasks), str(llm))
    about.check_form(tasks)
    found = llms.load(str(llm), None, dtype, device)
    return SpeechLM(
        KINDS["speechlm"],
        found,
        _reader(
            Quantiser.load(quantiser), vocabulary, str(llm), bool(about.merged), encoder, device
        ),
        KINDS["speechlm"].title,
        system_prompt=about.system_prompt,
        units=vocabulary.tokens(found.tokenizer),
        tasks=dict(zip(map(Task.parse, about.tags), about.wordings(tasks), strict=True)),
    )


def _tasks(facts: SpeechFacts, directory: Path) -> dict[Task, Wording]:
    try:
        wordings = map(Wording.of_record, facts.wordings)
        return dict(zip(map(Task.parse, facts.tags), wordings, strict=True))
    except ValueError as error:
        raise ValueError(f"{directory / speech_directory.CONFIG}: {error}; {NEXT}") from error


def _part(directory: Path, name: str) -> Path:
    if not (directory / name).is_dir():
        raise ValueError(f"{directory} has no {name}: {NEXT}")
    return directory / name


def _reader(
    quantiser: Quantiser,
    vocabulary: UnitVocabulary,
    llm: str,
    merged: bool,
    encoder: str | None,
    device: str,
) -> Reader:
    """Recordings to units; the quantiser must be that of the LLM's input units."""
    check_quantiser(quantiser.fingerprint, vocabulary.input.quantiser, f"the LLM of {llm}")
    frames = load_frames_of(quantiser, encoder, device)

    def read(recordings: Sequence[Utterance]) -> list[Speech]:
        found = (tuple(quantiser.units(x_TC)) for x_TC in frames(recordings))
        return [Units(tuple(merge_repeats(ids)[0]) if merged else ids) for ids in found]

    return read


def check_quantiser(
    given: str, fingerprint: str, whose: str, others: str = "the one given"
) -> None:
    """Refuse (ValueError) parts of other quantisers: `whose` was made for `fingerprint`."""
    if given != fingerprint:
        raise ValueError(
            f"{whose} was made for the units of another quantiser ({fingerprint[:12]}) than "
            f"{others} ({given[:12]}): take parts of one recipe"
        )


def _voices(directory: Path, facts: SpeechFacts, quantiser: str, device: str) -> Voices | None:
    """quantiser: of the units that are spoken."""
    if facts.vocoder is None:
        return None
    place = _part(directory, speech_directory.VOCODER)
    vocoder = load_vocoder(place, device=device)
    if vocoder.fingerprint != facts.vocoder or vocoder.unit_set.quantiser != quantiser:
        raise ValueError(
            f"the vocoder in {directory} is another ({vocoder.fingerprint[:12]}) than it was "
            f"packed with ({facts.vocoder[:12]}): {NEXT}"
        )
    prompt = place / speech_directory.VOICE if vocoder.by_prompt else None
    return Voices.of(vocoder, facts.merged, facts.voice, prompt)
