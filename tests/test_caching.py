"""What is kept: made once, for whom it was made, and no longer than that."""

from __future__ import annotations

import gc
import weakref

import torch
from torch import Tensor

from avatarcli.caching import constant, once_each


def test_a_constant_is_made_once_and_can_be_trained_with() -> None:
    calls = []

    @constant
    def ramp(count: int, device: torch.device) -> Tensor:
        calls.append(count)
        return torch.arange(count, dtype=torch.float32, device=device)

    cpu = torch.device("cpu")
    with torch.inference_mode():
        first = ramp(3, cpu)
    assert ramp(3, cpu) is first
    assert ramp(4, cpu).tolist() == [0, 1, 2, 3]
    assert calls == [3, 4]
    weight = torch.ones(3, requires_grad=True)
    (weight * first).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [0, 1, 2]


class Owner:
    def __init__(self, value: int) -> None:
        self.value = value


def test_results_live_as_long_as_their_owner() -> None:
    calls = []

    @once_each
    def times(owner: Owner, factor: int, *, more: int = 0) -> Tensor:
        calls.append(factor)
        return torch.tensor(owner.value * factor + more)

    one, other = Owner(2), Owner(3)
    assert times(one, 5).item() == times(one, 5).item() == 10
    assert times(one, 5, more=1).item() == 11
    assert times(other, 5).item() == 15
    assert calls == [5, 5, 5]
    result = weakref.ref(times(one, 5))
    del one
    gc.collect()
    assert result() is None
