"""Draws 3D Gaussians: one function in front of the CUDA, CPU and reference rasterisers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from avatarcli.arrays import Pixels
from avatarcli.geometry.cameras import Camera
from avatarcli.pictures import to_bytes

Backend = Literal["auto", "cpu", "gsplat", "reference"]


@dataclass(frozen=True)
class Rasterized:
    """A picture of Gaussians.

    color: [H, W, C]; multiplied by alpha where no background was given.
    alpha: [H, W] in [0, 1], how much of each pixel the Gaussians cover.
    """

    color: Tensor
    alpha: Tensor


def rasterize(
    means: Tensor,
    quaternions: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    camera: Camera,
    background: Tensor | None = None,
    *,
    backend: Backend = "auto",
    device: str | None = None,
) -> Rasterized:
    """What `camera` sees of N Gaussians (Kerbl et al. 2023; EWA splatting, Zwicker et al. 2002).

    means: centres [N, 3], world, metres.
    quaternions: [N, 4] wxyz, of any length but zero.
    scales: standard deviations along the Gaussians' own axes [N, 3], metres, positive.
    opacities: [N] in (0, 1).
    colors: [N, C] with C ≥ 1; any meaning, they are blended as they are.
    camera: one camera (world_to_camera [4, 4]); gradients do not reach it.
    background: color behind the Gaussians [C]; None is black, so the color comes out multiplied by alpha.
    backend: "auto" takes gsplat on CUDA and the CPU kernels otherwise. "reference" is slow and plain.
    device: where to draw; None: where the Gaussians are, to where the picture comes in any case.

    Differentiable with respect to the five tensors and the background. The CPU and gsplat backends compute in float32,
    the reference in the tensors' own type. A Gaussian behind the camera, outside the picture or (CPU, reference) not
    finite is not drawn and has zero gradient.

    Raises ValueError when shapes do not fit, DeviceError when the backend cannot run here.
    """
    _check_shapes((means, quaternions, scales, opacities, colors), camera, background)
    home = means.device
    means, quaternions, scales, opacities, colors = (
        tensor.to(device or home) for tensor in (means, quaternions, scales, opacities, colors)
    )
    if backend == "auto":
        backend = "gsplat" if means.is_cuda else "cpu"
    # Imported here: numba and gsplat are slow to load, and a program needs only one of them.
    if backend == "gsplat":
        from avatarcli.gaussians.rasterize_gsplat import rasterize_gsplat as draw
    elif backend == "cpu":
        from avatarcli.gaussians.rasterize_cpu import rasterize_cpu as draw
    elif backend == "reference":
        from avatarcli.gaussians.rasterize_reference import rasterize_reference as draw
    else:
        raise ValueError(f'rasterize knows the backends "auto", "cpu", "gsplat" and "reference", got "{backend}"')
    color, alpha = (layer.to(home) for layer in draw(means, quaternions, scales, opacities, colors, camera))
    if background is not None:
        color = color + (1.0 - alpha)[..., None] * background.to(color)
    return Rasterized(color, alpha)


def _check_shapes(
    splats: tuple[Tensor, Tensor, Tensor, Tensor, Tensor], camera: Camera, background: Tensor | None
) -> None:
    shapes = [list(tensor.shape) for tensor in splats]
    means, *_, colors = splats
    count = len(means) if means.ndim else 0
    if shapes[:4] != [[count, 3], [count, 4], [count, 3], [count]] or colors.ndim != 2 or len(colors) != count:
        raise ValueError(
            "rasterize wants means [N, 3], quaternions [N, 4], scales [N, 3], opacities [N] and colors [N, C], got "
            + ", ".join(map(str, shapes))
        )
    if colors.shape[1] == 0:
        raise ValueError(f"rasterize wants colors [N, C] with C of 1 or more, got {shapes[4]}")
    if background is not None and list(background.shape) != [colors.shape[1]]:
        raise ValueError(
            f"rasterize wants background [{colors.shape[1]}] like the colors, got {list(background.shape)}"
        )
    if camera.world_to_camera.ndim != 2 or camera.K.ndim != 2:
        raise ValueError(
            "rasterize wants one camera with world_to_camera [4, 4] and K [3, 3], got "
            f"{list(camera.world_to_camera.shape)} and {list(camera.K.shape)}"
        )


def picture_bytes(drawn: Rasterized, *, opaque: bool) -> Pixels:
    """A drawn picture as uint8 [H, W, 3], or [H, W, 4] with straight alpha unless it is opaque."""
    picture = drawn.color
    if not opaque:
        alpha = drawn.alpha[..., None]
        picture = torch.cat([picture / alpha.clamp(min=1e-4), alpha], dim=-1)
    return to_bytes(picture)
