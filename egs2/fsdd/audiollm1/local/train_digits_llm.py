#!/usr/bin/env python3
"""The mini recipe's LLM training over this recipe's world (world.py beside this file)."""

from __future__ import annotations

import sys
from pathlib import Path

import world  # this directory's: train_llm imports a module of that name

sys.path.append(str(Path(__file__).resolve().parents[3] / "mini" / "audiollm1" / "local"))

import train_llm  # noqa: E402

train_llm.SHARES = {name: share for name, (_, share) in world.CATEGORIES.items()}

if __name__ == "__main__":
    sys.exit(train_llm.main())
