"""How light falls on what the photo does not show: fitted to the skin that it does show."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarcli.geometry.mesh import vertex_normals
from avatarcli.head.model import HeadModel

_RIDGE = 0.02  # of the samples' weight: a face lit from one side must not make the other one black
_RANGE = (0.72, 1.1)  # of the typical brightness: a fit to one side of a head is not trusted further
_BRIGHTNESS = (0.45, 1.3)  # how much darker or brighter than usual a surface may be seen
_HOLLOW = 0.005  # metres below its surroundings at which a place receives hardly any light
_ROUNDS = 12  # steps of smoothing that define the surroundings: about 2 cm
_DARKEST = 0.45


def fit_light(color: Tensor, normals: Tensor, weight: Tensor) -> Tensor:
    """Light from all sides, to first order: coefficients [4, 3] such that [1, n] @ coefficients is the color of skin facing n.

    color [T, 3], unit normals [T, 3], weight [T]: samples of skin. Least squares; what points away from all samples is
    kept near their mean. Without samples it is black.
    """
    basis = torch.cat([torch.ones_like(normals[:, :1]), normals], dim=-1)
    ridge = torch.diag(torch.tensor([0.0, 1, 1, 1])) * _RIDGE * weight.sum()
    # The mean normal is no direction of light: centre it, so that the ridge pulls towards the mean color.
    mean = (normals * weight[:, None]).sum(0) / weight.sum().clamp(min=1e-6)
    typical = (color * weight[:, None]).sum(0) / weight.sum().clamp(min=1e-6)
    basis[:, 1:] -= mean
    weighted = basis * weight[:, None]
    slope = torch.linalg.solve(weighted.T @ basis + ridge + 1e-6 * torch.eye(4), weighted.T @ (color - typical))
    constant = typical + slope[0] - mean @ slope[1:]
    return torch.cat([constant[None], slope[1:]])


def lit(light: Tensor, normals: Tensor, typical: Tensor) -> Tensor:
    """How bright [T, 3] surfaces facing `normals` [T, 3] are beside the typical color [3]."""
    color = light[0] + normals @ light[1:]
    return (color / typical.clamp(min=0.02)).clamp(*_RANGE)


def tint_distance(colors: Tensor, typical: Tensor) -> Tensor:
    """How far colors [..., 3] are from a typical one [3] in whatever light, which itself counts a little."""
    light = ((colors @ typical) / typical.dot(typical).clamp(min=1e-4)).clamp(*_BRIGHTNESS)[..., None]
    return (colors - light * typical).norm(dim=-1) + 0.08 * light[..., 0].log().abs()


def hollows(model: HeadModel, vertices: Tensor) -> Tensor:
    """How much light reaches each vertex [N, 1] of a head [N, 3]: 1 on open skin, less in the folds of an ear or behind it."""
    normals = vertex_normals(vertices, model.faces)
    smooth = vertices
    for _ in range(_ROUNDS):
        smooth = neighbour_mean(model, smooth)
    depth = ((smooth - vertices) * normals).sum(-1, keepdim=True)
    return (1 - depth / _HOLLOW * (1 - _DARKEST)).clamp(_DARKEST, 1.0)


def neighbour_mean(model: HeadModel, values: Tensor) -> Tensor:
    """Means [N, C] over the neighbours of each vertex."""
    edges = torch.cat([model.faces[:, [0, 1]], model.faces[:, [1, 2]], model.faces[:, [2, 0]]])
    degree = torch.zeros(len(values), 1).index_add_(0, edges[:, 0], torch.ones(len(edges), 1)).clamp(min=1)
    return torch.zeros_like(values).index_add_(0, edges[:, 0], values[edges[:, 1]]) / degree
