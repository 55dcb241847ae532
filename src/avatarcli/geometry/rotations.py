"""Rotations: axis-angle vectors, matrices and quaternions (wxyz). Batched torch, differentiable everywhere."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.caching import constant


def axis_angle_to_matrix(rotvec: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of rotation vectors [..., 3] (radians), by Rodrigues' formula.

    Uses sin(t)/t and (1-cos(t))/t² through `torch.sinc`, so value and gradient are right at zero.
    """
    squared = rotvec.square().sum(-1, keepdim=True)
    angle = torch.where(squared > 0, squared, torch.ones_like(squared)).sqrt() * (squared > 0)
    a = torch.sinc(angle / torch.pi)[..., None]
    b = 0.5 * torch.sinc(angle / (2 * torch.pi)).square()[..., None]
    x, y, z = rotvec.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    eye = torch.eye(3, dtype=rotvec.dtype, device=rotvec.device)
    return eye + a * skew + b * (skew @ skew)


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Unit quaternions [..., 4] (wxyz, w ≥ 0 up to rounding) of rotation matrices [..., 3, 3].

    Of the four classical formulas, the one with the largest denominator is taken for each matrix (Shepperd 1978).
    """
    m = matrix
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    squares = torch.stack([1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz], dim=-1)
    zy, xz, yx = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    sxy, sxz, syz = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    candidates = torch.stack(
        [
            torch.stack([squares[..., 0], zy, xz, yx], dim=-1),
            torch.stack([zy, squares[..., 1], sxy, sxz], dim=-1),
            torch.stack([xz, sxy, squares[..., 2], syz], dim=-1),
            torch.stack([yx, sxz, syz, squares[..., 3]], dim=-1),
        ],
        dim=-2,
    )
    best = squares.argmax(dim=-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quaternion = functional.normalize(candidates.gather(-2, best).squeeze(-2), dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of quaternions [..., 4] (wxyz, any positive length)."""
    unit = functional.normalize(quaternion, dim=-1)
    squares = (unit[..., :, None] * unit[..., None, :]).flatten(-2)
    return (squares @ _products("matrix", quaternion.dtype, quaternion.device)).unflatten(-1, (3, 3))


def quaternion_multiply(left: Tensor, right: Tensor) -> Tensor:
    """Hamilton product [..., 4] of quaternions (wxyz): the rotation `right` followed by `left`."""
    return (left[..., :, None] * right[..., None, :]).flatten(-2) @ _products("product", left.dtype, left.device)


# Both functions are sums of products of components, given as (sign, first, second) for every entry of the result. As one matrix
# product each they cost a few kernel launches instead of dozens, which is what training on a GPU waits for.
_TERMS = {
    "matrix": (
        "+ww +xx -yy -zz", "+xy +xy -wz -wz", "+xz +xz +wy +wy",
        "+xy +xy +wz +wz", "+ww -xx +yy -zz", "+yz +yz -wx -wx",
        "+xz +xz -wy -wy", "+yz +yz +wx +wx", "+ww -xx -yy +zz",
    ),
    "product": ("+ww -xx -yy -zz", "+wx +xw +yz -zy", "+wy -xz +yw +zx", "+wz +xy -yx +zw"),
}  # fmt: skip


@constant
def _products(name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix [16, entries] of _TERMS."""
    matrix = torch.zeros(16, len(_TERMS[name]), dtype=dtype)
    for column, terms in enumerate(_TERMS[name]):
        for term in terms.split():
            row = "wxyz".index(term[1]) * 4 + "wxyz".index(term[2])
            matrix[row, column] += 1.0 if term[0] == "+" else -1.0
    return matrix.to(device)


@constant
def _last_row(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=dtype, device=device)


def rigid(rotation: Tensor, translation: Tensor) -> Tensor:
    """Homogeneous transforms [..., 4, 4] of rotations [..., 3, 3] and translations [..., 3]."""
    top = torch.cat([rotation, translation[..., None]], dim=-1)
    bottom = _last_row(top.dtype, top.device).expand(*top.shape[:-2], 1, 4)
    return torch.cat([top, bottom], dim=-2)


def invert_rigid(transform: Tensor) -> Tensor:
    """Inverses of rigid transforms [..., 4, 4]."""
    rotation = transform[..., :3, :3].transpose(-1, -2)
    return rigid(rotation, -(rotation @ transform[..., :3, 3:])[..., 0])
