"""Fingerprints of weights that were computed before, in a cache of the user's own.

    ~/.cache/espnet_audiollm/fingerprints/    or under XDG_CACHE_HOME; a file for each directory

A fingerprint is over all weights, and reading them takes longer than loading does. It is known
again while every file beside the weights has the same name, size, number (inode), and times of
change in nanoseconds: that of its contents, which a program may set back, and that of its inode,
which none may. Files that changed within the last seconds are not trusted: another change might
have the same time. A cache that cannot be read or written costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from ..types import Seconds
from .atomic import atomic_write
from .json_files import parse_json

PATTERNS = ("*.safetensors", "*.bin", "*.json")  # weights, and what says how they are read
ELSEWHERE = "adapter_config.json"  # names weights in another directory
SETTLED: Seconds = 10.0  # coarser than the clock of any file system


class KnownWeights:
    """The fingerprint of the weights in a directory. To be made before they are loaded.

    directory: None: it is not known which. what: all else that the fingerprint depends on."""

    def __init__(self, directory: Path | None, what: str):
        self._directory, self._what = directory, what
        self._before = self._stamp()

    def fingerprint(self, compute: Callable[[], str]) -> str:
        """As computed before, or by `compute` from what was loaded."""
        if self._before is None:
            return compute()
        if (known := self._recall()) and self._stamp() == self._before:
            return known
        found = compute()
        if self._stamp() == self._before:
            self._remember(found)
        return found

    def _stamp(self) -> str | None:
        """What identifies the files' contents; None: nothing does."""
        if self._directory is None or (self._directory / ELSEWHERE).exists():
            return None
        try:
            files = sorted(file for each in PATTERNS for file in self._directory.glob(each))
            stats = [(file.name, file.stat()) for file in files]
        except OSError:
            return None
        newest = max((max(s.st_mtime_ns, s.st_ctime_ns) for _, s in stats), default=None)
        if newest is None or time.time_ns() - newest < SETTLED * 1e9:
            return None
        facts = [[n, s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns] for n, s in stats]
        return json.dumps([self._what, facts])

    def _place(self) -> Path:
        """The file of the cache. Errors (RuntimeError): there is no home directory."""
        assert self._directory is not None
        own = os.environ.get("XDG_CACHE_HOME", "")
        cache = Path(own) if os.path.isabs(own) else Path.home() / ".cache"
        name = hashlib.sha256(f"{self._directory.resolve()} {self._what}".encode()).hexdigest()
        return cache / "espnet_audiollm" / "fingerprints" / f"{name[:32]}.json"

    def _recall(self) -> str | None:
        try:
            found = parse_json(self._place().read_bytes())
            stamp, fingerprint = found["stamp"], found["fingerprint"]
        except (OSError, ValueError, RuntimeError, TypeError, KeyError):
            return None
        right = stamp == self._before and re.fullmatch("[0-9a-f]{64}", str(fingerprint))
        return fingerprint if right else None

    def _remember(self, fingerprint: str) -> None:
        try:
            place = self._place()
            place.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(place) as out:
                json.dump({"stamp": self._before, "fingerprint": fingerprint}, out)
        except (OSError, RuntimeError):
            pass  # the next one computes again
