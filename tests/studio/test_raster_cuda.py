"""The kernels: the same keys as the torch twin, whatever is drawn. On a GPU as CUDA, anywhere else as plain C++."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor

from avatarcli.studio import raster, raster_cuda, raster_torch
from avatarcli.studio.raster_torch import CutOut

SIZES = {"small": (1.0, 3000), "middling": (6.0, 600), "large": (60.0, 60), "filling": (600.0, 12), "any": (None, 800)}


@pytest.fixture(scope="module", params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """Where the kernels run."""
    kind: str = request.param
    if kind == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    try:
        raster_cuda.load_library("cuda" if kind == "cuda" else "cpp")
    except raster_cuda.CompilerError as error:
        pytest.skip(str(error))
    return kind


def triangles(generator: torch.Generator, count: int, side: float | None, pictures: int = 2) -> tuple[Tensor, Tensor]:
    """About `side` samples wide (None: of all sizes), in and around pictures of 96 × 80, some without a place."""
    sides = torch.full((count, 1), side or 0.0)
    if side is None:
        sides = 2 * torch.exp(1.5 * torch.randn(count, 1, generator=generator))
    centre = torch.rand(pictures, 1, count, 2, generator=generator) * torch.tensor([110.0, 130.0]) - 15
    places = centre + sides * torch.randn(pictures, 3, count, 2, generator=generator)
    depth = 0.3 + 3 * torch.rand(pictures, 1, count, 1, generator=generator)
    depth = depth + 0.2 * torch.rand(pictures, 3, count, 1, generator=generator)
    screen = torch.cat([places, depth], dim=-1).permute(0, 3, 2, 1).reshape(pictures, 3, 3 * count)
    nowhere = torch.rand(pictures, 1, 3 * count, generator=generator) < 0.02
    return torch.where(nowhere, torch.nan, screen), torch.arange(3 * count).view(count, 3)


def pattern(face: Tensor, weights: Tensor, area: Tensor) -> Tensor:
    """Holes that depend on all that a cut-out is told."""
    return torch.sin(face + 78.233 * weights[:, 0] + 31.7 * weights[:, 1] + 3.3 * area.clamp(max=50)) > 0.1


@pytest.mark.parametrize("name", SIZES)
def test_keys_are_those_of_the_torch_twin(name: str, device: str) -> None:
    generator = torch.Generator().manual_seed(len(name))
    side, count = SIZES[name]
    screen, faces = (values.to(device) for values in triangles(generator, count, side))
    cull = (torch.rand(count, generator=generator) < 0.5).to(device)
    bias = 0.3 * torch.rand(count, generator=generator).to(device)
    bias[: count // 8] = 10.0  # so near that the depth is clamped
    cut_out = CutOut((torch.rand(count, generator=generator) < 0.4).to(device), pattern)
    for options in (
        {},
        {"cull_backfaces": True},
        {"cull_backfaces": cull, "bias": bias},
        {"cull_backfaces": cull, "bias": bias, "cut_out": cut_out},
    ):
        expected = raster_torch.nearest(screen, faces, (96, 80), **options)
        assert (expected != raster_torch.EMPTY).float().mean() > 0.05
        assert torch.equal(raster_cuda.nearest(screen, faces, (96, 80), **options), expected)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (9, 120)])
def test_pictures_of_odd_sizes(size: tuple[int, int], device: str) -> None:
    screen, faces = (values.to(device) for values in triangles(torch.Generator().manual_seed(1), 200, 8.0))
    expected = raster_torch.nearest(screen, faces, size)
    assert torch.equal(raster_cuda.nearest(screen, faces, size), expected)


def test_nothing_to_draw(device: str) -> None:
    screen, faces = (values.to(device) for values in triangles(torch.Generator().manual_seed(1), 20, 8.0))
    for points, corners in ((screen, faces[:0]), (screen[:0], faces), (torch.full_like(screen, torch.nan), faces)):
        keys = raster_cuda.nearest(points, corners, (20, 30))
        assert keys.shape == (len(points), 20, 30)
        assert (keys == raster_torch.EMPTY).all()


def test_more_holes_than_there_was_room_for(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(4)
    screen, faces = (values.to(device) for values in triangles(generator, 400, 8.0, pictures=5))
    cut_out = CutOut((torch.rand(400, generator=generator) < 0.6).to(device), pattern)
    expected = raster_torch.nearest(screen, faces, (96, 80), cut_out=cut_out)
    monkeypatch.setattr(raster_cuda, "_MOST", 6000)
    monkeypatch.setattr(raster_cuda, "_LEAST", 16)
    monkeypatch.setattr(raster_cuda, "_MOST_PAIRS", 900)
    monkeypatch.setattr(raster_cuda, "_expected", {(96, 80): 50})
    for _ in range(2):
        assert torch.equal(raster_cuda.nearest(screen, faces, (96, 80), cut_out=cut_out), expected)


def test_values_of_other_triangles_are_refused(device: str) -> None:
    screen, faces = (values.to(device) for values in triangles(torch.Generator().manual_seed(1), 20, 8.0))
    with pytest.raises(ValueError, match="20 triangles"):
        raster_cuda.nearest(screen, faces, (20, 30), bias=torch.zeros(19, device=device))


def test_the_device_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, faces = triangles(torch.Generator().manual_seed(1), 20, 8.0)
    assert not raster_cuda.usable(screen)
    monkeypatch.setattr(raster_cuda, "usable", lambda points: True)
    monkeypatch.setattr(raster_cuda, "nearest", lambda *args, **options: "kernels")
    assert raster.nearest(screen, faces, (20, 30)) == "kernels"


def test_without_a_compiler_it_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(raster_cuda, "load_library", raster_cuda.load_library.__wrapped__)
    monkeypatch.setattr(raster_cuda, "_compiled", raster_cuda.functools.cache(raster_cuda._compiled.__wrapped__))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(raster_cuda.shutil, "which", lambda name, path=None: None)
    with caplog.at_level(logging.WARNING):
        assert not raster_cuda._compiled()
        assert not raster_cuda._compiled()
    assert [("nvcc" in record.message, "\n" in record.message) for record in caplog.records] == [(True, False)]
    # A compiler that fails, too.
    broken = tmp_path / "nvcc"
    broken.write_text("#!/bin/sh\necho 'no such target' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "kept"))
    monkeypatch.setattr(raster_cuda.shutil, "which", lambda name, path=None: str(broken))
    with pytest.raises(raster_cuda.CompilerError, match="no such target"):
        raster_cuda.load_library("cuda")
    assert not list((tmp_path / "kept").rglob("*.so"))
