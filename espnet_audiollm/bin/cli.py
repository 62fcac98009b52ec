"""What every command line of the project shares."""

from __future__ import annotations

import argparse
import errno
import functools
import os
import sys
from collections.abc import Callable


def user_errors(main: Callable) -> Callable:
    """Turn an error that the user can correct into one sentence on stderr and exit status 1.

    AUDIOLLM_DEBUG=1 in the environment shows the traceback instead."""

    @functools.wraps(main)
    def wrapped(*args, **kwargs):
        try:
            return main(*args, **kwargs)
        except (ValueError, OSError) as error:
            if os.environ.get("AUDIOLLM_DEBUG"):
                raise
            name = main.__module__.rsplit(".", 1)[-1]
            if name == "__main__":
                name = os.path.basename(sys.argv[0]).removesuffix(".py")
            print(complain(name, error), file=sys.stderr)
            sys.exit(1)

    return wrapped


def add_flag(parser: argparse.ArgumentParser, name: str, help: str) -> None:
    """An option that is "true" or "false" (the default), as in recipes."""
    parser.add_argument(name, choices=("true", "false"), default="false", help=help)


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
