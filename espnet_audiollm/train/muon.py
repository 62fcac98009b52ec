"""Muon (Jordan et al., 2024): momentum, made orthogonal, for the matrices inside a network.

What is no such matrix (embeddings, output layers, biases, norms) goes AdamW's way in the same
optimizer. torch.optim.Muon takes only matrices, one after the other and always in bfloat16, which
a CPU without such instructions emulates slowly; this one treats all matrices of one shape at once.
"""

# N matrices of R rows and C columns, R <= C

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch

from .precision import cpu_has_bfloat16

# The quintic x -> a x + b x^3 + c x^5 drives singular values between 0 and 1 towards 1, and five
# rounds leave them between 0.7 and 1.2.
QUINTIC = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
SMALLEST = 16  # rows: AdamW serves matrices with fewer as well
MATRICES = "speech_encoder"  # the part of a model whose matrices are moved


def orthogonalize(matrices_NRC: torch.Tensor) -> torch.Tensor:
    """The nearest matrices (roughly) whose singular values are all 1, in the input's dtype.

    A round takes X to p(X X^T) X. In float32, where rounding allows it, wide matrices are read only
    for the first X X^T and for the product at the end; between, the rounds are of R x R."""
    x_NRC = matrices_NRC / (matrices_NRC.norm(dim=(1, 2), keepdim=True) + 1e-7)
    rows, columns = x_NRC.shape[1:]
    if x_NRC.dtype == torch.float32 and columns >= 2 * rows:
        return _product_of_rounds(x_NRC @ x_NRC.mT) @ x_NRC
    for _ in range(ROUNDS):
        x_NRC = torch.baddbmm(x_NRC, _polynomial(x_NRC @ x_NRC.mT), x_NRC, beta=QUINTIC[0])
    return x_NRC


def _polynomial(gram_NRR: torch.Tensor) -> torch.Tensor:
    """b G + c G^2."""
    _, b, c = QUINTIC
    return torch.baddbmm(gram_NRR, gram_NRR, gram_NRR, beta=b, alpha=c)


def _product_of_rounds(gram_NRR: torch.Tensor) -> torch.Tensor:
    """The product of all rounds' p(G), G = X X^T of the X that each of them meets."""
    round_NRR = product_NRR = _round(gram_NRR)
    for _ in range(ROUNDS - 1):
        gram_NRR = round_NRR @ gram_NRR @ round_NRR
        round_NRR = _round(gram_NRR)
        product_NRR = round_NRR @ product_NRR
    return product_NRR


def _round(gram_NRR: torch.Tensor) -> torch.Tensor:
    """p(G) = a + b G + c G^2."""
    round_NRR = _polynomial(gram_NRR)
    round_NRR.diagonal(dim1=1, dim2=2).add_(QUINTIC[0])
    return round_NRR


class Muon(torch.optim.AdamW):
    """AdamW whose groups with `orthogonal: True` move by orthogonalised momentum.

    The learning rate and the weight decay mean the same for both: an orthogonal update's entries
    have a root mean square of 0.2 x the rate, about as large as AdamW's.

    Args:
        params: parameters, or groups of them; those of an orthogonal group have two or more
            dimensions, and all but the first count as columns (a convolution's kernels).
        momentum: of the orthogonal groups (Nesterov's form).
        low_precision: orthogonalise in bfloat16 (None: where the hardware has it).
        other arguments: AdamW's.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        momentum: float = 0.95,
        low_precision: bool | None = None,
        **adamw,
    ):
        super().__init__(params, lr=lr, **adamw)
        self.defaults["orthogonal"] = False
        for group in self.param_groups:
            group.setdefault("orthogonal", False)
        self.momentum, self.low_precision = momentum, low_precision

    @torch.no_grad()
    def step(self, closure: Callable | None = None):
        """Move the parameters against their gradients."""
        assert closure is None
        kept = []
        for group in self.param_groups:
            if group["orthogonal"]:
                moved = [p for p in group["params"] if p.grad is not None]
                self._move(moved, group["lr"], group["weight_decay"])
                kept += [(p, p.grad) for p in moved]
        for parameter, _ in kept:
            parameter.grad = None  # AdamW passes over these
        super().step()
        for parameter, gradient in kept:
            parameter.grad = gradient

    def _move(self, parameters: list[torch.nn.Parameter], rate: float, weight_decay: float) -> None:
        """One update of matrices, those of the same shape together."""
        alike: dict[tuple, list[torch.nn.Parameter]] = defaultdict(list)
        for parameter in parameters:
            alike[(wide(parameter).shape, parameter.device)].append(parameter)
        for (shape, device), group in alike.items():
            updates_NRC = orthogonalize(self._directions(group).to(self._dtype(device)))
            for parameter, update_RC in zip(group, updates_NRC, strict=True):
                parameter.mul_(1 - rate * weight_decay)
                wide(parameter).sub_(update_RC, alpha=rate * 0.2 * max(shape) ** 0.5)

    def _directions(self, parameters: list[torch.nn.Parameter]) -> torch.Tensor:
        """(N, R, C): gradients with their momentum."""
        directions = []
        for parameter in parameters:
            state, gradient = self.state[parameter], parameter.grad
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(parameter)
                state["step"] = torch.tensor(0.0)  # AdamW looks for it when states are loaded
            state["step"] += 1
            velocity = state["momentum"].lerp_(gradient, 1 - self.momentum)
            directions.append(wide(torch.lerp(gradient, velocity, self.momentum)))
        return torch.stack(directions)

    def _dtype(self, device: torch.device) -> torch.dtype:
        """In which the momentum is made orthogonal."""
        low = self.low_precision
        if low is None:
            low = device.type != "cpu" or cpu_has_bfloat16()
        return torch.bfloat16 if low else torch.float32


def wide(parameter: torch.Tensor) -> torch.Tensor:
    """A view as a matrix (R, C) with no more rows than columns."""
    matrix = parameter.flatten(1)
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT


def groups(named: Iterable[tuple[str, torch.nn.Parameter]], inside: str) -> list[dict]:
    """Groups for `Muon`: the matrices of the module named `inside`, and all other parameters.

    ValueError: there is no such matrix."""
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in named:
        matrix = name.startswith(f"{inside}.") and parameter.dim() >= 2
        matrix = matrix and wide(parameter).shape[0] >= SMALLEST
        (matrices if matrix else others).append(parameter)
    if not matrices:
        raise ValueError(
            f"--optim muon moves matrices of {inside}, and none of at least {SMALLEST} rows is "
            "trained there: give --optim adamw"
        )
    return [
        {"params": matrices, "orthogonal": True},
        {"params": others, "orthogonal": False},
    ]
