"""Training of a discrete speech LM on tasks as token ids (bin/prepare_tasks)."""

from __future__ import annotations

import sys
from functools import partial

from .cli import complain, user_errors


def get_parser():
    """The command line's options."""
    from ..tasks.speechlm import SpeechLMTask

    return SpeechLMTask.get_parser()


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Train, as ESPnet's tasks do."""
    from ..train.supervision import report_errors

    with report_errors(partial(complain, "speechlm_train")):
        from ..tasks.speechlm import SpeechLMTask

        SpeechLMTask.main(cmd=argv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
