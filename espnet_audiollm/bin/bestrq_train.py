"""Train the speech encoder on audio without transcripts, by BEST-RQ (arXiv 2202.01855)."""

from __future__ import annotations

import sys
from functools import partial

from .cli import complain, user_errors


def get_parser():
    """The command line's options."""
    from ..tasks.bestrq import BestRQTask

    return BestRQTask.get_parser()


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Train, as ESPnet's tasks do."""
    from ..train.supervision import report_errors

    with report_errors(partial(complain, "bestrq_train")):
        from ..tasks.bestrq import BestRQTask

        BestRQTask.main(cmd=argv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
