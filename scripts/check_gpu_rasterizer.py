"""Checks gsplat on this machine's GPU against our own rasterisers, and times it.

    python scripts/check_gpu_rasterizer.py [--gaussians 50000] [--size 512] [--json result.json]

A random head-sized scene is drawn with gsplat and with the CPU kernels, a small one with gsplat and the plain torch
reference; pictures and gradients must agree. Leaves with 1 when they do not, or when there is no usable GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.errors import AvatarError, DeviceError
from avatarcli.gaussians.rasterize import Backend, Rasterized, rasterize
from avatarcli.geometry.cameras import Camera, intrinsics, look_at

NAMES = ("means", "quaternions", "scales", "opacities", "colors")
# Float rounding differs between the backends. Where it swaps two splats of almost equal depth, or moves one across the
# 1/255 limit of a pixel, single pixels differ visibly and so do the gradients of these few splats; hence no limit on
# the largest error. Noise of 1e-7 on the inputs alone moves 8e-5 of the pixels and the gradients by 8e-4.
PIXEL_ERROR = 1e-3
LARGEST_SHARE_OF_PIXELS = 1e-3
LARGEST_MEAN_ERROR = 1e-5
LARGEST_GRADIENT_ERROR = 1e-2


def head_scene(count: int, size: int, seed: int = 0) -> tuple[list[Tensor], Camera]:
    """Gaussians with standard deviations of 1.5 to 4 pixels on an ellipsoid as large as a head; flat along one axis."""
    generator = torch.Generator().manual_seed(seed)
    directions = functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    focal, distance = 2.8 * size, 0.7
    pixels = 1.5 + 2.5 * torch.rand(count, 3, generator=generator)
    scales = pixels * torch.tensor([1.0, 1.0, 0.3]) * (distance / focal)
    tensors = [
        directions * torch.tensor([0.08, 0.12, 0.10]),
        torch.randn(count, 4, generator=generator),
        scales,
        0.5 + 0.49 * torch.rand(count, generator=generator),
        torch.rand(count, 3, generator=generator),
    ]
    eye = torch.tensor([0.15, 0.05, distance])
    return tensors, Camera(look_at(eye, torch.zeros(3)), intrinsics(focal, size, size), size, size)


def render(tensors: list[Tensor], view: Camera, background: Tensor | None, backend: Backend) -> Rasterized:
    means, quaternions, scales, opacities, colors = tensors
    return rasterize(means, quaternions, scales, opacities, colors, view, background, backend=backend)


def draw(tensors: list[Tensor], view: Camera, backend: Backend, device: str) -> tuple[Tensor, list[Tensor]]:
    """Color and alpha [H, W, 4], and the gradients of a fixed random weighting of them, on the CPU."""
    leaves = [tensor.to(device).requires_grad_() for tensor in tensors]
    picture = render(leaves, view.to(device), torch.tensor([0.2, 0.4, 0.6], device=device), backend)
    stacked = torch.cat([picture.color, picture.alpha[..., None]], dim=-1)
    weights = torch.randn(stacked.shape, generator=torch.Generator().manual_seed(1)).to(device)
    gradients = torch.autograd.grad((stacked * weights).sum(), leaves)
    return stacked.detach().cpu(), [gradient.cpu() for gradient in gradients]


def compare(tensors: list[Tensor], view: Camera, other: Backend, backend: Backend, device: str) -> dict[str, float]:
    """Errors of `backend` on `device` against `other` on the CPU: of the picture, and relative of the gradients."""
    picture, gradients = draw(tensors, view, backend, device)
    expected, wanted = draw(tensors, view, other, "cpu")
    error = (picture - expected).abs()
    result = {
        "image_max": error.max().item(),
        "image_mean": error.mean().item(),
        "pixels_off": (error.amax(-1) > PIXEL_ERROR).float().mean().item(),
    }
    for name, gradient, right in zip(NAMES, gradients, wanted, strict=True):
        result[f"gradient_{name}"] = ((gradient - right).norm() / right.norm()).item()
    return result


def faults(result: dict[str, float]) -> list[str]:
    """The errors that are too large."""
    limits = {"image_mean": LARGEST_MEAN_ERROR, "pixels_off": LARGEST_SHARE_OF_PIXELS}
    limits |= {f"gradient_{name}": LARGEST_GRADIENT_ERROR for name in NAMES}
    # Written so that NaN is a fault.
    return [name for name, limit in limits.items() if not result[name] <= limit]


def milliseconds(work: Callable[[], object], repeats: int = 50) -> float:
    """Median time of a call, after a warm-up."""
    for _ in range(10):
        work()
    times = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1000 * sorted(times)[repeats // 2]


def measure(tensors: list[Tensor], view: Camera) -> dict[str, float]:
    """Milliseconds of gsplat's forward pass, and of forward and backward."""
    leaves = [tensor.cuda().requires_grad_() for tensor in tensors]
    view = view.to("cuda")
    weights = torch.randn(view.height, view.width, 3, device="cuda")

    def forward() -> None:
        with torch.no_grad():
            render(leaves, view, None, "gsplat")

    def both() -> None:
        torch.autograd.grad((render(leaves, view, None, "gsplat").color * weights).sum(), leaves)

    return {"forward_ms": milliseconds(forward), "forward_backward_ms": milliseconds(both)}


def main() -> int:
    parser = argparse.ArgumentParser(description="Checks gsplat against the CPU and reference rasterisers.")
    parser.add_argument("--gaussians", type=int, default=50_000)
    parser.add_argument("--size", type=int, default=512, help="width and height of the picture in pixels")
    parser.add_argument("--json", type=Path, help="also write the result here")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise DeviceError("no NVIDIA GPU that torch can use: run this on a machine that has one")

    scene = head_scene(arguments.gaussians, arguments.size)
    result = {
        "small, reference": compare(*head_scene(1000, 96), "reference", "gsplat", "cuda"),
        "full, cpu": compare(*scene, "cpu", "gsplat", "cuda"),
    }
    bad = {name: faults(errors) for name, errors in result.items()}
    result["times"] = measure(*scene)

    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {arguments.gaussians} Gaussians, {arguments.size}²"
    )
    for title, numbers in result.items():
        print(title)
        for name, number in numbers.items():
            print(f"  {name:22} {number:10.3g}{'  TOO LARGE' if name in bad.get(title, []) else ''}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))
    return 1 if any(bad.values()) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AvatarError as error:
        sys.exit(f"check_gpu_rasterizer: {error}")
