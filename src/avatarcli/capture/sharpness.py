"""How blurred a face is, and how noisy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve, gaussian_filter, maximum_filter

# Width of the probe as a share of the distance between the eyes, and the share of the face, with the strongest edges, that it
# is put on.
_PROBE, _EDGES = 0.04, 0.15
_FEWEST = 100  # pixels of skin that say anything
# What is left of a picture without its slopes and curves, and the deviation that this makes of noise of 1 (Immerkær, Fast
# noise variance estimation, 1996).
_UNSMOOTH, _UNSMOOTH_NOISE = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0]), 6.0
_MEDIAN_NOISE = 0.6745  # the median size of normal noise, in standard deviations

Float = NDArray[np.float64]


def edge_blur(image: NDArray[np.uint8], skin: NDArray[np.bool_], eyes: float) -> float:
    """The width (sigma, pixels) of the blur of the strongest edges among the pixels `skin` [S, S]; NaN when there are few.

    image [S, S, 3]; eyes: distance between the eyes, pixels.

    An edge blurred by sigma has the energy of gradients ∝ 1 / sigma, blurred again by s ∝ 1 / √(sigma² + s²): the ratio
    of the two tells sigma, whatever the edge's contrast (after Zhuo and Sim, Defocus map estimation, 2011).
    """
    return _edge_width(image, skin, eyes, (0, 1))


def smear(image: NDArray[np.uint8], skin: NDArray[np.bool_], eyes: float) -> float:
    """As `edge_blur`, across or along the picture, whichever is blurred more: a head that moves keeps half of its edges."""
    return max(_edge_width(image, skin, eyes, (axis,)) for axis in (0, 1))


def noise_level(image: NDArray[np.uint8], skin: NDArray[np.bool_]) -> float:
    """The standard deviation of the noise, in 8-bit levels, on the pixels `skin` [S, S] of a picture [S, S, 3]; NaN when there
    are few. Most of skin is smooth, so what is not is noise."""
    if skin.sum() < _FEWEST:
        return math.nan
    left = convolve(image.mean(-1, dtype=np.float64), _UNSMOOTH)
    return float(np.median(np.abs(left[skin]))) / (_UNSMOOTH_NOISE * _MEDIAN_NOISE)


def _edge_width(image: NDArray[np.uint8], skin: NDArray[np.bool_], eyes: float, axes: tuple[int, ...]) -> float:
    """axes: of the picture, along which its gradients count."""
    if skin.sum() < _FEWEST:
        return math.nan
    probe = max(1.0, _PROBE * eyes)
    grey = image.mean(-1, dtype=np.float64)
    once, twice = _energy(grey, axes), _energy(gaussian_filter(grey, probe), axes)
    edges = skin & (twice >= np.quantile(twice[skin], 1 - _EDGES))
    edges = skin & maximum_filter(edges, 2 * round(2 * probe) + 1)
    ratio = float(once[edges].sum() / max(twice[edges].sum(), 1e-9))
    return probe / math.sqrt(max(ratio**2 - 1, 1e-3))


def _energy(grey: Float, axes: tuple[int, ...]) -> Float:
    slopes = np.stack([np.gradient(grey, axis=axis) for axis in axes])
    return np.asarray(np.square(slopes).sum(0))
