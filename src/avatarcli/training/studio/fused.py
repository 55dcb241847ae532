"""Arithmetic that a GPU should do in one go."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

_P = ParamSpec("_P")
_R = TypeVar("_R")


def fused(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """A function of tensors that is compiled into few kernels when its first argument (a tensor, or an object of some) lies on
    a GPU.

    Run one operation at a time, a GPU spends its time on starting kernels and on carrying what is in between to memory and
    back. A CPU runs the function as it stands: tests need no compiler, and the caches hold what is in between. Compiling takes
    a few seconds a function, once a machine (torch keeps the result); TORCHDYNAMO_DISABLE=1 turns it off.
    """

    @functools.cache
    def compiled() -> Callable[_P, _R]:
        return torch.compile(function, dynamic=True)

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        parts = [args[0]] if isinstance(args[0], Tensor) else vars(args[0]).values()
        if any(isinstance(part, Tensor) and part.is_cuda for part in parts):
            return compiled()(*args, **kwargs)
        return function(*args, **kwargs)

    return call
