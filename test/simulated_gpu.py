"""A GPU where there is none: which device each tensor is on, and where the host would wait.

Tensors on `cuda` are torch's FakeTensors: shapes, types and devices without values. What is on the
host is computed as ever. So an operation over two devices is an error, as on a GPU; a value that
the host asks for (`.item()`, `nonzero`, a boolean index) is one as well; and copies that the host
waits for are counted. Backward passes and autocast are not possible here.
"""

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

GPU = torch.device("cuda", 0)


class SimulatedGPU(TorchDispatchMode):
    """A context. `waits`: the copies to and from the GPU that the host waits for."""

    def __init__(self):
        super().__init__()
        self.fake = FakeTensorMode()
        self.waits = []

    def __enter__(self):
        self.fake.__enter__()  # keeps torch from looking for a driver
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.fake.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        target = torch.device(kwargs.get("device") or "cpu").type
        places = {t.device.type for t in tensors} | {target}
        if places == {"cpu"}:
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            self.note_copy(tensors, kwargs, args)
        args, kwargs = tree_map_only(torch.Tensor, self.known, (args, kwargs))
        return func(*args, **kwargs)

    def known(self, x: torch.Tensor) -> FakeTensor:
        return x if isinstance(x, FakeTensor) else self.fake.from_tensor(x)

    def note_copy(self, tensors, kwargs, args) -> None:
        ends = [t.device.type for t in tensors]
        if len(tensors) == 1 and kwargs.get("device"):
            ends.append(torch.device(kwargs["device"]).type)
        non_blocking = kwargs.get("non_blocking") or (len(tensors) == 2 and args[2:] == (True,))
        if len(set(ends)) == 2 and not non_blocking:
            self.waits.append(" from ".join(reversed([str(end) for end in ends])))

    def move(self, x: torch.Tensor) -> FakeTensor:
        """`x` on the simulated GPU."""
        known = self.known(x.detach())
        with self.fake:
            return known.to(GPU)

    def move_module(self, module: torch.nn.Module) -> torch.nn.Module:
        """`module`, its parameters and buffers on the simulated GPU."""
        for part in module.modules():
            for name, weight in part._parameters.items():
                if weight is not None:
                    moved = self.move(weight)
                    part._parameters[name] = torch.nn.Parameter(moved, weight.requires_grad)
            for name, buffer in part._buffers.items():
                if buffer is not None:
                    part._buffers[name] = self.move(buffer)
        return module
