"""The rasteriser for NVIDIA cards: gsplat (Ye et al. 2024, github.com/nerfstudio-project/gsplat)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from avatarcli.errors import DeviceError
from avatarcli.gaussians._raster_rules import EPS_2D, NEAR_PLANE
from avatarcli.geometry.cameras import Camera


def rasterize_gsplat(
    means: Tensor, quaternions: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, camera: Camera
) -> tuple[Tensor, Tensor]:
    """Color multiplied by alpha [H, W, C] and alpha [H, W], float32; arguments as `rasterize`, on CUDA.

    Raises DeviceError when the tensors are elsewhere, or gsplat is missing or cannot be compiled. Its first call on a
    machine compiles CUDA code for a minute or two.
    """
    if not means.is_cuda:
        raise DeviceError(
            f"the gsplat rasteriser needs an NVIDIA GPU, the Gaussians are on {means.device}: use --device cpu"
        )
    if len(means) == 0:
        size = camera.height, camera.width
        return means.new_zeros(*size, colors.shape[1], dtype=torch.float32), means.new_zeros(size, dtype=torch.float32)
    draw = load_gsplat()
    color, alpha, _ = draw(
        *(tensor.float() for tensor in (means, quaternions, scales, opacities, colors)),
        camera.world_to_camera.to(means.device, torch.float32)[None],
        camera.K.to(means.device, torch.float32)[None],
        camera.width,
        camera.height,
        near_plane=NEAR_PLANE,
        eps2d=EPS_2D,
        packed=False,
        rasterize_mode="classic",
    )
    return color[0], alpha[0, ..., 0]


@cache
def load_gsplat() -> Callable[..., Any]:
    """gsplat's `rasterization`, once its CUDA code is loaded. Raises DeviceError when that is impossible."""
    try:
        from gsplat import rasterization
    except ImportError as error:
        raise DeviceError(
            f'drawing on the GPU needs gsplat ({error}): run `pip install "avatarcli[gpu]"`, or use --device cpu'
        ) from error
    try:
        # Imported for its effect: it loads the CUDA code or compiles it. Whatever nvcc, the host compiler, ninja or the
        # loader dislike comes out of it in many exception types.
        from gsplat.cuda._backend import _C as compiled
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DeviceError(
            f"gsplat's CUDA code does not compile here ({reason}): install the CUDA toolkit that fits "
            f"torch {torch.__version__} and a C++ compiler, or use --device cpu"
        ) from error
    if compiled is None:
        raise DeviceError(
            "gsplat found no CUDA compiler (nvcc): install the CUDA toolkit that fits "
            f"torch {torch.__version__} or a prebuilt gsplat wheel, or use --device cpu"
        )
    return rasterization
