"""What every command line of the project shares."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable


def user_errors(main: Callable) -> Callable:
    """Turn an error that the user can mend into one sentence on stderr and exit status 1.

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
            print(f"{name}: error: {error}", file=sys.stderr)
            sys.exit(1)

    return wrapped
