"""How blurred a face is."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter

# Width of the probe as a share of the distance between the eyes, and the share of the face, with the strongest edges, that it
# is put on.
_PROBE, _EDGES = 0.04, 0.15


def edge_blur(image: NDArray[np.uint8], skin: NDArray[np.bool_], eyes: float) -> float:
    """The width (sigma, pixels) of the blur of the strongest edges among the pixels `skin` [S, S]; NaN when there are few.

    image [S, S, 3]; eyes: distance between the eyes, pixels.

    An edge blurred by sigma has the energy of gradients ∝ 1 / sigma, blurred again by s ∝ 1 / √(sigma² + s²): the ratio
    of the two tells sigma, whatever the edge's contrast (after Zhuo and Sim, Defocus map estimation, 2011).
    """
    if skin.sum() < 100:
        return math.nan
    probe = max(1.0, _PROBE * eyes)
    grey = image.mean(-1, dtype=np.float64)
    once, twice = _gradient(grey), _gradient(gaussian_filter(grey, probe))
    edges = skin & (twice >= np.quantile(twice[skin], 1 - _EDGES))
    edges = skin & maximum_filter(edges, 2 * round(2 * probe) + 1)
    ratio = float(once[edges].sum() / max(twice[edges].sum(), 1e-9))
    return probe / math.sqrt(max(ratio**2 - 1, 1e-3))


def _gradient(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = np.gradient(grey)
    return np.asarray(rows**2 + columns**2)
