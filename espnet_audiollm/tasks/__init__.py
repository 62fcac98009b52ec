"""ESPnet tasks, and what they need of a trainer.

ESPnet is first imported here, without three things that its import would do. Its phoneme converter
fetches dictionaries when it is imported; nothing here uses it, and nothing may be fetched behind
the user's back. Its plots of attention know a module of speech synthesis, whose import brings all
of that and numba: 100 MB in each process. And typeguard compiles every function anew, to check the
types of its arguments at each call: half of the time that the import takes
(test/bench/bench_import.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec

import torch
import typeguard


def _unchecked(target=None, **options):
    """In place of typeguard's decorator."""
    return (lambda decorated: decorated) if target is None else target


class _Alignment:
    """In place of ESPnet's AlignmentModule: no model here has one."""


# modules that stay out: what ESPnet takes from each as it is imported
_LEFT_OUT: dict[str, dict[str, object]] = {
    "g2p_en": {},
    "espnet2.gan_tts": {},
    "espnet2.gan_tts.jets": {},
    "espnet2.gan_tts.jets.alignments": {"AlignmentModule": _Alignment},
}


@contextmanager
def _plain_import() -> Iterator[None]:
    added = {name: content for name, content in _LEFT_OUT.items() if not sys.modules.get(name)}
    checked = typeguard.typechecked
    for name, content in added.items():
        sys.modules[name] = module_from_spec(ModuleSpec(name, None))
        vars(sys.modules[name]).update(content)
    typeguard.typechecked = _unchecked
    try:
        yield
    finally:
        typeguard.typechecked = checked
        for name in added:
            del sys.modules[name]


with _plain_import():
    import espnet2.tasks.abs_task
    import espnet2.train.preprocessor  # noqa: F401

# torch has it since 2.5, and ESPnet's table does not name it
espnet2.tasks.abs_task.optim_classes["adafactor"] = torch.optim.Adafactor
