#!/usr/bin/env python3
"""The mini recipe's LLM training over this recipe's conversations (chats.py beside this file)."""

from __future__ import annotations

import sys
from pathlib import Path

import chats  # noqa: F401  # this directory's: train_llm imports a module of that name

sys.path.append(str(Path(__file__).resolve().parents[3] / "mini" / "audiollm1" / "local"))

import train_llm  # noqa: E402

if __name__ == "__main__":
    sys.exit(train_llm.main())
