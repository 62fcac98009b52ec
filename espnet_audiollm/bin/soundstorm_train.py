"""Train SoundStorm: semantic units to the levels of a codec, in the voice of a prompt."""

from __future__ import annotations

import sys

from .training import command

get_parser, main = command("soundstorm_train", "soundstorm:SoundStormTask")

if __name__ == "__main__":
    sys.exit(main())
