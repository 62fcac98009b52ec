"""Train SoundStorm: semantic units to the levels of a codec, in the voice of a prompt."""

from __future__ import annotations

import sys
from functools import partial

from .cli import complain, user_errors


def get_parser():
    """The command line's options."""
    from ..tasks.soundstorm import SoundStormTask

    return SoundStormTask.get_parser()


@user_errors
def main(argv: list[str] | None = None) -> int:
    """Train, as ESPnet's tasks do."""
    from ..train.supervision import report_errors

    with report_errors(partial(complain, "soundstorm_train")):
        from ..tasks.soundstorm import SoundStormTask

        SoundStormTask.main(cmd=argv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
