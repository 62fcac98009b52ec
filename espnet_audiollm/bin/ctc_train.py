"""CTC pretraining (stages 4 and 5)."""

from __future__ import annotations

import sys

from .training import command

get_parser, main = command("ctc_train", "ctc:CTCTask")

if __name__ == "__main__":
    sys.exit(main())
