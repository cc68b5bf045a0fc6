"""Muon for many small matrices: orthogonalised momentum, one stacked product per shape.

The same update as torch.optim.Muon with `adjust_lr_fn="match_rms_adamw"`, but matrices of one shape
go through the Newton-Schulz iteration together, which on a CPU costs a fraction.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

# Coefficients of the quintic iteration that pushes all singular values towards one.
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class StackedMuon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; rates are comparable to AdamW's."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(parameter.shape, []).append(parameter)
            for parameters in shapes.values():
                self._update(parameters, group["lr"], group["momentum"], group["weight_decay"])

    def _update(self, parameters: list[Tensor], rate: float, momentum: float, decay: float) -> None:
        gradients = [parameter.grad for parameter in parameters]
        buffers = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        ahead_NRC = torch.stack(torch._foreach_lerp(gradients, buffers, momentum))
        steps_NRC = orthogonalise(ahead_NRC)
        rows, columns = parameters[0].shape
        size = 0.2 * max(rows, columns) ** 0.5
        torch._foreach_mul_(parameters, 1 - rate * decay)
        torch._foreach_add_(parameters, list(steps_NRC.unbind(0)), alpha=-rate * size)


def orthogonalise(matrices_NRC: Tensor) -> Tensor:
    """The nearest matrices with singular values of about one."""
    a, b, c = QUINTIC
    tall = matrices_NRC.shape[1] > matrices_NRC.shape[2]
    x_NRC = matrices_NRC.transpose(1, 2) if tall else matrices_NRC
    x_NRC = x_NRC / (x_NRC.norm(dim=(1, 2), keepdim=True) + 1e-7)
    x_NRC = x_NRC.bfloat16()
    for _ in range(ITERATIONS):
        square_NRR = x_NRC @ x_NRC.transpose(1, 2)
        poly_NRR = torch.baddbmm(square_NRR, square_NRR, square_NRR, beta=b, alpha=c)
        x_NRC = torch.baddbmm(x_NRC, poly_NRR, x_NRC, beta=a)
    result_NRC = x_NRC.float()
    return result_NRC.transpose(1, 2) if tall else result_NRC
