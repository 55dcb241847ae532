"""The painted inside of a mouth: single teeth with gaps, darker to the back, gums, a tongue that is bright when it is put out; all
as light as the photo is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.geometry.mesh import vertex_normals
from avatarcli.head.model import PARTS, PersonalHead
from avatarcli.reproject.mouth_texture import exposure, paint_cavity, paint_teeth, paint_tongue, tooth_color


def _row(head: PersonalHead, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Middles and normals [T, 3] of the triangles [T] of a row of teeth."""
    face = (head.model.face_part == PARTS.index(name)).nonzero()[:, 0]
    corners = head.model.faces[face]
    normals = vertex_normals(head.neutral, head.model.faces)[corners].mean(1)
    return head.neutral[corners].mean(1), functional.normalize(normals, dim=-1), face


@pytest.mark.parametrize("name", ["teeth_upper", "teeth_lower"])
def test_front_teeth_are_bright_and_what_lies_between_them_is_dark(mean_head: PersonalHead, name: str) -> None:
    points, normals, face = _row(mean_head, name)
    color = paint_teeth(mean_head, points, normals, face, name, torch.tensor([0.9, 0.85, 0.8]))
    # Sides that face the tongue are in the shade.
    normals = normals * torch.tensor([1.0, 0.0, 1.0])
    outside = normals[:, 2] > 0.3
    front = outside & (points[:, 2] > points[:, 2].amax() - 0.006) & (points[:, 0].abs() < 0.006)
    # Both middle teeth end at x = 0; they are at least 5 mm wide.
    gap, middle = front & (points[:, 0].abs() < 0.0006), front & ((points[:, 0].abs() - 0.003).abs() < 0.001)
    tooth = color[:, 1] > 0.75 * color[:, 0]  # gums are red
    assert tooth[middle].any()
    assert color[middle & tooth].mean() > 0.7
    assert color[gap & tooth].mean() < 0.75 * color[middle & tooth].mean()
    back = points[:, 2] < points[:, 2].amax() - 0.03
    assert color[back & tooth].mean() < 0.3 * color[middle & tooth].mean()
    assert (~tooth).any()
    within = points[:, 0].abs() < 0.004
    inner = (points[:, 2] > points[:, 2].amax() - 0.012) & within & (normals[:, 2] < -0.5) & tooth
    assert color[inner].mean() < 0.7 * color[middle & tooth].mean()


def test_the_photos_own_tooth_color_counts_where_it_shows_enough_of_them() -> None:
    yellow = torch.tensor([0.6, 0.5, 0.3])
    torch.testing.assert_close(tooth_color(yellow.repeat(200, 1), 1.0), yellow)
    assert tooth_color(yellow.repeat(5, 1), 1.0).amin() > 0.7


def test_teeth_are_as_light_as_the_white_of_the_eyes_lets_them_be() -> None:
    dark, bright = (
        tooth_color(torch.zeros(0, 3), exposure([torch.linspace(0.1, white, 100)[:, None].expand(100, 3)] * 2))
        for white in (0.45, 0.8)
    )
    assert 0.4 < dark.mean() < 0.6 < bright.mean() < 0.9


def test_tongue_and_cheeks_darken_towards_the_throat(mean_head: PersonalHead) -> None:
    rows = mean_head.model.part("tongue")
    points, normals = mean_head.neutral[rows], vertex_normals(mean_head.neutral, mean_head.model.faces)[rows]
    normals = functional.normalize(normals, dim=-1)
    color = paint_tongue(mean_head, points, normals).mean(-1)
    depth = points[:, 2].amax() - points[:, 2]
    top = normals[:, 1] > 0.3
    assert color[top & (depth < 0.008)].mean() > 3 * color[top & (depth > 0.04)].mean()
    cavity = mean_head.neutral[mean_head.model.in_regions("mouth_cavity")]
    assert paint_cavity(mean_head, cavity).amax() < 0.4
