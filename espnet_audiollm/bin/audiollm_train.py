"""Alignment with the frozen LLM (stages 8 and 9)."""

from __future__ import annotations

import sys

from .training import command

get_parser, main = command("audiollm_train", "audiollm:AudioLLMTask")

if __name__ == "__main__":
    sys.exit(main())
