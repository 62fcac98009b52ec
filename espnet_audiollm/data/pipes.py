"""Commands in wav.scp, as Kaldi has them: "sph2pipe -f wav a.sph |". Off unless asked for.

No shell is started. Only the programs named here are, by their bare names; "|" between them is a
chain of pipes; all else that a shell would act on is refused, and of the programs' own words all
but those that reading needs (data/pipe_words.py)."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from typing import IO

from ..types import Seconds
from .pipe_words import GRAMMARS, hardened

PROGRAMS = tuple(GRAMMARS)
LIMIT: Seconds = 600.0  # for one command
OPTION = "--allow_pipes true"
_ACTED_ON = "|&;<>()"  # by a shell, where it is not quoted


class PipeError(ValueError):
    """A command that cannot or must not be run, or that failed; the message says why."""


def parse(command: str) -> list[list[str]]:
    """The words of each program of a chain. Raises PipeError for what is not allowed."""
    if any(char in command for char in "$`\n\0"):
        raise PipeError("variables and substitutions are not run")
    lexer = shlex.shlex(command, posix=True, punctuation_chars=_ACTED_ON)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        tokens = list(lexer)
    except ValueError as error:
        raise PipeError(f"cannot be read ({error})") from error
    chain: list[list[str]] = [[]]
    for token in tokens:
        if token == "|":
            chain.append([])
        elif token and not set(token) - set(_ACTED_ON):
            raise PipeError(f"'{token}' is not run; only '|' between programs is")
        else:
            chain[-1].append(token)
    for words in chain:
        _check(words)
    return chain


def _check(words: list[str]) -> None:
    if not words:
        raise PipeError("a program is missing before or after '|'")
    if words[0] not in PROGRAMS:
        raise PipeError(f"'{words[0]}' is not one of the programs allowed: {', '.join(PROGRAMS)}")
    wrong = GRAMMARS[words[0]].first_wrong(words[1:])
    if wrong is not None:
        raise PipeError(
            f"'{wrong}' of {words[0]} is not allowed there: recordings (by their usual endings) "
            "are read and written to '-', no more; for other things, convert them to files first"
        )


def check(command: str) -> None:
    """Raise PipeError for a command that would be refused, or whose programs are not here."""
    for words in parse(command):
        if shutil.which(words[0]) is None:
            raise PipeError(f"the program {words[0]} is not installed, or not in PATH")


def files(command: str) -> list[str]:
    """The words of a command that are files; [] of one that is not allowed."""
    try:
        chain = parse(command)
    except PipeError:
        return []
    return [word for words in chain for word in words[1:] if os.path.isfile(word)]


def run(command: str) -> bytes:
    """What a command writes to its standard output. Raises PipeError when a program of it fails."""
    check(command)
    chain, running = parse(command), list[subprocess.Popen[bytes]]()
    with ExitStack() as stack:
        complaints = [stack.enter_context(tempfile.TemporaryFile()) for _ in chain]
        try:
            for words, complaint in zip(chain, complaints, strict=True):
                stdin = running[-1].stdout if running else None
                program = subprocess.Popen(
                    hardened(words),
                    stdin=stdin or subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=complaint,
                )
                running.append(stack.enter_context(program))
                if stdin:
                    stdin.close()  # ours; the program has its own
            output, _ = running[-1].communicate(timeout=LIMIT)
            statuses = [program.wait(timeout=LIMIT) for program in running]
        except subprocess.TimeoutExpired as error:
            raise PipeError(f"still running after {LIMIT:g} s") from error
        finally:
            for program in running:
                program.kill()
        for words, status, complaint in zip(chain, statuses, complaints, strict=True):
            if status:
                raise PipeError(f"{words[0]} ended with status {status}: {_last_line(complaint)}")
    if not output:
        raise PipeError(f"{chain[-1][0]} wrote nothing to its standard output (is '-' missing?)")
    return output


def _last_line(complaint: IO[bytes]) -> str:
    complaint.seek(0)
    lines = complaint.read().decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "no message"


def add_option(parser: argparse.ArgumentParser) -> None:
    """The option of the tools that open recordings."""
    parser.add_argument(
        OPTION.split()[0],
        choices=("true", "false"),
        default="false",
        help=f"true: commands in wav.scp ({', '.join(PROGRAMS)}) are run, without a shell",
    )
