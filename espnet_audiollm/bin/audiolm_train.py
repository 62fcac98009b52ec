"""Train the coarse or the fine stage of AudioLM: semantic units to the first levels of a codec, or
these to the others."""

from __future__ import annotations

import sys
from functools import partial

from .cli import complain, user_errors


def get_parser():
    """The command line's options."""
    from ..tasks.audiolm import AudioLMTask

    return AudioLMTask.get_parser()


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Train, as ESPnet's tasks do."""
    from ..train.supervision import report_errors

    with report_errors(partial(complain, "audiolm_train")):
        from ..tasks.audiolm import AudioLMTask

        AudioLMTask.main(cmd=argv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
