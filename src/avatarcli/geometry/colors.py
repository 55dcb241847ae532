"""Logarithms of colours, in which light that is twice as strong is a step of the same size everywhere."""

from __future__ import annotations

from torch import Tensor

COLOR_FLOOR = 0.04  # added before logarithms are taken, so that neither black nor its noise decides


def log_colors(colors: Tensor) -> Tensor:
    """Logarithms of colours in [0, 1], black not far below dark."""
    return (colors.clamp(min=0) + COLOR_FLOOR).log()


def from_log_colors(logs: Tensor) -> Tensor:
    """Colours in [0, 1] of their `log_colors`."""
    return (logs.exp() - COLOR_FLOOR).clamp(0, 1)
