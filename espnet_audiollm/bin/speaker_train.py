"""Train a speaker encoder on a data directory with utt2spk: vectors that tell who speaks."""

from __future__ import annotations

import sys
from functools import partial

from .cli import complain, user_errors


def get_parser():
    """The command line's options."""
    from ..tasks.speaker import SpeakerTask

    return SpeakerTask.get_parser()


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Train, as ESPnet's tasks do."""
    from ..train.supervision import report_errors

    with report_errors(partial(complain, "speaker_train")):
        from ..tasks.speaker import SpeakerTask

        SpeakerTask.main(cmd=argv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
