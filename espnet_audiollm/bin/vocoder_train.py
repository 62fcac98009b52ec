"""Train a vocoder: units to log mel energies, with durations, in the voices of the data."""

from __future__ import annotations

import sys
from functools import partial

from .cli import complain, user_errors


def get_parser():
    """The command line's options."""
    from ..tasks.vocoder import VocoderTask

    return VocoderTask.get_parser()


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Train, as ESPnet's tasks do."""
    from ..train.supervision import report_errors

    with report_errors(partial(complain, "vocoder_train")):
        from ..tasks.vocoder import VocoderTask

        VocoderTask.main(cmd=argv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
