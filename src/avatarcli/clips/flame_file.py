"""Reading a FLAME model that the user owns: `.npz`, `.safetensors`, or the `.pkl` that FLAME is distributed as.

FLAME (Li et al., *Learning a model of facial shape and expression from 4D scans*, SIGGRAPH Asia 2017) is not part of this
project. Its pickle is read without running what is in it, see `avatarcli.clips.data_pickle`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatarcli.arrays import Float64
from avatarcli.clips.arrays import read_arrays
from avatarcli.errors import ClipError

IDENTITY_SIZE = 300  # shape directions of every FLAME; those of the expression follow them
_JAW, _LEFT_EYE, _RIGHT_EYE = 2, 3, 4  # rows of J_regressor; 0 and 1 are the root and the neck
_POSE_FEATURES = 9  # of each joint but the root, in posedirs: its rotation matrix less the identity
# Shapes by name; 0 is any size. N vertices, F triangles, J joints, S directions.
_SHAPES: dict[str, tuple[int | str, ...]] = {
    "v_template": ("N", 3), "f": ("F", 3), "shapedirs": ("N", 3, "S"), "posedirs": ("N", 3, "P"),
    "J_regressor": ("J", "N"), "weights": ("N", "J"),
}  # fmt: skip
# Eyes of grown-ups are 50 to 75 mm apart; anything far from it is in other units.
_EYE_DISTANCE = (0.03, 0.12)


@dataclass(frozen=True)
class FlameModel:
    """What a map to ARKit needs of FLAME. Metres; +x the subject's left, +y up, +z out of the face, as ours.

    vertices [N, 3]; faces [F, 3] without the eyeballs; expression [E, N, 3] a unit of each coefficient;
    jaw [9, N, 3]: a unit of each entry of (jaw rotation matrix − identity), row by row; eyes [2, 3]: left, right.
    """

    vertices: Float64
    faces: NDArray[np.int64]
    expression: Float64
    jaw: Float64
    eyes: Float64


def read_flame(path: Path) -> FlameModel:
    """Read a FLAME file. Raises ClipError, which names the file and the array at fault."""
    try:
        if not path.exists():
            raise ClipError("no such file")
        return _decode(_arrays(path))
    except ClipError as error:
        raise ClipError(f"{path}: {error}") from None
    except OSError as error:
        raise ClipError(f"{path}: cannot be read ({error.strerror or error})") from None


def _arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return read_arrays(path, _SHAPES)
    if suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="np") as file:
                return {name: file.get_tensor(name) for name in _SHAPES if name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ClipError(f"damaged safetensors file ({error})") from None
    if suffix == ".pkl":
        from avatarcli.clips.data_pickle import read_data_pickle

        content = read_data_pickle(path)
        return {name: content[name] for name in _SHAPES if name in content}
    raise ClipError("unknown kind of FLAME file; want .pkl, .npz or .safetensors")


def _decode(data: dict[str, NDArray[np.generic]]) -> FlameModel:
    sizes: dict[str, int] = {}
    arrays: dict[str, Float64] = {}
    for name, shape in _SHAPES.items():
        if name not in data:
            raise ClipError(f"{name!r} is missing; want a FLAME model with {', '.join(_SHAPES)}")
        array = data[name]
        if array.dtype.kind not in "fiu":
            raise ClipError(f"{name} holds {array.dtype} values; want numbers")
        wanted = [sizes.get(size, size) if isinstance(size, str) else size for size in shape]
        if array.ndim != len(shape) or any(
            isinstance(want, int) and want != have for want, have in zip(wanted, array.shape, strict=True)
        ):
            raise ClipError(f"{name} has shape {list(array.shape)}; want [{', '.join(map(str, wanted))}]")
        sizes |= {size: have for size, have in zip(shape, array.shape, strict=True) if isinstance(size, str)}
        arrays[name] = array.astype(np.float64)
        if not np.isfinite(arrays[name]).all():
            raise ClipError(f"{name} holds NaN or infinity")
    if sizes["S"] <= IDENTITY_SIZE:
        raise ClipError(f"shapedirs has {sizes['S']} directions; FLAME's expressions follow {IDENTITY_SIZE} of shape")
    if sizes["J"] <= _RIGHT_EYE:
        raise ClipError(f"weights has {sizes['J']} joints; want FLAME's 5: root, neck, jaw and two eyes")
    if sizes["P"] < _JAW * _POSE_FEATURES:
        raise ClipError(f"posedirs has {sizes['P']} directions; want {4 * _POSE_FEATURES}")
    return _model(arrays, sizes["N"])


def _model(arrays: dict[str, Float64], count: int) -> FlameModel:
    vertices, weights = arrays["v_template"], arrays["weights"]
    faces = arrays["f"].astype(np.int64)
    if len(faces) == 0 or faces.min() < 0 or faces.max() >= count:
        raise ClipError(f"f names vertices outside of the {count} there are")
    joints = arrays["J_regressor"] @ vertices
    distance = float(np.linalg.norm(joints[_LEFT_EYE] - joints[_RIGHT_EYE]))
    if not _EYE_DISTANCE[0] < distance < _EYE_DISTANCE[1]:
        raise ClipError(f"the eyes are {distance:.3g} apart; want a FLAME model in metres")
    # Turning the jaw by R moves a vertex by w (R − I)(v − joint), and the pose correctives by P (R − I): linear in R − I.
    turned = np.zeros((3, 3, count, 3))
    for row in range(3):
        for column in range(3):
            turned[row, column, :, row] = weights[:, _JAW] * (vertices - joints[_JAW])[:, column]
    first = (_JAW - 1) * _POSE_FEATURES
    corrective = np.moveaxis(arrays["posedirs"][:, :, first : first + _POSE_FEATURES], 2, 0)
    eyeball = weights[:, (_LEFT_EYE, _RIGHT_EYE)].max(axis=1) > 0.5
    return FlameModel(
        vertices=vertices,
        faces=faces[~eyeball[faces].any(axis=1)],
        expression=np.ascontiguousarray(np.moveaxis(arrays["shapedirs"][:, :, IDENTITY_SIZE:], 2, 0)),
        jaw=turned.reshape(9, count, 3) + corrective,
        eyes=joints[[_LEFT_EYE, _RIGHT_EYE]],
    )
