"""The optimiser of a fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

_BETAS, _EPS = (0.9, 0.99), 1e-15


@dataclass
class Moments:
    """What Adam remembers of one parameter, by torch's names. step []: how many it took; exp_avg, exp_avg_sq, of its shape: means
    of its gradients and of their squares."""

    step: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor


class Adam:
    """Adam (Kingma and Ba 2015) of named parameters, each with a rate of its own at every step.

    It calls torch's own kernel: `torch.optim.Adam` does too, but loads torch's compiler when it is first made, which takes seconds,
    and looks at every parameter's settings at every step, which takes longer than a GPU needs for the step.
    """

    def __init__(self) -> None:
        self.moments: dict[str, Moments] = {}

    @torch.no_grad()
    def step(self, parameters: dict[str, Tensor], rates: dict[str, float]) -> None:
        """Change the parameters, in their place, by their gradients; those without one stay. rates: in the parameters' units."""
        changed = {name: parameter for name, parameter in parameters.items() if parameter.grad is not None}
        if not changed:
            return
        for name, parameter in changed.items():
            if name not in self.moments:
                zeros = torch.zeros_like(parameter)
                self.moments[name] = Moments(zeros.new_zeros(()), zeros, zeros.clone())
        torch._foreach_add_([self.moments[name].step for name in changed], 1)
        for name, parameter in changed.items():
            moments, gradient = self.moments[name], parameter.grad
            assert gradient is not None
            torch._fused_adam_(
                [parameter],
                [gradient],
                [moments.exp_avg],
                [moments.exp_avg_sq],
                [],
                [moments.step],
                lr=rates[name],
                beta1=_BETAS[0],
                beta2=_BETAS[1],
                weight_decay=0.0,
                eps=_EPS,
                amsgrad=False,
                maximize=False,
            )

    def rearrange(self, names: Iterable[str], source: Tensor) -> None:
        """Take the rows `source` [G'] of what is remembered of some parameters."""
        for name in self.moments.keys() & set(names):
            moments = self.moments[name]
            self.moments[name] = Moments(moments.step, moments.exp_avg[source], moments.exp_avg_sq[source])
