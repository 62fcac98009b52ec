"""Train a speaker encoder on a data directory with utt2spk: vectors that tell who speaks."""

from __future__ import annotations

import sys

from .training import command

get_parser, main = command("speaker_train", "speaker:SpeakerTask")

if __name__ == "__main__":
    sys.exit(main())
