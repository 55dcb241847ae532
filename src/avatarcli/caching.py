"""Results that are worth keeping: small constants of each device, and what belongs to an object for as long as it lives."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

_P = ParamSpec("_P")
_Owner = TypeVar("_Owner")
_R = TypeVar("_R")


def constant(function: Callable[_P, Tensor]) -> Callable[_P, Tensor]:
    """A function whose tensors are made once for the same (hashable) arguments and never written to.

    They are made outside inference mode, even when first asked for inside it: training may need them next. Sent to a GPU anew,
    a handful of numbers costs more than what is done with them.
    """

    kept: dict[Hashable, Tensor] = {}

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> Tensor:
        key = (args, tuple(kwargs.items()))
        if key not in kept:
            with torch.inference_mode(False), torch.no_grad():
                kept[key] = function(*args, **kwargs)
        return kept[key]

    return call


def once_each(function: Callable[Concatenate[_Owner, _P], _R]) -> Callable[Concatenate[_Owner, _P], _R]:
    """A function of an object, hashed by identity, and hashable arguments, whose result is kept while that object lives.

    The result must not refer to the object, or both live for ever.
    """
    kept: weakref.WeakKeyDictionary[Any, dict[Hashable, _R]] = weakref.WeakKeyDictionary()

    def call(owner: _Owner, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        results = kept.setdefault(owner, {})
        key = (args, tuple(kwargs.items()))
        if key not in results:
            results[key] = function(owner, *args, **kwargs)
        return results[key]

    return functools.update_wrapper(call, function)
