"""Where Gaussians start: spread evenly over textured surfaces."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.rotations import matrix_to_quaternion


class SurfaceSamples(NamedTuple):
    """Points on a surface: points, normals, tangents [G, 3], spacing [G] (metres between neighbours), colors [G, 3], opacity [G],
    binding [G]: the triangle of the rig that carries each."""

    points: Tensor
    normals: Tensor
    tangents: Tensor
    spacing: Tensor
    colors: Tensor
    opacity: Tensor
    binding: Tensor


def sample_triangles(areas: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Triangles [count] and barycentric weights [count, 3], spread evenly by (importance-weighted) areas [F].

    Systematic sampling gives every triangle its share to within one point, where independent draws would leave holes.
    """
    edges = areas.double().cumsum(0)
    positions = (torch.arange(count) + torch.rand(1, generator=generator)) / count * edges[-1]
    triangle = torch.searchsorted(edges, positions.double()).clamp(max=len(areas) - 1)
    # The R2 sequence (Roberts 2018) covers the unit square more evenly than chance; folded, it covers a triangle.
    index = torch.arange(1, count + 1, dtype=torch.float64)
    u, v = (0.5 + 0.7548776662466927 * index) % 1, (0.5 + 0.5698402909980532 * index) % 1
    flip = u + v > 1
    u, v = torch.where(flip, 1 - u, u), torch.where(flip, 1 - v, v)
    return triangle, torch.stack([1 - u - v, u, v], dim=-1).float()


class GaussianStart(NamedTuple):
    """Initial parameters of G Gaussians, as `Avatar` stores them."""

    binding: Tensor
    means: Tensor
    quaternions: Tensor
    log_scales: Tensor
    opacity_logits: Tensor
    sh: Tensor


def start_gaussians(samples: SurfaceSamples, sh_scale: float) -> GaussianStart:
    """Flat discs on the surface that overlap their neighbours enough to close it.

    sh_scale: what a color coefficient is multiplied by, see `avatar.SH_C0`.
    """
    z = functional.normalize(samples.normals, dim=-1)
    x = functional.normalize(samples.tangents - (samples.tangents * z).sum(-1, keepdim=True) * z, dim=-1)
    frame = torch.stack([x, torch.linalg.cross(z, x), z], dim=-1)
    # Discs of standard deviation 0.6 spacings add up to an even cover; thinner than that they would show gaps when seen aslant.
    sizes = samples.spacing[:, None] * torch.tensor([0.6, 0.6, 0.15])
    return GaussianStart(
        binding=samples.binding,
        means=samples.points,
        quaternions=matrix_to_quaternion(frame),
        log_scales=sizes.clamp(min=1e-5).log(),
        opacity_logits=torch.logit(samples.opacity.clamp(0.05, 0.95)),
        sh=((samples.colors - 0.5) / sh_scale)[:, None],
    )
