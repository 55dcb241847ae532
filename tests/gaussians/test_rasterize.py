"""The CPU kernels (and gsplat, where there is CUDA) against the plain torch rasteriser."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numba
import pytest
import torch
from torch import Tensor

from avatarcli.errors import DeviceError
from avatarcli.gaussians._raster_rules import ALPHA_MIN
from avatarcli.gaussians.rasterize import Backend, Rasterized, rasterize
from avatarcli.gaussians.rasterize_gsplat import load_gsplat
from avatarcli.geometry.cameras import Camera, intrinsics, look_at

NAMES = ("means", "quaternions", "scales", "opacities", "colors")


def camera(width: int, height: int) -> Camera:
    """Off-centre principal point, unequal focal lengths, half a metre from the origin."""
    K = intrinsics(1.3 * width, width, height)
    K[0, 2] += 0.07 * width
    K[1, 2] -= 0.11 * height
    K[1, 1] *= 1.1
    return Camera(look_at(torch.tensor([0.1, 0.05, 0.5]), torch.zeros(3)), K, width, height)


def scene(count: int, seed: int, *, spread: float = 0.1, size: float = -4.5, channels: int = 3) -> list[Tensor]:
    """Gaussians of mixed sizes (logarithm of metres) around the origin."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(count, 3, generator=generator) * spread,
        torch.randn(count, 4, generator=generator),
        torch.exp(torch.randn(count, 3, generator=generator) * 0.8 + size),
        torch.rand(count, generator=generator) * 0.99 + 0.005,
        torch.rand(count, channels, generator=generator),
    ]


def draw(
    tensors: list[Tensor], view: Camera, background: Tensor | None, backend: Backend
) -> tuple[Rasterized, list[Tensor]]:
    """The picture, and the gradients of a fixed random weighting of its color and alpha."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    picture = rasterize(*leaves, view, background, backend=backend)
    generator = torch.Generator().manual_seed(7)
    of_color = torch.randn(picture.color.shape, generator=generator).to(picture.color)
    of_alpha = torch.randn(picture.alpha.shape, generator=generator).to(picture.alpha)
    ((picture.color * of_color).sum() + (picture.alpha * of_alpha).sum()).backward()
    return picture, [leaf.grad for leaf in leaves]


def assert_agree(
    tensors: list[Tensor], view: Camera, background: Tensor | None = None, backend: Backend = "cpu"
) -> Tensor:
    """Compares a backend with the reference; returns the reference's alpha, to see that there was something to draw."""
    device = "cuda" if backend == "gsplat" else "cpu"
    picture, gradients = draw([tensor.to(device) for tensor in tensors], view.to(device), background, backend)
    expected, expected_gradients = draw(tensors, view, background, "reference")
    for found, right in (
        (picture.color.cpu(), expected.color),
        (picture.alpha.cpu()[..., None], expected.alpha[..., None]),
    ):
        difference = (found - right).abs().amax(-1)
        # Where a splat is just about faint enough to be skipped, rounding decides, and that differs between processors.
        assert (difference > 1e-4).float().mean() < 0.002
        assert difference.max() <= ALPHA_MIN
    for name, gradient, wanted in zip(NAMES, gradients, expected_gradients, strict=True):
        error = (gradient.cpu() - wanted).norm() / wanted.norm().clamp(min=1e-6)
        assert error < 3e-3, f"gradient of {name} is off by {error:.1e}"
    return expected.alpha


@pytest.mark.parametrize(("width", "height"), [(50, 37), (16, 16), (33, 64), (7, 5)])
def test_cpu_agrees_with_the_reference(width: int, height: int) -> None:
    for seed in range(3):
        alpha = assert_agree(scene(250, seed), camera(width, height), torch.tensor([0.1, 0.5, 0.9]))
        assert alpha.mean() > 0.2


def test_cpu_agrees_around_and_behind_the_camera() -> None:
    tensors = scene(400, 3, spread=0.6, size=-3.5)
    view = camera(45, 30)
    depth = view.to_camera(tensors[0])[:, 2]
    assert (depth < 0).any()
    assert ((depth > 0) & (depth < 0.1)).any()
    assert_agree(tensors, view)


def test_cpu_agrees_beyond_the_field_of_view() -> None:
    # Wide Gaussians far to each side whose rims reach into the picture: here the slope of the projection is clamped.
    view = camera(40, 40)
    sides = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0], [0, -1.0, 0], [1.0, 1.0, 0], [-1.0, -1.0, 0]])
    tensors = scene(6, 4)
    tensors[0] = sides * 0.6 + torch.tensor([0, 0, -0.1])
    tensors[2] = torch.full((6, 3), 0.3) * torch.tensor([1.0, 0.8, 1.2])
    pixels, _ = view.project(tensors[0])
    assert ((pixels < -0.15 * 40) | (pixels > 1.15 * 40)).any(-1).all()
    assert assert_agree(tensors, view).max() > 0.1


def test_cpu_agrees_on_tiny_huge_and_thin_gaussians() -> None:
    tensors = scene(120, 5)
    tensors[2][:40] = 1e-6
    tensors[2][40:60] = 2.0
    tensors[3][40:60] *= 0.1
    tensors[2][60:90] = torch.tensor([0.05, 1e-5, 1e-5])
    assert_agree(tensors, camera(50, 37))


def test_cpu_agrees_where_many_opaque_layers_end_a_pixel_early() -> None:
    tensors = scene(600, 6, spread=0.02, size=-3.5)
    tensors[3] = tensors[3] * 0.1 + 0.9
    tensors[3][:50] = 0.9999
    alpha = assert_agree(tensors, camera(40, 40))
    assert alpha.max() > 0.9995


