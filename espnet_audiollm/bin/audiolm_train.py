"""Train the coarse or the fine stage of AudioLM: semantic units to the first levels of a codec, or
these to the others."""

from __future__ import annotations

import sys

from .training import command

get_parser, main = command("audiolm_train", "audiolm:AudioLMTask")

if __name__ == "__main__":
    sys.exit(main())
