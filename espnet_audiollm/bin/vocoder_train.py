"""Train a vocoder: units to log mel energies, with durations, in the voices of the data."""

from __future__ import annotations

import sys

from .training import command

get_parser, main = command("vocoder_train", "vocoder:VocoderTask")

if __name__ == "__main__":
    sys.exit(main())