@pytest.mark.parametrize("channels", [1, 5])
def test_cpu_draws_any_number_of_channels(channels: int) -> None:
    assert_agree(scene(150, 8, channels=channels), camera(30, 20), torch.linspace(0, 1, channels))


def test_reference_gradients_are_those_of_finite_differences() -> None:
    tensors = [tensor.double().requires_grad_() for tensor in scene(4, 9, spread=0.05, size=-3.5)]
    view = camera(6, 5)
    background = torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64, requires_grad=True)

    def picture(*arguments: Tensor) -> tuple[Tensor, Tensor]:
        drawn = rasterize(*arguments[:5], view, arguments[5], backend="reference")
        return drawn.color, drawn.alpha

    assert picture(*tensors, background)[1].max() > 0.3
    assert torch.autograd.gradcheck(picture, (*tensors, background), eps=1e-7, atol=1e-5)


def test_background_shows_through() -> None:
    tensors, view = scene(100, 10), camera(30, 20)
    background = torch.tensor([0.2, 0.4, 0.6])
    black, colored = rasterize(*tensors, view, None), rasterize(*tensors, view, background)
    assert torch.equal(black.alpha, colored.alpha)
    torch.testing.assert_close(colored.color, black.color + (1 - black.alpha[..., None]) * background)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_nothing_to_draw_leaves_the_background(backend: Backend) -> None:
    background = torch.tensor([0.2, 0.4, 0.6])
    empty = [tensor[:0] for tensor in scene(1, 0)]
    hidden = scene(5, 0)
    hidden[0] = hidden[0] + 5 * camera(30, 20).centre
    for tensors in (empty, hidden):
        picture, gradients = draw(tensors, camera(30, 20), background, backend)
        assert torch.equal(picture.color, background.expand(20, 30, 3))
        assert torch.equal(picture.alpha, torch.zeros(20, 30))
        assert all(not gradient.any() for gradient in gradients)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_gaussians_that_are_not_finite_are_left_out(value: float, backend: Backend) -> None:
    view, healthy = camera(30, 20), scene(100, 11)
    damaged = [torch.cat([tensor, tensor[:4]]) for tensor in healthy]
    for place in range(4):
        damaged[place][100 + place] = value
    picture, gradients = draw(damaged, view, None, backend)
    expected, wanted = draw(healthy, view, None, backend)
    torch.testing.assert_close(picture.color, expected.color)
    for gradient, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient[:100], other)
        assert not gradient[100:].any()


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e15, 1e30])
def test_degenerate_gaussians_give_finite_numbers(value: float) -> None:
    tensors = scene(100, 11)
    for place in range(4):
        tensors[place][10 * place : 10 * place + 10] = value
    picture, gradients = draw(tensors, camera(30, 20), None, "cpu")
    assert picture.color.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_order_of_the_gaussians_does_not_matter() -> None:
    tensors, view = scene(200, 12), camera(50, 37)
    shuffle = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    picture, gradients = draw(tensors, view, None, "cpu")
    shuffled, shuffled_gradients = draw([tensor[shuffle] for tensor in tensors], view, None, "cpu")
    assert torch.equal(picture.color, shuffled.color)
    for gradient, other in zip(gradients, shuffled_gradients, strict=True):
        assert torch.equal(gradient[shuffle], other)


def test_results_depend_neither_on_chance_nor_on_threads() -> None:
    tensors, view = scene(300, 13), camera(60, 45)
    first, gradients = draw(tensors, view, None, "cpu")
    threads = numba.get_num_threads()
    try:
        for count in {1, threads}:
            numba.set_num_threads(count)
            again, more = draw(tensors, view, None, "cpu")
            assert torch.equal(first.color, again.color)
            assert all(torch.equal(a, b) for a, b in zip(gradients, more, strict=True))
    finally:
        numba.set_num_threads(threads)


def test_several_threads_may_draw_at_once() -> None:
    view = camera(50, 37)
    scenes = [scene(100, seed) for seed in range(4)]
    alone = [draw(tensors, view, None, "cpu") for tensors in scenes]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda tensors: draw(tensors, view, None, "cpu"), scenes * 3))
    for (picture, gradients), (expected, wanted) in zip(together, alone * 3, strict=True):
        assert torch.equal(picture.color, expected.color)
        assert all(torch.equal(a, b) for a, b in zip(gradients, wanted, strict=True))


def test_wrong_shapes_are_named() -> None:
    tensors, view = scene(4, 0), camera(30, 20)
    with pytest.raises(ValueError, match=r"\[3, 4\]"):
        rasterize(tensors[0], tensors[1][:3], *tensors[2:], view)
    with pytest.raises(ValueError, match=r"background \[3\].*got \[4\]"):
        rasterize(*tensors, view, torch.zeros(4))
    with pytest.raises(ValueError, match=r"one camera.*\[1, 4, 4\]"):
        rasterize(*tensors, Camera(view.world_to_camera[None], view.K[None], 30, 20))


def test_gsplat_says_that_it_needs_a_gpu() -> None:
    with pytest.raises(DeviceError, match="NVIDIA GPU"):
        rasterize(*scene(4, 0), camera(30, 20), backend="gsplat")


@pytest.mark.skipif(find_spec("gsplat") is not None, reason="gsplat is installed")
def test_missing_gsplat_is_named_with_the_mend() -> None:
    with pytest.raises(DeviceError, match=r'pip install "avatarcli\[gpu\]"'):
        load_gsplat()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_gsplat_agrees_with_the_reference() -> None:
    pytest.importorskip("gsplat")
    for seed in range(3):
        assert_agree(scene(250, seed), camera(50, 37), torch.tensor([0.1, 0.5, 0.9]), backend="gsplat")
