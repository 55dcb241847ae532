"""Cameras, light and backdrops."""

from __future__ import annotations

import math

import numpy as np
import torch

from avatarcli.multiview.framing import DISTANCE, Framing
from avatarcli.studio.backdrop import draw_backdrop
from avatarcli.studio.lighting import harmonics, irradiance_coefficients
from avatarcli.studio.lights import draw_light
from avatarcli.studio.scene import Light
from avatarcli.studio.viewpoints import draw_cameras, draw_reference_camera

FRAMING = Framing((0.0, -0.06, 0.0), 0.38)


def test_cameras_surround_and_frame_the_head() -> None:
    planned = 0
    for seed in range(30):
        cameras = draw_cameras(np.random.default_rng(seed), 8, 128, FRAMING)
        centre = cameras.centre
        angles = torch.atan2(centre[:, 0], centre[:, 2]).sort().values
        gaps = torch.cat([angles[1:] - angles[:-1], angles[:1] + 2 * math.pi - angles[-1:]])
        assert gaps.max() < math.radians(80)
        pixels, depth = cameras.project(torch.tensor(FRAMING.target)[None])
        assert (pixels[:, 0] - 64).abs().max() < 12
        assert depth.min() > 0.3
        # Half the span above the target is the picture's edge, whatever the lens.
        edge = torch.tensor(FRAMING.target) + torch.tensor([0.0, FRAMING.span / 2, 0.0])
        level = cameras.project(edge[None])[0][:, 0, 1]
        assert -25 < level.min() <= level.max() < 45
        planned += bool((depth - DISTANCE).abs().max() < 1e-4)
    assert 8 < planned < 22


def test_lenses_span_phones_to_portraits() -> None:
    cameras = [draw_reference_camera(np.random.default_rng(seed), 256, FRAMING) for seed in range(200)]
    distance = torch.stack([camera.centre.norm() for camera in cameras])
    millimetres = torch.tensor([float(camera.K[0, 0]) / 256 * 24 for camera in cameras])
    assert distance.min() < 0.6
    assert distance.max() > 1.7
    assert 24.9 < millimetres.min() < 32
    assert 105 < millimetres.max() < 135.1
    yaw = torch.stack([torch.atan2(camera.centre[0], camera.centre[2]) for camera in cameras])
    assert yaw.abs().max() < math.radians(43)
    assert yaw.std() > math.radians(10)


def test_light_exposes_the_face() -> None:
    levels = []
    for seed in range(60):
        light = draw_light(np.random.default_rng(seed), 0.3)
        assert len(light.position) == len(light.color) == len(light.size) in (1, 2, 3)
        assert all(bool(torch.isfinite(value).all()) for value in vars(light).values())
        assert light.size.min() > 0
        # Irradiance of the surround on a face that looks ahead, by Ramamoorthi and Hanrahan's coefficients, and of the lamps.
        basis = torch.tensor([0.282095, 0, 0.488603, 0, 0, 0, 0.630784, 0, 0])
        cosine = torch.tensor([math.pi, *[2 * math.pi / 3] * 3, *[math.pi / 4] * 5])
        arrived = (basis * cosine) @ light.ambient
        way = torch.nn.functional.normalize(light.position, dim=-1)
        arrived = arrived + (light.color * way[:, 2:].clamp(min=0)).sum(0)
        levels.append(float((0.3 * arrived / math.pi * light.gain).mean()))
    assert 0.25 < np.median(levels) < 0.45
    assert np.quantile(levels, 0.9) / np.quantile(levels, 0.1) < 3


def arrived(light: Light, yaw: float) -> float:
    """Mean light on what looks `yaw` degrees to the left of the front."""
    normal = torch.tensor([math.sin(math.radians(yaw)), 0.1, math.cos(math.radians(yaw))])
    normal = torch.nn.functional.normalize(normal, dim=0)
    surround = harmonics(normal) @ irradiance_coefficients(light.ambient)
    lamps = (torch.nn.functional.normalize(light.position, dim=-1) @ normal).clamp(min=0)
    return float((surround + lamps @ light.color).mean().clamp(min=1e-4))


def test_unseen_sides_get_about_as_much_light_as_the_face() -> None:
    behind, uneven = [], []
    for seed in range(120):
        light = draw_light(np.random.default_rng(seed))
        left, front, right = (arrived(light, yaw) for yaw in (35, 0, -35))
        behind.append(math.log(arrived(light, 180) / np.mean([left, front, right])))
        uneven.append(abs(math.log(left / right)))
    assert -0.25 < np.median(behind) < 0.1
    assert np.quantile(behind, 0.1) > -0.6
    # Faces that are lit from one side stay common.
    assert np.mean(np.array(uneven) > 0.5) > 0.3


def test_the_same_seed_gives_the_same_light() -> None:
    one, two = (draw_light(np.random.default_rng(7)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(vars(one).values(), vars(two).values(), strict=True))


def test_backdrops_are_pictures_of_many_kinds() -> None:
    photo = torch.randint(0, 256, (60, 90, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pictures = [draw_backdrop(np.random.default_rng(seed), 48, (photo,)) for seed in range(40)]
    assert all(picture.shape == (48, 48, 3) for picture in pictures)
    assert all(0 <= picture.min() <= picture.max() <= 1 for picture in pictures)
    spread = torch.stack([picture.std(dim=(0, 1)).mean() for picture in pictures])
    assert (spread < 1e-6).sum() > 5  # white and flat ones
    assert (spread > 0.02).sum() > 10
    assert torch.equal(pictures[3], draw_backdrop(np.random.default_rng(3), 48, (photo,)))
