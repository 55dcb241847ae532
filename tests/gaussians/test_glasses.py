"""Glasses painted before the mean head's eyes: which are found, where their starts stand, and that a blink leaves them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from avatarcli.gaussians.glasses import Glasses, find_glasses
from avatarcli.gaussians.rig import Rig
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.model import PersonalHead, still_head
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing
from avatarcli.reproject.skin_texture import PhotoView

SIZE = 384
SKIN, BLACK = torch.tensor([0.78, 0.58, 0.47]), torch.tensor([0.08, 0.08, 0.09])
WIDE, HIGH = 0.025, 0.02  # metres: half a lens


@pytest.fixture(scope="module")
def camera(mean_head: PersonalHead) -> Camera:
    return Framing.of(mean_head.neutral).cameras(torch.zeros(1), torch.zeros(1), SIZE)[0]


def eyes(head: PersonalHead) -> Tensor:
    return head.joints[[head.model.joint_names.index(name) for name in ("eye_r", "eye_l")]]


def photo_of(
    head: PersonalHead, camera: Camera, *, rim: float = 0.0, lens: bool = False, dark_eyes: bool = False
) -> PhotoView:
    """The head from the front with eyes and brows, in glasses with rims so wide (metres) or dark lenses."""
    model = head.model
    features = model.in_regions("eye")[:, None]
    raster = rasterize_mesh(head.neutral, model.faces, camera)
    image = raster.interpolate(torch.where(features, 0.6 * SKIN if not dark_eyes else BLACK, SKIN), model.faces)
    rows, columns = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    for eye in eyes(head):
        middle, depth = camera.project(torch.stack([eye[0], eye[1], head.neutral[features[:, 0], 2].amax() + 0.012]))
        scale = float(camera.K[0, 0] / depth)
        across, up = (columns - middle[0, 0]) / scale, (rows - middle[0, 1]) / scale
        brow = (across.abs() < 0.02) & ((up + 0.024).abs() < 0.002)
        image[brow] = 0.3 * SKIN
        away = ((across / WIDE).square() + (up / HIGH).square()).sqrt()
        image[(away < 1) if lens else ((away - 1).abs() * HIGH < rim / 2)] = BLACK
    none, full = torch.zeros(SIZE, SIZE), torch.ones(SIZE, SIZE)
    return PhotoView(image, raster.covered.float(), none, none, full, SKIN, BLACK, full[0, :2], none[:4, :3], camera)


def found(head: PersonalHead, photo: PhotoView) -> Glasses:
    glasses = find_glasses(head, photo, HeadParameters.at_rest())
    assert glasses is not None
    return glasses


@pytest.mark.parametrize("dark_eyes", [False, True])
def test_a_bare_face_wears_none(mean_head: PersonalHead, camera: Camera, dark_eyes: bool) -> None:
    assert find_glasses(mean_head, photo_of(mean_head, camera, dark_eyes=dark_eyes), HeadParameters.at_rest()) is None


def test_dark_lenses_cover_the_eyes_and_no_more(mean_head: PersonalHead, camera: Camera) -> None:
    starts = found(mean_head, photo_of(mean_head, camera, lens=True)).starts
    away = (starts.points[:, None, :2] - eyes(mean_head)[:, :2]) / torch.tensor([WIDE, HIGH])
    away = away.norm(dim=-1)
    assert float(away.amin(1).amax()) < 1.15
    # Both are filled to the middle, with dark starts.
    assert (away.amin(0) < 0.1).all()
    assert starts.colors.amax() < 0.4
    # In two layers, for lids must not shine through.
    front, back = starts.points.chunk(2)
    assert ((front - back).norm(dim=-1) < 0.002).all()
    assert (front[:, 2] > back[:, 2]).all()


@pytest.mark.parametrize("rim", [0.0015, 0.004])
def test_rims_stand_before_the_face_and_leave_the_eyes_bare(
    mean_head: PersonalHead, camera: Camera, rim: float
) -> None:
    starts = found(mean_head, photo_of(mean_head, camera, rim=rim)).starts
    away = ((starts.points[:, None, :2] - eyes(mean_head)[:, :2]) / torch.tensor([WIDE, HIGH])).norm(dim=-1).amin(1)
    assert float(away.amin()) > 0.75
    lower = starts.points[:, 1] < eyes(mean_head)[:, 1].mean() - 0.005
    assert float(((away[lower] - 1).abs() < 0.2).float().mean()) > 0.95
    front = mean_head.neutral[mean_head.model.in_regions("eye"), 2].amax()
    assert float((starts.points[:, 2] - front).median()) > 0.006


def test_a_blink_and_a_smile_leave_glasses_where_they_are(mean_head: PersonalHead, camera: Camera) -> None:
    starts = found(mean_head, photo_of(mean_head, camera, rim=0.003)).starts
    face = {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0, "cheekSquintLeft": 1.0, "browInnerUp": 1.0}
    blink = still_head(face)
    motion = Rig.create(mean_head, starts.binding).motion(blink)
    quaternions, scales = torch.tensor([1.0, 0, 0, 0]).expand(len(starts.points), 4), torch.ones_like(starts.points)
    moved, _, _ = motion.place(starts.points, quaternions, scales)
    torch.testing.assert_close(moved, starts.points, atol=1e-5, rtol=0)


def test_glasses_are_found_on_a_turned_head_at_the_same_place(mean_head: PersonalHead, camera: Camera) -> None:
    # The camera goes around the head by 15°, as if the head had turned the other way.
    photo = photo_of(mean_head, camera, rim=0.003)
    angle = math.radians(15)
    turn = torch.eye(4)
    turn[0, 0] = turn[2, 2] = math.cos(angle)
    turn[0, 2], turn[2, 0] = math.sin(angle), -math.sin(angle)
    turned_camera = replace(camera, world_to_camera=camera.world_to_camera @ torch.linalg.inv(turn))
    parameters = replace(HeadParameters.at_rest(), head_pose=turn[None])
    there = find_glasses(mean_head, replace(photo, camera=turned_camera), parameters)
    assert there is not None
    torch.testing.assert_close(there.starts.points, found(mean_head, photo).starts.points)


def test_the_glasses_are_marked_where_a_camera_sees_them(mean_head: PersonalHead, camera: Camera) -> None:
    glasses = found(mean_head, photo_of(mean_head, camera, lens=True))
    mask = glasses.before(camera)
    pixels, _ = camera.project(eyes(mean_head))
    column, row = pixels.long().unbind(-1)
    assert mask[row, column].all()
    assert 0.005 < float(mask.float().mean()) < 0.1
