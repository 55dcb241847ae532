"""Photo-like references: what lens, camera, file and matte do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avatarcli.geometry.cameras import Camera, orbit_cameras
from avatarcli.head.parameters import HeadParameters
from avatarcli.studio.reference import (
    MatteFaults,
    PhotoFaults,
    blurred,
    draw_photo_faults,
    imperfect_matte,
    make_reference,
    take_photo,
    through_lens,
)

SIZE = 96
CLEAN = PhotoFaults(0.0, 1.0, 0.0, (1.0, 1.0, 1.0), 0.0, 0.0, None)
FAIR = MatteFaults(
    softness=0.0, hardness=1.0, bias=0.0, wander=0.0, hair_loss=1.0, remnants=0.0, holes=0.0, unmixing=1.0
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def person() -> Tensor:
    """A head and shoulders of smooth colors with an edge of a few pixels [S, S, 4]."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIZE), torch.linspace(-1, 1, SIZE), indexing="ij")
    head = ((0.55 - (x.square() + (y + 0.15).square()).sqrt()) * 12).clamp(0, 1)
    shoulders = ((0.85 - (x.square() + (y - 1.2).square()).sqrt()) * 12).clamp(0, 1)
    alpha = torch.maximum(head, shoulders)[..., None]
    color = torch.stack([0.6 + 0.2 * x, 0.5 + 0.2 * y, 0.4 + 0.1 * x * y], dim=-1)
    return torch.cat([color * alpha, alpha], dim=-1)


@pytest.fixture(scope="module")
def camera() -> Camera:
    return orbit_cameras(torch.zeros(1), torch.zeros(1), distance=1.2, target=torch.zeros(3), focal=200.0, size=SIZE)[0]


def test_a_clean_lens_and_camera_change_nothing(person: Tensor) -> None:
    assert torch.allclose(through_lens(person, CLEAN), person, atol=1e-5)
    photo = take_photo(person, torch.ones(SIZE, SIZE, 3), CLEAN, seeded())
    assert torch.allclose(photo, person[..., :3] + 1 - person[..., 3:], atol=1e-6)


def test_blur_keeps_the_mean_and_agrees_with_the_formula() -> None:
    dot = torch.zeros(1, 1, 21, 21)
    dot[0, 0, 10, 10] = 1
    soft = blurred(dot, 2.0)[0, 0]
    assert float(soft.sum()) == pytest.approx(1, abs=1e-5)
    distance = torch.arange(21) - 10.0
    row = torch.exp(-distance.square() / 8)
    row[distance.abs() > 6] = 0
    assert torch.allclose(soft, row[:, None] * row / row.sum() ** 2, atol=1e-6)


def test_distortion_leaves_the_face_in_place_on_average() -> None:
    """A grid of dots: those as far out as a face's landmarks stay, the inner move one way and the outer the other."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 400), torch.linspace(-1, 1, 400), indexing="ij")
    place = torch.stack([x, y, torch.zeros_like(x), torch.ones_like(x)], dim=-1) * 0.5 + 0.5
    faults = PhotoFaults(0.05, 1.0, 0.0, (1.0, 1.0, 1.0), 0.0, 0.0, None)
    seen = through_lens(place, faults)[..., :2] * 2 - 1
    radius, found = (value.norm(dim=-1) for value in (torch.stack([x, y], dim=-1), seen))
    at = (radius - 0.12**0.5).abs() < 0.01
    assert (found / radius - 1)[at].abs().max() < 2e-3
    assert (found / radius - 1)[(radius - 0.8).abs() < 0.01].mean() == pytest.approx(0.05 * (0.64 - 0.12), abs=3e-3)


def test_colors_stay_premultiplied_and_legal(person: Tensor) -> None:
    for seed in range(8):
        seen = through_lens(person, draw_photo_faults(seeded(seed)))
        assert seen.min() >= 0
        assert seen.max() <= 1
        assert (seen[..., :3] <= seen[..., 3:] + 1e-6).all()


def test_jpeg_loses_a_little_and_less_at_high_quality(person: Tensor) -> None:
    background = torch.rand(SIZE, SIZE, 3, generator=seeded(1))
    clean = take_photo(person, background, CLEAN, seeded())
    errors = []
    for quality in (30, 95):
        faults = PhotoFaults(0.0, 1.0, 0.0, (1.0, 1.0, 1.0), 0.0, 0.0, quality)
        errors.append(float((take_photo(person, background, faults, seeded()) - clean).abs().mean()))
    assert 0 < errors[1] < errors[0]


def test_mattes_without_faults_only_lose_faint_veils(person: Tensor) -> None:
    alpha = person[..., 3]
    matte = imperfect_matte(alpha, FAIR, seeded())
    assert torch.allclose(matte, ((alpha - 0.04) / 0.88).clamp(0, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "value", "sign"),
    [("bias", -0.25, -1), ("bias", 0.25, 1), ("hair_loss", 2.5, -1), ("remnants", 1.0, 1), ("holes", 1.0, -1)],
)
def test_each_fault_takes_or_adds_near_the_edge_only(person: Tensor, name: str, value: float, sign: int) -> None:
    alpha = person[..., 3]
    changed = imperfect_matte(alpha, MatteFaults(**{**vars(FAIR), name: value}), seeded(3))
    change = sign * (changed - imperfect_matte(alpha, FAIR, seeded(3)))
    assert change.min() > -1e-5
    assert change.sum() > 5
    # Far from the outline nothing changes.
    near = blurred((alpha > 0.5).float()[None, None], 0.05 * SIZE)[0, 0]
    assert change[(near < 0.002) | (near > 0.998)].abs().max() < 1e-5


def test_references_are_premultiplied_repeatable_and_differ(person: Tensor, camera: Camera) -> None:
    background = torch.rand(SIZE, SIZE, 3, generator=seeded(2))
    rest = HeadParameters.at_rest()
    made = [make_reference(person, background, camera, rest, seeded(seed)) for seed in range(12)]
    again = make_reference(person, background, camera, rest, seeded(5))
    assert torch.equal(made[5].picture, again.picture)
    for reference in made:
        assert reference.picture.shape == (SIZE, SIZE, 4)
        assert torch.isfinite(reference.picture).all()
        assert (reference.picture[..., :3] <= reference.picture[..., 3:] + 1e-5).all()
        assert (reference.picture[reference.inside == 0] == 0).all()
        # Whatever the faults, it is the same person.
        overlap = torch.minimum(reference.picture[..., 3], person[..., 3]).sum()
        assert overlap > 0.6 * person[..., 3].sum()
    assert len({float(reference.picture.sum()) for reference in made}) == 12
    assert any(float(reference.inside.min()) == 0 for reference in made)
