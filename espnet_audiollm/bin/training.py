"""What the mains share that train, one ESPnet task each."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from importlib import import_module

from .cli import complain, user_errors

GetParser = Callable[[], argparse.ArgumentParser]
Main = Callable[..., int]


def command(name: str, task: str) -> tuple[GetParser, Main]:
    """`get_parser` and `main` of the command `name`; task: "module:Class" of tasks/.

    The task is imported when one of them is called: torch and ESPnet take seconds, and an error of
    this import is reported as those of the training are."""

    def load():
        module, _, class_name = task.partition(":")
        return getattr(import_module(f"..tasks.{module}", __package__), class_name)

    def get_parser() -> argparse.ArgumentParser:
        """The command line's options."""
        return load().get_parser()

    def main(argv: list[str] | None = None) -> int:
        """Train, as ESPnet's tasks do."""
        from ..train.supervision import report_errors

        with report_errors(partial(complain, name)):
            load().main(cmd=argv)
        return 0

    return get_parser, user_errors(main, name)
