"""conf/llm/*.yaml: what is known of an LLM beforehand, so that another one is noticed early.

`--llm` takes such a file in place of the id that it names. What is loaded must then have the
published architecture, and its chat template must render a request as the file says."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.prompt import render, user_prompt
from ..store.yaml_files import read_options

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

REQUEST = "hello"  # what the user says in `prompt`


@dataclass(frozen=True)
class LLMConfig:
    """What is written down of an LLM, to be compared with what is loaded."""

    path: str
    llm: str  # Hugging Face id or local directory
    dtype: str  # of the weights on a GPU
    licence: str
    parameters: int
    architecture: dict[str, Any]  # of its config.json
    prompt: str  # what the chat template makes of REQUEST

    def check_architecture(self, loaded: PretrainedConfig) -> None:
        """ValueError where config.json differs from what is written here."""
        values = {**loaded.to_dict(), **(getattr(loaded, "rope_parameters", None) or {})}
        differing = [
            f"{key} is {values.get(key)}, not {value}"
            for key, value in self.architecture.items()
            if values.get(key) != value
        ]
        if differing:
            raise ValueError(
                f"{self.llm} is not the LLM that {self.path} describes: {len(differing)} of "
                f"{len(self.architecture)} values differ (first: {differing[0]}); give --llm "
                "another file, or the directory itself"
            )

    def check_template(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """ValueError where the chat template renders a request otherwise."""
        rendered = render(user_prompt(REQUEST), tokenizer)
        if rendered != self.prompt:
            raise ValueError(
                f"the chat template of {self.llm} is not the one that {self.path} describes: it "
                f"makes {rendered!r} of a user's {REQUEST!r}, not {self.prompt!r}; correct "
                "`prompt` there if the new form is wanted"
            )


def find(llm: str) -> LLMConfig | None:
    """The configuration that `--llm` names; None when it is an id or a directory.

    Errors (ValueError): no such file, not YAML, keys missing or unknown."""
    if not llm.endswith((".yaml", ".yml")):
        return None
    if not Path(llm).is_file():
        raise ValueError(f"--llm {llm}: no such file; conf/llm holds those that are known")
    values = read_options(llm, "conf/llm holds those that are known")
    known = {field.name for field in fields(LLMConfig)} - {"path"}
    given = set(values)
    if given != known:
        wrong = sorted(given ^ known)
        raise ValueError(
            f"--llm {llm}: {len(wrong)} keys are missing or unknown (first: {wrong[0]}); "
            f"it takes {', '.join(sorted(known))}"
        )
    return LLMConfig(path=llm, **values)


def resolve(llm: str) -> str:
    """The id or directory that `--llm` stands for."""
    config = find(llm)
    return config.llm if config else llm
