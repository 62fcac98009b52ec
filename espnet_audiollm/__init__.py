"""ESPnet-AudioLLM: audio for Llamas, in recipes of ESPnet's style."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from .infer.systems import System

__version__ = "0.2.0"


def _name_user() -> None:
    """A user id without a name, as in a container, goes by its number: torch asks at its import."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = str(os.getuid())


_name_user()


def load(directory: str | Path, llm: str | None = None, **options: Any) -> System:
    """A trained model, ready to answer: see `infer.systems.System`, and `infer.chat.Chat`.

    Args:
        directory: a packed model (stage 12), or an experiment of stage 9 or 5.
        llm: Hugging Face id or directory of the LLM that it was trained with. None: a packed
            speech LM, which is one.
        options: those of `infer.systems.load_system` (device, dtype, system_prompt, ...).

    Errors (ValueError): no model there, a damaged one, another LLM than it was trained with."""
    from .infer.systems import kind_of, load_system

    return load_system(kind_of(directory), llm, directory, **options)
