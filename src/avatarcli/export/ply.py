"""PLY: Gaussians as every 3DGS viewer reads them.

The layout is that of Kerbl et al. 2023: one `vertex` element of float32 properties: position, an unused normal, the
color coefficients `f_dc_*` of degree 0, the logit of the opacity, the logarithms of the standard deviations, and the rotation
wxyz. A file of degree 0 has no `f_rest_*`; some importers insist on them, so they can be written as zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avatarcli.export.axes import DESCRIPTIONS, turned
from avatarcli.export.formats import Up
from avatarcli.export.origin import Origin
from avatarcli.gaussians.avatar import SH_C0, Splats

Columns = dict[str, npt.NDArray[np.generic]]
_TYPES = {"f4": "float", "u4": "uint", "i4": "int"}
# Opacities of exactly 0 or 1 have no logit.
_OPACITY_MARGIN = 1e-6


def write_splats(path: Path, splats: Splats, origin: Origin, *, up: Up = "y", sh_degree: int = 0) -> None:
    """Write Gaussians in the world (metres, y up, as `Splats`), turned so that `up` is up.

    sh_degree: 0 to 3, the degree that the file is to have: coefficients beyond 0 are zeros. Raises OSError.
    """
    columns = splat_columns(turned(splats, up), sh_degree)
    write_elements(path, [("vertex", columns)], origin, up)


def splat_columns(splats: Splats, sh_degree: int = 0) -> Columns:
    """The properties of one file's `vertex` element, each [G], in the order that readers expect."""
    logits = torch.logit(splats.opacities.clamp(_OPACITY_MARGIN, 1 - _OPACITY_MARGIN))
    quaternions = torch.nn.functional.normalize(splats.quaternions, dim=-1)
    zero = torch.zeros_like(splats.means)
    rest = 3 * ((sh_degree + 1) ** 2 - 1)
    groups: list[tuple[Sequence[str], Tensor]] = [
        (("x", "y", "z"), splats.means),
        (("nx", "ny", "nz"), zero),
        (("f_dc_0", "f_dc_1", "f_dc_2"), (splats.colors - 0.5) / SH_C0),
        (tuple(f"f_rest_{index}" for index in range(rest)), zero[:, :1].expand(-1, rest)),
        (("opacity",), logits[:, None]),
        (("scale_0", "scale_1", "scale_2"), splats.scales.log()),
        (("rot_0", "rot_1", "rot_2", "rot_3"), quaternions),
    ]
    columns: Columns = {}
    for names, values in groups:
        rows = values.detach().float().cpu().numpy()
        columns.update({name: rows[:, index] for index, name in enumerate(names)})
    return columns


def write_elements(path: Path, elements: Sequence[tuple[str, Columns]], origin: Origin, up: Up = "y") -> None:
    """Write a binary PLY of named elements, each a table of columns of one length; float32, uint32 or int32."""
    header = ["ply", "format binary_little_endian 1.0"]
    header += [f"comment {line}" for line in (origin.statement(), origin.to_json(), f"metres, {DESCRIPTIONS[up]}")]
    tables = []
    for name, columns in elements:
        dtype = np.dtype([(key, values.dtype.newbyteorder("<")) for key, values in columns.items()])
        table = np.empty(len(next(iter(columns.values()))), dtype)
        for key, values in columns.items():
            table[key] = values
        header.append(f"element {name} {len(table)}")
        header += [f"property {_TYPES[values.dtype.str[1:]]} {key}" for key, values in columns.items()]
        tables.append(table)
    with path.open("wb") as file:
        file.write("\n".join([*header, "end_header", ""]).encode("ascii"))
        for table in tables:
            table.tofile(file)
