"""Options of the commands in which an LLM answers: which engine decodes (infer/engines.py)."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ..infer.generate import Generate
    from ..infer.systems import System
    from ..model.llm import LLM

Answering: TypeAlias = "Callable[..., System]"  # of options, a system, and rows

DEFAULT = "transformers"
NOT_SETTINGS = ("vllm_url",)  # the results are the same, whichever server of the LLM gives them


def add_options(parser: argparse.ArgumentParser) -> None:
    """--llm_engine and --vllm_url."""
    add = parser.add_argument_group(
        "engine",
        "vLLM only decodes, greedily; audio becomes embeddings, and likelihoods are measured, in "
        "this process. A server's key is read from the environment variable AUDIOLLM_VLLM_KEY.",
    ).add_argument
    add("--llm_engine", default=DEFAULT, choices=(DEFAULT, "vllm"), help="what decodes")
    add("--vllm_url", help="vllm: a server of the same LLM that runs already (default: start one)")


def check(args: argparse.Namespace) -> None:
    """Errors (ValueError): options that do not go together."""
    if args.llm_engine == DEFAULT:
        if args.vllm_url:
            raise ValueError("--vllm_url is for --llm_engine vllm: give both, or neither")
    elif getattr(args, "beam", 1) != 1:
        raise ValueError(
            f"--beam {args.beam} needs --llm_engine {DEFAULT}: vLLM decodes greedily here"
        )


def settings(options: dict) -> dict:
    """Of a command's options, those that its results depend on; as they were before there were
    engines where the default one decodes."""
    kept = {name: value for name, value in options.items() if name not in NOT_SETTINGS}
    if kept.get("llm_engine") == DEFAULT:
        del kept["llm_engine"]
    return kept


def check_same(args: argparse.Namespace, made: dict, place: str | Path) -> None:
    """Errors (ValueError): what is there was decoded by another engine.

    made: the settings with which it was made."""
    before = made.get("llm_engine", DEFAULT)
    if made and before != args.llm_engine:
        raise ValueError(
            f"{place} was made with --llm_engine {before}, and this is {args.llm_engine}, whose "
            f"tokens may differ by rounding: give --llm_engine {before}, or remove the directory"
        )


@contextmanager
def loaded(
    args: argparse.Namespace, llm: LLM, log: Path, audio: bool, rows: int | None = None
) -> Iterator[Generate]:
    """What decodes for the LLM. log: directory of a started server's log.

    Errors (ValueError): those of `infer.engines.load_engine`."""
    from ..infer.engines import load_engine

    file = log / f"vllm.{getattr(args, 'job', 1)}.log"
    with load_engine(args.llm_engine, llm, args.vllm_url, file, audio, rows) as generate:
        yield generate


@contextmanager
def kept(audio: bool) -> Iterator[Answering]:
    """Gives systems, one after the other, the chosen engine, which decodes for them: those of one
    LLM share it. Its log is in the first one's --output.

    audio: whether there are embeddings among the prompts of any of them. What is yielded takes the
    rows of `infer.engines.load_engine`, too."""
    with ExitStack() as stack:
        running: list[tuple[tuple, Generate]] = []

        def ask(args: argparse.Namespace, system: System, rows: int | None = None) -> System:
            key = (id(system.llm), args.llm_engine, args.vllm_url)
            if not running or running[0][0] != key:
                stack.close()
                log = Path(args.output) / "log"
                found = stack.enter_context(loaded(args, system.llm, log, audio, rows))
                running[:] = [(key, found)]
            return replace(system, generate=running[0][1])

        yield ask
