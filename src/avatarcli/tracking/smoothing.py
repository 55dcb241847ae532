"""Smoothing of tracked motion over time, without lag: the one-euro filter run forwards and backwards."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avatarcli.arrays import Float64

# Hertz: how the speed itself is smoothed before it opens the filter (the paper's value).
_SPEED_CUTOFF = 1.0


def smooth(values: Float64, fps: float, *, cutoff: float, opening: float) -> Float64:
    """values [T, D] with their jitter taken off, each of the D on its own.

    cutoff: Hertz, of the low-pass for what hardly moves; opening: Hertz that the cutoff rises per unit of speed (units
    of `values` a second), so that quick motion passes. The mean of a pass forwards and one backwards: the delays of
    the two cancel.

    Source: Casiez, Roussel, Vogel, *1€ Filter*, CHI 2012.
    """
    forwards = _one_euro(values, fps, cutoff, opening)
    backwards = _one_euro(values[::-1], fps, cutoff, opening)[::-1]
    return 0.5 * (forwards + backwards)


def _one_euro(values: Float64, fps: float, cutoff: float, opening: float) -> Float64:
    smoothed = np.array(values, dtype=np.float64)
    speed = np.zeros(values.shape[1:])
    speed_share = _share(np.asarray(_SPEED_CUTOFF), fps)
    for row in range(1, len(values)):
        speed = speed + speed_share * ((values[row] - values[row - 1]) * fps - speed)
        share = _share(cutoff + opening * np.abs(speed), fps)
        smoothed[row] = smoothed[row - 1] + share * (values[row] - smoothed[row - 1])
    return smoothed


def _share(cutoff: Float64, fps: float) -> Float64:
    """How much of a new value a first-order low-pass of this cutoff (Hertz) takes."""
    return np.asarray(1.0 / (1.0 + fps / (2.0 * np.pi * cutoff)))


def fill_gaps(values: Float64, known: NDArray[np.bool_]) -> Float64:
    """values [S, D] of the S rows that are `known` [T], as [T, D]: straight between neighbours, held at the ends."""
    rows = np.arange(len(known))
    return np.stack([np.interp(rows, rows[known], column) for column in values.T], axis=1)
