"""CTC pretraining (stages 4 and 5)."""

from __future__ import annotations

import sys
from functools import partial

from .cli import complain, user_errors


def get_parser():
    """The command line's options."""
    from ..tasks.ctc import CTCTask

    return CTCTask.get_parser()


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Train, as ESPnet's tasks do."""
    from ..train.supervision import report_errors

    with report_errors(partial(complain, "ctc_train")):
        from ..tasks.ctc import CTCTask

        CTCTask.main(cmd=argv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
