"""The painted inside of a mouth: single teeth with gaps, darker to the back, gums, a tongue that is bright when it is put out."""

from __future__ import annotations

import pytest
import torch

from avatarcli.geometry.mesh import vertex_normals
from avatarcli.head.model import PARTS, PersonalHead
from avatarcli.reproject.mouth_texture import paint_cavity, paint_teeth, paint_tongue


@pytest.mark.parametrize("name", ["teeth_upper", "teeth_lower"])
def test_front_teeth_are_bright_and_what_lies_between_them_is_dark(mean_head: PersonalHead, name: str) -> None:
    model = mean_head.model
    face = (model.face_part == PARTS.index(name)).nonzero()[:, 0]
    corners = mean_head.neutral[model.faces[face]]
    points = corners.mean(1)
    color = paint_teeth(mean_head, points, face, name, torch.tensor([0.9, 0.85, 0.8]))
    front = (points[:, 2] > points[:, 2].amax() - 0.006) & (points[:, 0].abs() < 0.006)
    # Both middle teeth end at x = 0; they are at least 5 mm wide.
    gap, middle = front & (points[:, 0].abs() < 0.0006), front & ((points[:, 0].abs() - 0.003).abs() < 0.001)
    tooth = color[:, 1] > 0.75 * color[:, 0]  # gums are red
    assert tooth[middle].any()
    assert color[middle & tooth].mean() > 0.7
    assert color[gap & tooth].mean() < 0.75 * color[middle & tooth].mean()
    back = points[:, 2] < points[:, 2].amax() - 0.03
    assert color[back & tooth].mean() < 0.5 * color[middle & tooth].mean()
    assert (~tooth).any()


def test_the_photos_own_tooth_colour_counts(mean_head: PersonalHead) -> None:
    face = (mean_head.model.face_part == PARTS.index("teeth_upper")).nonzero()[:, 0]
    points = mean_head.neutral[mean_head.model.faces[face]].mean(1)
    plain, own = (
        paint_teeth(mean_head, points, face, "teeth_upper", tooth) for tooth in (None, torch.tensor([0.6, 0.5, 0.3]))
    )
    assert own.amax() < 0.65 < plain.amax()


def test_tongue_and_cheeks_darken_towards_the_throat(mean_head: PersonalHead) -> None:
    rows = mean_head.model.part("tongue")
    points, normals = mean_head.neutral[rows], vertex_normals(mean_head.neutral, mean_head.model.faces)[rows]
    normals = torch.nn.functional.normalize(normals, dim=-1)
    color = paint_tongue(mean_head, points, normals).mean(-1)
    depth = points[:, 2].amax() - points[:, 2]
    top = normals[:, 1] > 0.3
    assert color[top & (depth < 0.008)].mean() > 3 * color[top & (depth > 0.04)].mean()
    cavity = mean_head.neutral[mean_head.model.in_regions("mouth_cavity")]
    assert paint_cavity(mean_head, cavity).amax() < 0.4
