"""Arithmetic that a GPU should do in one go."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

COMPILE_VARIABLE = "AVATAR_STUDIO_COMPILE"
_P = ParamSpec("_P")
_R = TypeVar("_R")


def fused(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """A function of tensors that is compiled into few kernels when its first argument (a tensor, or an object of some) lies on
    a GPU and AVATAR_STUDIO_COMPILE is 1.

    Run one operation at a time, a GPU spends some of its time on starting kernels and on carrying what is in between to memory
    and back. But compiling takes seconds a function, two minutes before the first sample, in every process that renders: it
    only pays where one process draws for hours. A CPU always runs the function as it stands.
    """

    @functools.cache
    def compiled() -> Callable[_P, _R]:
        return torch.compile(function, dynamic=True)

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if os.environ.get(COMPILE_VARIABLE) != "1":
            return function(*args, **kwargs)
        parts = [args[0]] if isinstance(args[0], Tensor) else vars(args[0]).values()
        if any(isinstance(part, Tensor) and part.is_cuda for part in parts):
            return compiled()(*args, **kwargs)
        return function(*args, **kwargs)

    return call
