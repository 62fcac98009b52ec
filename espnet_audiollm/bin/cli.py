"""What every command line of the project shares."""

from __future__ import annotations

import argparse
import errno
import functools
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..text.casing import AS_IS, CASINGS, caser

if TYPE_CHECKING:
    from ..infer.recognise import Recogniser
    from ..infer.systems import System

AVERAGE = "valid.loss.ave.pth"  # the checkpoint that stages 6 and 10 take


def user_errors(main: Callable, name: str | None = None) -> Callable:
    """Turn an error that the user can correct into one sentence on stderr and exit status 1.

    AUDIOLLM_DEBUG=1 in the environment shows the traceback instead.

    name: what the sentence begins with (None: the main's file)."""

    @functools.wraps(main)
    def wrapped(*args, **kwargs):
        try:
            return main(*args, **kwargs)
        except (ValueError, OSError) as error:
            if os.environ.get("AUDIOLLM_DEBUG"):
                raise
            print(complain(name or _file_of(main), error), file=sys.stderr)
            sys.exit(1)

    return wrapped


def _file_of(main: Callable) -> str:
    """The name of the file that a main is in."""
    name = main.__module__.rsplit(".", 1)[-1]
    return os.path.basename(sys.argv[0]).removesuffix(".py") if name == "__main__" else name


def command_line(name: str, argv: Sequence[str] | None) -> str:
    """The command `name` with the words `argv` (None: those of this process), for a report."""
    words = sys.argv[1:] if argv is None else argv
    return shlex.join(["python", "-m", f"{__package__}.{name}", *words])


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help shows the defaults."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )


def add_flag(parser: argparse.ArgumentParser, name: str, help: str) -> None:
    """An option that is "true" or "false" (the default), as in recipes."""
    parser.add_argument(name, choices=("true", "false"), default="false", help=help)


def named(given: Sequence[str]) -> dict[str, str]:
    """{name: directory} of words NAME=DIR.

    Errors (ValueError): one without a name, or a name that comes twice."""
    found: dict[str, str] = {}
    for each in given:
        name, _, directory = each.partition("=")
        if not directory or not name or "/" in name or name in found:
            raise ValueError(f"{each}: give NAME=DIR, each name once and without a slash")
        found[name] = directory
    return found


def add_bootstrap_options(parser: argparse.ArgumentParser) -> None:
    """Add --resamples and --seed of the intervals."""
    parser.add_argument("--resamples", type=int, default=2000, help="of the bootstrap")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")


def check_bootstrap(args: argparse.Namespace) -> None:
    """ValueError: a number of resamples that cannot be."""
    if args.resamples < 1:
        raise ValueError(f"--resamples {args.resamples}: give 1 or more")


def add_system_options(parser: argparse.ArgumentParser, recogniser_for: str) -> None:
    """Which trained system is talked to, and how its models are loaded."""
    add = parser.add_argument
    add("model", help="packed model, or experiment of stage 9 or 5")
    add("--llm", help="Hugging Face id or directory; a packed speech LM is one itself")
    add("--checkpoint", default=AVERAGE, help="file in an experiment (default: %(default)s)")
    add("--recogniser", help=f"experiment of stage 5 that {recogniser_for} asks")
    add("--chat_template", help="Jinja file, when the LLM has none")
    add("--system_prompt", help='system turn ("": an empty one); AudioLLM has that of its training')
    add("--prompt_casing", default=AS_IS, choices=CASINGS, help="of speech that is read as text")
    add("--casing_text", help="truecase: text from which it learns")
    add("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    add("--device", default="cpu", help="cpu or cuda (default: %(default)s)")


def load_chosen_system(args: argparse.Namespace) -> tuple[System, Recogniser | None]:
    """The system of `add_system_options`, and the --recogniser if there is one.

    Errors (ValueError): those of `load_system`, `load_recogniser` and `caser`."""
    from ..infer.recognise import load_recogniser
    from ..infer.systems import kind_of, load_system

    how = {name: getattr(args, name) for name in ("chat_template", "system_prompt", "dtype")}
    how["casing"] = caser(args.prompt_casing, args.casing_text)
    kind = kind_of(args.model)
    system = load_system(kind, args.llm, args.model, args.checkpoint, device=args.device, **how)
    if not args.recogniser:
        return system, None
    return system, load_recogniser(args.recogniser, AVERAGE, device=args.device)


def complain(name: str, error: Exception) -> str:
    """The one line that a failed command prints."""
    return f"{name}: error: {explain(error)}"


def explain(error: Exception) -> str:
    """The error's own sentence, with the next step where the system's message has none."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"{error.filename or 'a file'}: the disk is full or a size limit is reached "
            f"({error.strerror}); nothing half-written is taken for complete: free some space "
            "and run the same command again"
        )
    return str(error)
