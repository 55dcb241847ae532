"""What a face at rest hides: which triangles other faces show, and the lids that are rolled up while eyes are open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from avatarcli.geometry.cameras import orbit_cameras
from avatarcli.geometry.fill import ramp
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.expressions import NAMED_EXPRESSIONS, expression_vector
from avatarcli.head.model import PersonalHead
from avatarcli.head.parameters import HeadParameters

_SIZE, _DISTANCE, _AROUND = 192, 1.0, 1.3  # of the views: pixels, metres, and how much of the region's width they show
_ROLLS = (0.001, 0.005)  # metres that shutting eyes move the skin between the brow and the rolled-up lid


def pixels_shown(
    head: PersonalHead, region: str, faces: Sequence[dict[str, float]], views: Sequence[tuple[float, float]]
) -> Tensor:
    """How many pixels each triangle [F] has in each picture [P, F], of named expressions from (yaw, pitch) in degrees, around a
    region of the face."""
    model = head.model
    rest = HeadParameters.at_rest(len(faces))
    parameters = replace(rest, expression=torch.tensor([expression_vector(dict(face)) for face in faces]))
    posed = head.vertices(parameters.expression, parameters.gaze, parameters.neck)
    around = posed[:, model.in_regions(region)].flatten(0, 1)
    width = float((around.amax(0) - around.amin(0))[:2].amax()) * _AROUND
    yaw, pitch = torch.deg2rad(torch.tensor(views)).unbind(-1)
    cameras = orbit_cameras(
        yaw, pitch, distance=_DISTANCE, target=around.mean(0), focal=_SIZE * _DISTANCE / width, size=_SIZE
    )
    shown = []
    for vertices in posed:
        for view in range(len(cameras)):
            raster = rasterize_mesh(vertices, model.faces, cameras[view])
            shown.append(torch.bincount(raster.face[raster.covered], minlength=len(model.faces)))
    return torch.stack(shown)


def rolled_up(head: PersonalHead) -> Tensor:
    """How far each vertex [N] is of a lid that open eyes roll up: 1 on it, falling to 0 towards the brow. The edge with the lashes,
    which is seen at all times, is not."""
    shut = torch.tensor(expression_vector(NAMED_EXPRESSIONS["blink"])).to(head.neutral)
    way = torch.tensordot(shut, head.expression_basis, dims=1).norm(dim=-1)
    return ramp(way, *_ROLLS) * head.model.in_regions("face")
