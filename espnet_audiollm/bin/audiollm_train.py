"""Alignment with the frozen LLM (stages 8 and 9)."""

from __future__ import annotations

import sys
from functools import partial

from .cli import complain, user_errors


def get_parser():
    """The command line's options."""
    from ..tasks.audiollm import AudioLLMTask

    return AudioLLMTask.get_parser()


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Train, as ESPnet's tasks do."""
    from ..train.supervision import report_errors

    with report_errors(partial(complain, "audiollm_train")):
        from ..tasks.audiollm import AudioLLMTask

        AudioLLMTask.main(cmd=argv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
