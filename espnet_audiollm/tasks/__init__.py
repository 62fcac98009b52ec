"""ESPnet tasks, and what they need of a trainer.

ESPnet is first imported here, without two things that its import would do. Its phoneme converter
fetches dictionaries when it is imported; nothing here uses it, and nothing may be fetched behind
the user's back. And typeguard compiles every function anew, to check the types of its arguments
at each call: half of the time that the import takes (test/bench/bench_import.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec

import typeguard


def _unchecked(target=None, **options):
    """In place of typeguard's decorator."""
    return (lambda decorated: decorated) if target is None else target


@contextmanager
def _plain_import() -> Iterator[None]:
    name = "g2p_en"
    known, checked = sys.modules.get(name), typeguard.typechecked
    sys.modules[name] = known or module_from_spec(ModuleSpec(name, None))
    typeguard.typechecked = _unchecked
    try:
        yield
    finally:
        typeguard.typechecked = checked
        if known is None:
            del sys.modules[name]


with _plain_import():
    import espnet2.tasks.abs_task
    import espnet2.train.preprocessor  # noqa: F401
