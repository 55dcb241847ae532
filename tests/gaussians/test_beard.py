"""Beards in flat colors on the mean head: which points are theirs, and how they go with an opening mouth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from avatarcli.gaussians.beard import Beard, carry_beard, find_beard
from avatarcli.gaussians.rig import Rig
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.expressions import expression_vector
from avatarcli.head.model import PARTS, PersonalHead
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing
from avatarcli.reproject.skin_texture import PhotoView

SIZE = 160
SKIN, GREY, CLOTH = (torch.tensor(color) for color in ((0.78, 0.58, 0.47), (0.8, 0.8, 0.78), (0.1, 0.12, 0.3)))


@pytest.fixture(scope="module")
def camera(mean_head: PersonalHead) -> Camera:
    return Framing.of(mean_head.neutral).cameras(torch.zeros(1), torch.zeros(1), SIZE)[0]


def chin(head: PersonalHead) -> Tensor:
    return head.model.landmarks(head.neutral)[152]


def photo_of(head: PersonalHead, camera: Camera, beard: Tensor) -> PhotoView:
    """The head from the front, all that lies below the lips in the color of its beard."""
    lips = head.neutral[head.model.in_regions("lip")][:, 1].amin()
    colors = torch.where((head.neutral[:, 1] < lips)[:, None], beard, SKIN)
    raster = rasterize_mesh(head.neutral, head.model.faces, camera)
    none, full = torch.zeros(SIZE, SIZE), torch.ones(SIZE, SIZE)
    image, light = raster.interpolate(colors, head.model.faces), torch.zeros(4, 3)
    return PhotoView(image, raster.covered.float(), none, none, full, SKIN, GREY, torch.ones(2), light, camera)


@pytest.mark.parametrize("shade", [0.85, 1.0])
def test_a_chin_in_another_color_than_the_face_wears_a_beard(
    mean_head: PersonalHead, camera: Camera, shade: float
) -> None:
    shown = torch.ones(SIZE, SIZE)
    found = find_beard(mean_head, mean_head.neutral, photo_of(mean_head, camera, shade * GREY), shown)
    assert found is not None
    torch.testing.assert_close(found.color, shade * GREY, atol=0.01, rtol=0)
    # A shaven chin in its shadow wears none, nor does one that a scarf hides, nor one of which nothing is known.
    assert find_beard(mean_head, mean_head.neutral, photo_of(mean_head, camera, shade * SKIN), shown) is None
    bearded = photo_of(mean_head, camera, GREY)
    assert find_beard(mean_head, mean_head.neutral, bearded, 0 * shown) is None
    assert find_beard(mean_head, mean_head.neutral, bearded, None) is None


def test_a_beard_holds_what_hangs_before_the_neck_in_its_color(mean_head: PersonalHead, camera: Camera) -> None:
    generator = torch.Generator().manual_seed(3)
    below = chin(mean_head) + (torch.rand(400, 3, generator=generator) - 0.5) * 0.05 - torch.tensor([0.0, 0.04, 0.0])
    beard = Beard(GREY, SKIN, torch.ones(SIZE, SIZE), camera)
    grey = GREY.expand(len(below), 3)
    assert beard.holds(mean_head, below, grey).all()
    assert not beard.holds(mean_head, below, CLOTH.expand_as(grey)).any()
    assert not beard.holds(mean_head, below, SKIN.expand_as(grey)).any()
    assert not beard.holds(mean_head, below + torch.tensor([0.0, 0.15, 0.0]), grey).any()  # a grey fringe
    assert not beard.holds(mean_head, below - torch.tensor([0.0, 0.0, 0.15]), grey).any()  # grey hair in the neck
    hidden = replace(beard, shown=torch.zeros(SIZE, SIZE))
    assert not hidden.holds(mean_head, below, grey).any()  # a grey scarf
    assert len(beard.holds(mean_head, below[:0], grey[:0])) == 0


def test_single_points_of_mixed_color_go_with_those_around_them(mean_head: PersonalHead, camera: Camera) -> None:
    generator = torch.Generator().manual_seed(4)
    below = chin(mean_head) + (torch.rand(300, 3, generator=generator) - 0.5) * 0.04 - torch.tensor([0.0, 0.04, 0.0])
    colors = GREY.repeat(len(below), 1)
    colors[:20] = 0.65 * GREY
    beard = Beard(GREY, SKIN, torch.ones(SIZE, SIZE), camera)
    assert beard.holds(mean_head, below, colors).all()
    colors[20:] = CLOTH
    assert not beard.holds(mean_head, below, colors).any()


def test_a_hanging_beard_goes_with_the_chin_and_does_not_tear(mean_head: PersonalHead) -> None:
    """A curtain from the chin to the chest: its upper rows have the face for the nearest skin, its lower ones the torso."""
    model = mean_head.model
    x, y = torch.meshgrid(torch.linspace(-0.02, 0.02, 9), torch.linspace(0.0, -0.08, 17), indexing="ij")
    points = chin(mean_head) + torch.stack([x, y, 0.01 + 0 * x], dim=-1).view(-1, 3)
    skin = (model.face_part == PARTS.index("skin")).nonzero()[:, 0]
    nearest = skin[torch.cdist(points, mean_head.neutral[model.faces[skin]].mean(1)).argmin(1)]
    carriers = carry_beard(mean_head, nearest)
    assert (carriers < len(model.faces)).all()
    rest = HeadParameters.at_rest()
    face = torch.tensor([expression_vector({"jawOpen": 0.6})])

    def gone(parameters: HeadParameters) -> Tensor:
        """How far each point of the curtain goes [9, 17, 3]."""
        motion = Rig.create(mean_head, carriers).motion(parameters)
        return ((motion.affine @ points[..., None])[..., 0] + motion.shift - points).view(9, 17, 3)

    opened = gone(replace(rest, expression=face))
    posed = mean_head.vertices(face, rest.gaze, rest.neck)[0]
    drop = model.landmarks(posed)[152] - chin(mean_head)
    assert drop.norm() > 0.015
    assert (opened[:, 0] - drop).norm(dim=-1).max() < 0.004
    # Rows are half a centimetre apart. Bound to the nearest skin, moving or still, some part by two centimetres.
    assert opened.diff(dim=0).norm(dim=-1).max() < 0.003
    assert opened.diff(dim=1).norm(dim=-1).max() < 0.003
    blink = torch.tensor([expression_vector({"eyeBlinkLeft": 1.0, "browInnerUp": 1.0})])
    assert gone(replace(rest, expression=blink)).abs().max() < 5e-4


def test_skin_that_stays_while_the_jaw_falls_keeps_its_own_triangles(mean_head: PersonalHead) -> None:
    """Moustache and cheeks: the bone turns away under them."""
    model = mean_head.model
    lip = model.landmarks(mean_head.neutral)[164]  # between nose and mouth
    on_face = model.in_regions("face")[model.faces].all(-1).nonzero()[:, 0]
    nearest = on_face[(mean_head.neutral[model.faces[on_face]].mean(1) - lip).norm(dim=-1).argsort()[:6]]
    assert torch.equal(carry_beard(mean_head, nearest), nearest)
