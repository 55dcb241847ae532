"""Where Gaussians start on a person of whom there are only views: the mean head in flat colors, with hair and a beard."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from avatarcli.gaussians.beard import Beard
from avatarcli.gaussians.fit_state import REACH_OF_SKIN
from avatarcli.gaussians.initialise import SurfaceSamples
from avatarcli.gaussians.openings import hidden_at_rest
from avatarcli.gaussians.view_samples import REACH_OF_COVER, sample_views
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.model import PARTS, REGIONS, HeadModel, PersonalHead
from avatarcli.multiview.framing import Framing
from avatarcli.multiview.pictures import MultiViewVideo
from avatarcli.multiview.plan import make_plan

SIZE, COUNT = 96, 8000
SKIN, HAIR, BEARD, CLOTH, TEXTURE = (
    torch.tensor(color)
    for color in ((0.78, 0.58, 0.47), (0.16, 0.10, 0.07), (0.40, 0.12, 0.05), (0.15, 0.25, 0.55), (0.1, 0.9, 0.1))
)
# The cap stands two centimetres off the scalp, and before the face it does not come. The beard is a ball at the chin.
CAP_CENTRE, CAP_AXES = torch.tensor([0.0, 0.05, -0.04]), torch.tensor([0.095, 0.095, 0.10])
BEARD_CENTRE, BEARD_AXES = torch.tensor([0.0, -0.106, 0.085]), torch.tensor([0.045, 0.022, 0.035])


def off_cap(points: Tensor) -> Tensor:
    """How far points [N, 3] lie outside of the cap (metres, nearly)."""
    unit = (points - CAP_CENTRE) / CAP_AXES
    return (unit.square().sum(-1) - 1) / 2 / (unit / CAP_AXES).norm(dim=-1)


def in_beard(points: Tensor) -> Tensor:
    """Below 1 for points [N, 3] inside of the beard."""
    return ((points - BEARD_CENTRE) / BEARD_AXES).norm(dim=-1)


@pytest.fixture(scope="module")
def video(
    mean_head: PersonalHead, sphere: tuple[Tensor, Tensor], tmp_path_factory: pytest.TempPathFactory
) -> MultiViewVideo:
    """Twelve views of the head and one of the face."""
    model = mean_head.model
    ball, ball_faces = sphere[0].float(), sphere[1]
    vertices = torch.cat([mean_head.neutral, ball * CAP_AXES + CAP_CENTRE, ball * BEARD_AXES + BEARD_CENTRE])
    first = model.vertex_count
    faces = torch.cat([model.faces, ball_faces + first, ball_faces + first + len(ball)])
    bare = torch.where(model.in_regions("torso")[:, None], CLOTH, SKIN)
    colors = torch.cat([bare, HAIR.expand(len(ball), 3), BEARD.expand(len(ball), 3)])
    framing = Framing.of(vertices)
    face = mean_head.neutral[model.in_regions("face", "nose", "lip", "eyelid")]
    plan = make_plan(framing, face, views=12, face_views=1, frames=1, size=SIZE)
    made = MultiViewVideo(tmp_path_factory.mktemp("video"), plan, framing, "toy")
    for view, frame in plan.pictures:
        raster = rasterize_mesh(vertices, faces, plan.cameras[view])
        picture = torch.cat([raster.interpolate(colors, faces), raster.covered[..., None].float()], dim=-1)
        made.write_frame(view, frame, picture)
    made.write_transforms()
    return made


def sample(
    head: PersonalHead, video: MultiViewVideo, seed: int = 0, count: int = COUNT
) -> tuple[SurfaceSamples, Tensor]:
    texture = TEXTURE.expand(16, 16, 3).contiguous()
    samples, reach, _ = sample_views(head, texture, SKIN, video, count, torch.Generator().manual_seed(seed))
    return samples, reach


@pytest.fixture(scope="module")
def made(mean_head: PersonalHead, video: MultiViewVideo) -> tuple[SurfaceSamples, Tensor]:
    return sample(mean_head, video)


@pytest.fixture(scope="module")
def parts(model: HeadModel, made: tuple[SurfaceSamples, Tensor]) -> tuple[Tensor, Tensor]:
    """Which starts [G] lie on skin, and the region of the triangle that carries each [G]."""
    samples, reach = made
    return reach == REACH_OF_SKIN, model.region[model.faces[samples.binding % len(model.faces)]].amax(1)


def test_there_are_as_many_as_wanted_and_all_of_them_are_sound(
    model: HeadModel, made: tuple[SurfaceSamples, Tensor], parts: tuple[Tensor, Tensor]
) -> None:
    samples, reach = made
    assert {len(values) for values in (*samples, reach)} == {COUNT}
    for values in (*samples, reach):
        assert values.isfinite().all()
    assert reach.unique().tolist() == pytest.approx([REACH_OF_SKIN, REACH_OF_COVER])
    assert samples.binding.min() >= 0
    assert samples.binding.max() < 2 * len(model.faces)
    torch.testing.assert_close(samples.normals.norm(dim=-1), torch.ones(COUNT), atol=1e-4, rtol=0)
    torch.testing.assert_close(samples.tangents.norm(dim=-1), torch.ones(COUNT), atol=1e-4, rtol=0)
    assert samples.colors.min() >= -1e-4
    assert samples.colors.max() <= 1 + 1e-4
    assert samples.spacing.min() > 1e-3
    assert samples.spacing.max() < 0.1
    on_skin, _ = parts
    assert 0.2 < on_skin.float().mean() < 0.9


def test_skin_lies_on_its_triangles_and_cover_keeps_still_but_for_the_beard(
    mean_head: PersonalHead, made: tuple[SurfaceSamples, Tensor], parts: tuple[Tensor, Tensor]
) -> None:
    (samples, _), (on_skin, region) = made, parts
    faces = mean_head.model.faces
    still = samples.binding >= len(faces)
    assert not still[on_skin].any()
    # What stands on the chin moves with it, hair and clothes keep still.
    moving = ~on_skin & ~still
    assert (samples.points[moving][:, 1] < -0.02).all()
    assert (region[moving] == REGIONS.index("face")).all()
    beard = moving & (in_beard(samples.points) < 1.1)
    assert beard.sum() > 25
    assert (samples.colors[beard] - BEARD).abs().amax(-1).median() < 0.02
    corners = mean_head.neutral[faces[samples.binding % len(faces)]]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    height = ((samples.points - corners[:, 0]) * torch.nn.functional.normalize(normal, dim=-1)).sum(-1)
    # Eyes lie a little deeper, for lids to lie before them.
    eye, mouth = (on_skin & (region == REGIONS.index(name)) for name in ("eye", "mouth_cavity"))
    assert height[on_skin & ~eye & ~mouth].abs().max() < 1e-5
    assert eye.any()
    assert height[eye].max() < -0.0005
    # Cover stands off the skin, on the nearest triangle of it.
    distance = (samples.points - corners.mean(1)).norm(dim=-1)[~on_skin]
    assert distance.min() > 0.003
    assert distance.max() < 0.12
    assert (mean_head.model.face_part[samples.binding[~on_skin] % len(faces)] == PARTS.index("skin")).all()


def test_a_beard_that_the_photo_shows_moves_as_a_whole_and_nothing_else_does(
    mean_head: PersonalHead, video: MultiViewVideo, made: tuple[SurfaceSamples, Tensor], parts: tuple[Tensor, Tensor]
) -> None:
    """Of the ball at the chin some is nearer to the neck, which only the photo tells from a collar."""
    camera = video.plan.cameras[0]
    beard = Beard(BEARD, SKIN, torch.ones(camera.height, camera.width), camera)
    texture = TEXTURE.expand(16, 16, 3).contiguous()
    samples, *_ = sample_views(mean_head, texture, SKIN, video, COUNT, torch.Generator().manual_seed(0), beard)
    (before, _), (on_skin, _) = made, parts
    assert torch.equal(samples.points, before.points)
    moving = samples.binding < len(mean_head.model.faces)
    ball = ~on_skin & (in_beard(samples.points) < 1.1) & ((samples.colors - BEARD).abs().amax(-1) < 0.05)
    assert moving[ball].all()
    assert not (before.binding[ball] < len(mean_head.model.faces)).all()
    far = in_beard(samples.points) > 1.5
    assert torch.equal(samples.binding[far], before.binding[far])


def test_hair_lies_on_the_cap_in_its_color(made: tuple[SurfaceSamples, Tensor], parts: tuple[Tensor, Tensor]) -> None:
    (samples, _), (on_skin, _) = made, parts
    hair = ~on_skin & (samples.points[:, 1] > 0.05)
    assert hair.sum() > 0.05 * COUNT
    away = off_cap(samples.points[hair])
    assert away.abs().median() < 0.003
    assert away.abs().quantile(0.9) < 0.01
    assert away.min() > -0.004
    slope = torch.nn.functional.normalize((samples.points[hair] - CAP_CENTRE) / CAP_AXES.square(), dim=-1)
    assert (samples.normals[hair] * slope).sum(-1).median() > 0.95
    wrong = (samples.colors[hair] - HAIR).abs().amax(-1)
    assert wrong.quantile(0.95) < 0.02
    # It is spread over all of it: above, behind and on both sides.
    for direction in ((0.0, 1.0, 0.0), (0.0, 0.5, -0.85), (0.9, 0.4, 0.0), (-0.9, 0.4, 0.0)):
        place = CAP_CENTRE + torch.tensor(direction) * CAP_AXES
        assert (samples.points[hair] - place).norm(dim=-1).min() < 0.015


def test_what_hair_hides_is_thin_and_has_its_color(
    mean_head: PersonalHead, made: tuple[SurfaceSamples, Tensor], parts: tuple[Tensor, Tensor]
) -> None:
    (samples, _), (on_skin, _) = made, parts
    model = mean_head.model
    scalp = model.in_regions("scalp")[model.faces].all(-1)
    deep = scalp & (off_cap(mean_head.neutral)[model.faces] < -0.014).all(-1)
    hidden = on_skin & deep[samples.binding % len(deep)]
    assert hidden.sum() >= 4
    assert (samples.colors[hidden] - HAIR).abs().max() < 0.05

    def density(triangles: Tensor) -> float:
        """Starts per square metre."""
        corners = mean_head.neutral[model.faces[triangles]]
        areas = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1) / 2
        return float((on_skin & triangles[samples.binding % len(triangles)]).sum() / areas.sum())

    face = model.in_regions("face")[model.faces].all(-1)
    assert density(deep) < 0.1 * density(face)


def test_seen_skin_has_the_views_colors_and_the_mouth_the_textures(
    mean_head: PersonalHead, made: tuple[SurfaceSamples, Tensor], parts: tuple[Tensor, Tensor]
) -> None:
    (samples, _), (on_skin, region), model = made, parts, mean_head.model
    front = on_skin & (region == REGIONS.index("face")) & (samples.points[:, 2] > 0.05)
    # No view sees lids that are rolled up.
    front &= (in_beard(samples.points) > 1.4) & ~hidden_at_rest(mean_head)[samples.binding % len(model.faces)]
    assert front.sum() > 100
    assert (samples.colors[front] - SKIN).abs().amax(-1).quantile(0.95) < 0.02
    inner = torch.tensor([PARTS.index(name) for name in ("eye_l", "eye_r", "tongue", "teeth_upper", "teeth_lower")])
    inside = torch.isin(model.face_part[samples.binding % len(model.faces)], inner) & on_skin
    assert inside.sum() > 50
    torch.testing.assert_close(samples.colors[inside], TEXTURE.expand(int(inside.sum()), 3))
    # Nothing stands before the face, though a hull closes its hollows.
    x, y, z = samples.points[~on_skin].T
    assert not ((z > 0.06) & (x.abs() < 0.05) & (y < 0.03) & (y > -0.06)).any()


def test_the_mouths_lining_is_dark_from_inside_and_skin_from_outside(
    mean_head: PersonalHead, made: tuple[SurfaceSamples, Tensor]
) -> None:
    """Cheeks have gaps, and what lies behind them shows."""
    (samples, _), model = made, mean_head.model
    lining = torch.cat([model.faces_in("mouth_cavity"), torch.zeros(len(model.faces), dtype=torch.bool)])
    lining = lining[samples.binding]
    skin = lining & ((samples.colors - SKIN).abs().amax(-1) < 0.1)
    dark = lining & ((samples.colors - TEXTURE).abs().amax(-1) < 0.1)
    assert skin.sum() > 20
    lips = mean_head.neutral[model.in_regions("lip")]
    assert torch.cdist(samples.points[skin], lips).min() > 0.015
    # The nearest of the lining lies on the mouth's side of it.
    points, normals = samples.points[skin], samples.normals[skin]
    nearest = samples.points[dark][torch.cdist(points, samples.points[dark]).argmin(1)]
    assert (((nearest - points) * normals).sum(-1) > 0.001).float().mean() > 0.9


def test_skin_that_hair_hides_is_not_painted_with_it(
    made: tuple[SurfaceSamples, Tensor], parts: tuple[Tensor, Tensor]
) -> None:
    """Temples under the cap, which a view at rest does not show, keep the texture's color."""
    (samples, _), (on_skin, region) = made, parts
    under = on_skin & (region == REGIONS.index("face")) & (off_cap(samples.points) < -0.008)
    assert under.sum() > 15
    assert ((samples.colors[under] - TEXTURE).abs().amax(-1) < 0.05).float().mean() > 0.9


def test_the_same_seed_takes_the_same_samples(
    mean_head: PersonalHead, video: MultiViewVideo, made: tuple[SurfaceSamples, Tensor]
) -> None:
    again, other = sample(mean_head, video), sample(mean_head, video, seed=1)
    for first, second in zip((*made[0], made[1]), (*again[0], again[1]), strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(made[0].points, other[0].points)


def test_of_views_of_nobody_there_is_only_skin(mean_head: PersonalHead, video: MultiViewVideo, tmp_path: Path) -> None:
    empty = replace(video, folder=tmp_path)
    for place in video.plan.pictures:
        empty.write_frame(*place, torch.zeros(SIZE, SIZE, 4))
    samples, reach = sample(mean_head, empty, count=500)
    assert {len(values) for values in (*samples, reach)} == {500}
    assert all(values.isfinite().all() for values in samples)
    assert (reach == REACH_OF_SKIN).all()
    assert (samples.binding < len(mean_head.model.faces)).all()
