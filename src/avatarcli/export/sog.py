"""SOG: PlayCanvas' compressed Gaussians, smaller than SPZ and closer: quantised values as lossless WebP pictures in a ZIP.

One pixel is one Gaussian, the same in every picture. Positions are 16 bits on a logarithmic scale; scales and colors are
indices into tables of 256 values; rotations are the three smallest components and the number of the largest. Gaussians
go into the pictures along a Z-order curve, so that neighbours in a picture are alike and compress well.

Source: developer.playcanvas.com, "The SOG Format", version 2.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from avatarcli.arrays import Bytes, Float64
from avatarcli.export.origin import Origin
from avatarcli.gaussians.avatar import SH_C0, Splats
from avatarcli.geometry import space

_VERSION = 2
_TABLE = 256  # values that an index of 8 bits reaches
_ROUNDS = 12  # of k-means; the tables hardly change after
_BINS = 8192  # of the histogram that stands for the values in k-means
_FIRST_ROTATION_MARK = 252  # alpha of a rotation's pixel: this and the number (wxyz) of the component left out
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # same in, same out


def write_sog(path: Path, splats: Splats, origin: Origin) -> None:
    """Write Gaussians in the world that readers expect (y down, see `axes`). Raises OSError."""
    means, quaternions, scales, opacities, colors = (t.detach().double().cpu().numpy() for t in splats)
    order = z_order(means)
    positions, low, high = _positions(means[order])
    scale_table, scale_index = table_of(np.log(scales[order]))
    color_table, color_index = table_of((colors[order] - 0.5) / SH_C0)
    opacity = np.rint(opacities[order] * 255).clip(0, 255).astype(np.uint8)
    pictures = {
        "means_l.webp": (positions & 0xFF).astype(np.uint8),
        "means_u.webp": (positions >> 8).astype(np.uint8),
        "scales.webp": scale_index,
        "quats.webp": _rotations(quaternions[order]),
        "sh0.webp": np.concatenate([color_index, opacity[:, None]], axis=1),
    }
    meta: dict[str, Any] = {
        "version": _VERSION,
        "asset": {
            "generator": origin.tool,
            "copyright": origin.statement(),
            "extras": json.loads(origin.to_json()),
        },
        "count": len(means),
        "means": {"mins": low.tolist(), "maxs": high.tolist(), "files": ["means_l.webp", "means_u.webp"]},
        "scales": {"codebook": scale_table.tolist(), "files": ["scales.webp"]},
        "quats": {"files": ["quats.webp"]},
        "sh0": {"codebook": color_table.tolist(), "files": ["sh0.webp"]},
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("meta.json", _ZIP_TIME), json.dumps(meta))
        for name, pixels in pictures.items():
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), _webp(pixels))


def z_order(points: Float64) -> npt.NDArray[np.int64]:
    """The order of points [G, 3] along a Z-order (Morton) curve through their box, 10 bits an axis."""
    low, high = points.min(0), points.max(0)
    cells = ((points - low) / np.maximum(high - low, 1e-12) * 1023).astype(np.int64)
    order: npt.NDArray[np.int64] = space.z_order(torch.from_numpy(cells)).numpy()
    return order


def table_of(values: Float64) -> tuple[Float64, Bytes]:
    """Up to 256 values that stand for all the values [...], ascending, and the index of the nearest for each [...].

    k-means in one dimension (Lloyd) on a histogram, begun with quantiles.
    """
    flat = values.ravel()
    counts, edges = np.histogram(flat, _BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    table = np.quantile(flat, (np.arange(_TABLE) + 0.5) / _TABLE)
    for _ in range(_ROUNDS):
        nearest = np.searchsorted((table[:-1] + table[1:]) / 2, centres)
        weight = np.bincount(nearest, counts, minlength=_TABLE)
        total = np.bincount(nearest, counts * centres, minlength=_TABLE)
        table = np.sort(np.where(weight > 0, total / np.maximum(weight, 1), table))
    index = np.searchsorted((table[:-1] + table[1:]) / 2, flat).astype(np.uint8)
    return table, index.reshape(values.shape)


def _positions(means: Float64) -> tuple[npt.NDArray[np.int64], Float64, Float64]:
    """16-bit positions [G, 3] on the scale sign(x) · log(1 + |x|), and the scale's ends [3]."""
    logarithms = np.sign(means) * np.log1p(np.abs(means))
    low, high = logarithms.min(0), logarithms.max(0)
    steps = (logarithms - low) / np.maximum(high - low, 1e-12) * 65535
    return np.rint(steps).astype(np.int64), low, high


def _rotations(quaternions: Float64) -> Bytes:
    """Quaternions [G, 4] (wxyz, any positive length) as pixels [G, 4]."""
    unit = quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)
    rows = np.arange(len(unit))
    largest = np.abs(unit).argmax(1)
    unit = unit * np.where(unit[rows, largest] < 0, -1.0, 1.0)[:, None]
    others = np.array([[axis for axis in range(4) if axis != left_out] for left_out in range(4)])[largest]
    # None of the three can be longer than √½.
    three = unit[rows[:, None], others] * np.sqrt(0.5) + 0.5
    return np.concatenate([np.rint(three * 255), _FIRST_ROTATION_MARK + largest[:, None]], axis=1).astype(np.uint8)


def _webp(pixels: Bytes) -> bytes:
    """A square-ish lossless picture of pixels [G, 3 or 4], the rest of its last row zero."""
    width = int(np.ceil(np.sqrt(len(pixels))))
    height = int(np.ceil(len(pixels) / width))
    picture = np.zeros((width * height, pixels.shape[1]), np.uint8)
    picture[: len(pixels)] = pixels
    stream = io.BytesIO()
    # exact: colors under alpha 0 are data here.
    Image.fromarray(picture.reshape(height, width, -1)).save(stream, "WEBP", lossless=True, exact=True, quality=90)
    return stream.getvalue()
