"""Ways to ask for a task in words: a YAML file with a list of templates for each task.

    ASR:
    - "Write down what is said: {input}"
    ASR SQA SQSA:
    - "Answer this aloud, after you have written down question and answer: {input}"

{input} is what is given, once in each template; {language} and {translation_language} are the names
in the task's tag. Which template an example has follows only from its id and a seed, so that the
same mixture gives the same examples, whatever else is in it. The trained model is asked likewise:
`Wording`, of one task of one source, goes with the examples and with a packed model.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..store.yaml_files import read_options
from .speech_tasks import INPUT, LANGUAGE_SLOTS, STEPS, Task

NEXT = "correct the file and run the same command again"
_SLOT = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True)
class Wording:
    """How the examples of one task ask for it."""

    templates: tuple[str, ...] = ()  # empty: the tag asks
    salt: str = ""  # that and the utterance's id decide which template is drawn

    def template(self, id_: str) -> str | None:
        """How an utterance's task is asked for; None: by its tag."""
        if not self.templates:
            return None
        digest = hashlib.sha256(f"{self.salt} {id_}".encode()).digest()
        return self.templates[int.from_bytes(digest[:8]) % len(self.templates)]

    @classmethod
    def of_record(cls, found: Any) -> Wording:
        """What `dataclasses.asdict` made. Errors (ValueError): it is damaged."""
        record = found if isinstance(found, dict) else {}
        templates, salt = record.get("templates"), record.get("salt")
        if not isinstance(templates, list | tuple) or not isinstance(salt, str):
            raise ValueError(f"a wording is {found!r:.60}, not templates and a salt")
        for template in templates:
            if not isinstance(template, str):
                raise ValueError(f"a template is {template!r:.60}, not a text")
            _check_template(f"the template {template[:40]!r}", template)
        return cls(tuple(templates), salt)


@dataclass(frozen=True)
class Instructions:
    """The templates of a file, by the task's words in its tag ("ASR SQA SQSA")."""

    templates: Mapping[str, tuple[str, ...]]
    seed: int = 0

    def check(self, task: Task, where: str) -> None:
        """Refuse (ValueError) a task without templates, or with some for more languages."""
        templates = self.templates.get(_name(task))
        if templates is None:
            raise ValueError(
                f"{where} has no template for {task}: write some under {_name(task)!r} (it has "
                f"{', '.join(self.templates)})"
            )
        for number, template in enumerate(templates, 1):
            for slot in LANGUAGE_SLOTS[len(task.languages) :]:
                if slot in template:
                    raise ValueError(
                        f"{where}: template {number} of {_name(task)} has {slot}, and {task} names "
                        "no such language: leave the slot out"
                    )

    def wording(self, task: Task, source: str) -> Wording:
        """How a source's examples of a task ask."""
        return Wording(self.templates[_name(task)], f"{self.seed} {_name(task)} {source}")


def read_instructions(path: str | Path, seed: int = 0) -> Instructions:
    """The templates of a file.

    seed: decides which template an example has.

    Errors (ValueError): unknown tasks, no templates, one without its slot, an unknown slot."""
    found = read_options(path, NEXT)
    try:
        return Instructions({str(key): _templates(str(key), found[key]) for key in found}, seed)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; {NEXT}") from error


def _name(task: Task) -> str:
    return " ".join(task.steps)


def _templates(name: str, found: Any) -> tuple[str, ...]:
    unknown = [step for step in name.split() if step not in STEPS]
    if unknown or not name.split():
        first = f"{unknown[0]!r} in {name!r}" if unknown else repr(name)
        raise ValueError(f"{first} is no task: tasks are {', '.join(STEPS)}")
    if not isinstance(found, list) or not found or not all(isinstance(t, str) for t in found):
        raise ValueError(f"{name} has no list of templates ('- \"Write down: {INPUT}\"')")
    for number, template in enumerate(found, 1):
        _check_template(f"template {number} of {name} ({template[:40]!r})", template)
    return tuple(found)


def _check_template(which: str, template: str) -> None:
    slots = _SLOT.findall(template)
    known: Iterable[str] = (INPUT, *LANGUAGE_SLOTS)
    unknown = [slot for slot in slots if slot not in known]
    if unknown:
        raise ValueError(f"{which} has the unknown slot {unknown[0]}: there are {', '.join(known)}")
    if slots.count(INPUT) != 1:
        raise ValueError(f"{which} has {INPUT} {slots.count(INPUT)} times: it needs it once")
