"""Tasks of a speech LM by tags in plain text, as AudioPaLM names them; each example is a dialogue.

    [ASR Spanish]                      speech to its transcript
    [TTS Spanish]                      text to speech
    [MT Spanish English]               text to a translation
    [AST Spanish English]              speech to a translation
    [S2ST Spanish English]             speech to a spoken translation
    [QA English], [QSA English]        a written question to an answer: written, spoken
    [SQA English], [SQSA English]      a spoken question likewise

Several tasks in one tag are answered one after the other in one decode, from one input:
`[ASR AST S2ST Spanish English]` gives the transcript, its translation, and that spoken;
`[ASR SQA SQSA English]` is SpeechGPT's chain of modality, `[SQA SQSA English]`, `[SQA English]`,
`[QA QSA English]` and `[QA English]` are its other forms.

    [LM]                               only speech, without a dialogue: nothing is asked

The user's turn is the tag and the input, or an instruction with the input in it; the assistant's
are the outputs, a line end between two of them. The loss is only on the assistant's turn; with
[LM], on all of the speech.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ..text.languages import LANGUAGES, PLAIN
from ..types import Audio, Content, Part, Turns, Units
from .prompt import user_prompt

Field = Literal["audio", "text", "translation", "translation_audio", "answer", "answer_audio"]
FIELDS: tuple[Field, ...] = (
    "audio",
    "text",
    "translation",
    "translation_audio",
    "answer",
    "answer_audio",
)
SPOKEN = frozenset({"audio", "translation_audio", "answer_audio"})
BETWEEN = "\n"  # outputs
INPUT = "{input}"  # where a way to ask for a task (data/instructions.py) has what is given
LANGUAGE_SLOTS = ("{language}", "{translation_language}")  # of what is given, of translations
NAMES = frozenset(language.name for language in (*LANGUAGES.values(), *PLAIN.values()))

Value = str | Units


@dataclass(frozen=True)
class Step:
    """What one task in a tag makes of what."""

    given: Field | None  # None: nothing, there is no dialogue
    made: Field
    languages: int = 1  # that its tag names: 2 where it translates


STEPS = {
    "ASR": Step("audio", "text"),
    "TTS": Step("text", "audio"),
    "MT": Step("text", "translation", 2),
    "AST": Step("audio", "translation", 2),
    "S2ST": Step("audio", "translation_audio", 2),
    "QA": Step("text", "answer"),
    "QSA": Step("text", "answer_audio"),
    "SQA": Step("audio", "answer"),
    "SQSA": Step("audio", "answer_audio"),
    "LM": Step(None, "audio", 0),
}


@dataclass(frozen=True)
class Task:
    """A parsed tag."""

    steps: tuple[str, ...]  # of STEPS
    languages: tuple[str, ...]  # of what is given, then of translations

    @classmethod
    def parse(cls, tag: str) -> Task:
        """Errors (ValueError): no tag, an unknown task or language, too few or too many languages,
        a task twice, tasks with different inputs."""
        words = tag[1:-1].split() if tag[:1] == "[" and tag[-1:] == "]" else []
        steps = tuple(word for word in words if word in STEPS)
        languages = tuple(words[len(steps) :])
        if not steps or words[: len(steps)] != list(steps):
            raise ValueError(
                f"the tag {tag!r} is unknown: a tag is [TASK ... LANGUAGE], tasks are "
                f"{', '.join(STEPS)}"
            )
        _check_steps(tag, steps)
        _check_languages(tag, steps, languages)
        return cls(steps, languages)

    def __str__(self) -> str:
        return f"[{' '.join((*self.steps, *self.languages))}]"

    @property
    def key(self) -> str:
        """The tag as part of an id or a file's name."""
        return "_".join((*self.steps, *self.languages)).lower()

    @property
    def given(self) -> Field | None:
        """The input; None: there is no dialogue, only the output is learned."""
        return STEPS[self.steps[0]].given

    @property
    def made(self) -> tuple[Field, ...]:
        """The outputs, in order."""
        return tuple(STEPS[step].made for step in self.steps)

    @property
    def fields(self) -> tuple[Field, ...]:
        """All that an example must have."""
        return self.made if self.given is None else (self.given, *self.made)

    def prompt(
        self,
        given: Value | Audio,
        system_prompt: str | None = None,
        template: str | None = None,
    ) -> Turns:
        """The dialogue that asks for the outputs of an input; audio stands for its units.

        template: how it asks, with INPUT once and LANGUAGE_SLOTS (None: by the tag)."""
        texts = (template or f"{self} {INPUT}").split(INPUT)
        for slot, language in zip(LANGUAGE_SLOTS, self.languages, strict=False):
            texts = [text.replace(slot, language) for text in texts]
        before, after = texts
        parts = [part for part in (before, _line(given), after) if part]
        return user_prompt(_joined(parts), system_prompt)

    def outputs(self, values: Mapping[Field, Value]) -> list[Content]:
        """The lines of the assistant's turn. Errors (KeyError): an output is missing."""
        return [_line(values[field]) for field in self.made]


def check_values(id_: str, task: Task, values: Mapping[Field, Value]) -> None:
    """Refuse (ValueError) an example with an empty text; empty units are refused where they are
    read."""
    empty = [name for name in task.fields if isinstance(values[name], str) and not values[name]]
    if empty:
        raise ValueError(
            f"{id_} has no word in its {empty[0]}, and {task} needs it: leave the utterance out "
            "(utils/data/subset.py), or the task"
        )


def _check_steps(tag: str, steps: tuple[str, ...]) -> None:
    twice = [step for i, step in enumerate(steps) if step in steps[:i]]
    if twice:
        raise ValueError(f"the tag {tag!r} has {twice[0]} twice: each task is answered once")
    inputs = {step: STEPS[step].given for step in steps}
    other = [step for step in steps if inputs[step] != inputs[steps[0]]]
    if other:
        first, second = (inputs[step] or "nothing" for step in (steps[0], other[0]))
        raise ValueError(
            f"the tag {tag!r} joins {steps[0]}, which is given {first}, and {other[0]}, "
            f"which is given {second}: tasks in one tag have one input"
        )


def _check_languages(tag: str, steps: tuple[str, ...], languages: tuple[str, ...]) -> None:
    for name in languages:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, 1, 0.6)
            hint = f" ({near[0]}?)" if near else ""
            raise ValueError(
                f"the tag {tag!r}: {name!r} is no task and no language{hint}: tasks are "
                f"{', '.join(STEPS)}, languages have English names (Spanish, Upper_Sorbian)"
            )
    needed = max(STEPS[step].languages for step in steps)
    if len(languages) != needed or len(set(languages)) < needed:
        wanted = ("none", "one language", "two languages, from and to")[needed]
        raise ValueError(f"the tag {tag!r} has {len(languages)} languages: it needs {wanted}")


def _line(value: Part) -> Part:
    """Text in one line: line ends separate outputs."""
    return " ".join(value.split()) if isinstance(value, str) else value


def _joined(parts: Iterable[Part]) -> Content:
    """Neighbouring texts as one; a single part by itself."""
    found: list[Part] = []
    for part in parts:
        if found and isinstance(part, str) and isinstance(found[-1], str):
            found[-1] += part
        else:
            found.append(part)
    return found[0] if len(found) == 1 else tuple(found)
