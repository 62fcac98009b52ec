"""Layers that torch.compile turns into fewer kernels.

A decoder layer computes matrices, which are fast, and some forty small operations on entire
activations (norms, rotations, the gate), each a pass over memory. Compiled, these become a few.
Layers of one kind share what was compiled; lengths are variables of it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch


def compile_layers(layers: Iterable[torch.nn.Module]) -> None:
    """From now on the layers run compiled; the first batches take a minute for it.

    Where compiling fails (no C compiler, say), torch warns and runs the layer as it is."""
    torch._dynamo.config.suppress_errors = True
    for layer in layers:
        layer.forward = torch.compile(layer.forward, dynamic=True)
