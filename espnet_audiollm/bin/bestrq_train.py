"""Train the speech encoder on audio without transcripts, by BEST-RQ (arXiv 2202.01855)."""

from __future__ import annotations

import sys

from .training import command

get_parser, main = command("bestrq_train", "bestrq:BestRQTask")

if __name__ == "__main__":
    sys.exit(main())
