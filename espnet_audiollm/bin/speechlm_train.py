"""Training of a discrete speech LM on tasks as token ids (bin/prepare_tasks)."""

from __future__ import annotations

import sys

from .training import command

get_parser, main = command("speechlm_train", "speechlm:SpeechLMTask")

if __name__ == "__main__":
    sys.exit(main())
