"""The reprojected person, from a synthetic photo whose truth is known: the mean head in painted colors, wearing nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion, binary_fill_holes
from torch import Tensor
from torch.nn import functional

from avatarcli.capture.portrait import Label, Portrait
from avatarcli.capture.preprocessed import Preprocessed
from avatarcli.gaussians.losses import psnr
from avatarcli.gaussians.scene_samples import sample_scene
from avatarcli.geometry.cameras import Camera, orbit_cameras
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.model import PARTS, REGIONS, HeadModel, PersonalHead
from avatarcli.head.parameters import HeadParameters
from avatarcli.head.photo_fit import PhotoFit
from avatarcli.multiview.framing import Framing
from avatarcli.reproject.scene import Scene, SeenPerson

SIZE = 160
SKIN, HAIR, CLOTH, WHITE = (0.78, 0.58, 0.47), (0.16, 0.10, 0.07), (0.15, 0.25, 0.55), (0.9, 0.9, 0.9)


def vertex_colors(model: HeadModel) -> Tensor:
    """Skin, lighter on top and darker below; a cap of dark hair; a blue shirt; white eyes. Alike on both sides."""
    colors = torch.tensor(SKIN).repeat(model.vertex_count, 1) * (1 + 0.8 * model.mean[:, 1:2])
    colors[(model.region == REGIONS.index("scalp")) & (model.mean[:, 1] > 0.03)] = torch.tensor(HAIR)
    colors[model.in_regions("torso")] = torch.tensor(CLOTH)
    colors[model.in_regions("eye")] = torch.tensor(WHITE)
    return colors


def take_photo(model: HeadModel) -> Preprocessed:
    """The mean head from the front, with a hand's breadth of room around it."""
    camera = orbit_cameras(
        torch.zeros(1),
        torch.zeros(1),
        distance=1.2,
        target=torch.tensor([0.0, -0.06, 0.0]),
        focal=2.3 * SIZE,
        size=SIZE,
    )[0]
    fine = camera.resized(3 * SIZE, 3 * SIZE)
    raster = rasterize_mesh(model.mean, model.faces, fine)
    picture = torch.cat([raster.interpolate(vertex_colors(model), model.faces), raster.covered[..., None].float()], -1)
    picture = functional.avg_pool2d(picture.permute(2, 0, 1)[None], 3)[0].permute(1, 2, 0)
    # Symmetric to the last bit, so that what comes out can be held against that.
    picture = 0.5 * (picture + picture.flip(1))
    alpha = picture[..., 3]
    foreground = picture[..., :3] / alpha[..., None].clamp(min=1e-3)
    landmarks, _ = camera.project(model.landmarks(model.mean))
    track = PhotoFit(
        camera=camera,
        identity=torch.zeros(model.identity_size),
        residual=torch.zeros_like(model.mean),
        expression=torch.zeros(52),
        gaze=torch.zeros(2, 2),
        landmarks=landmarks,
        scores=torch.zeros(52),
    )
    return Preprocessed(Portrait(foreground, foreground, alpha, torch.ones(SIZE, SIZE)), track)


@pytest.fixture(scope="module")
def photo(model: HeadModel) -> Preprocessed:
    return take_photo(model)


@pytest.fixture(scope="module")
def scene(model: HeadModel, photo: Preprocessed) -> Scene:
    return SeenPerson.of(model, photo).scene(0)


def around(scene: Scene, degrees: float, *, elevation: float = 0.0, size: int = 128) -> Camera:
    framing = Framing.of(torch.cat([scene.head.neutral, scene.shell.vertices]))
    return framing.cameras(torch.deg2rad(torch.tensor([degrees])), torch.deg2rad(torch.tensor([elevation])), size)[0]


def test_the_photo_comes_back(scene: Scene, photo: Preprocessed) -> None:
    picture = scene.render(photo.track.parameters(), photo.track.camera)
    target = photo.portrait.foreground * photo.portrait.matte[..., None]
    inside = (photo.portrait.matte > 0.99).float()
    inside[-8:] = 0  # below the cut of the bust there is nothing
    assert psnr(picture[..., :3], target, inside) > 30
    face = torch.zeros_like(inside)
    column, row = photo.track.landmarks.mean(0).long().tolist()
    face[row - 15 : row + 15, column - 15 : column + 15] = 1
    assert psnr(picture[..., :3], target, face) > 27
    assert (picture[..., 3] - photo.portrait.matte).abs()[:-8].mean() < 0.01


@pytest.mark.parametrize("degrees", [0.0, 90.0, 135.0, 180.0, 225.0])
def test_there_are_no_holes_from_any_side(scene: Scene, degrees: float) -> None:
    alpha = scene.render(HeadParameters.at_rest(), around(scene, degrees))[..., 3].numpy()
    silhouette = binary_fill_holes(alpha > 0.5)
    assert silhouette.mean() > 0.2
    inner = binary_erosion(silhouette, iterations=3)
    assert alpha[inner].min() > 0.97
    assert alpha.max() <= 1 + 1e-5


def test_the_back_of_the_head_has_the_hairs_color(scene: Scene) -> None:
    camera = around(scene, 180.0)
    picture = scene.render(HeadParameters.at_rest(), camera)
    pixel, _ = camera.project(torch.tensor([[0.0, 0.07, -0.1]]))
    column, row = pixel[0].long().tolist()
    patch = picture[row - 4 : row + 4, column - 4 : column + 4, :3].mean((0, 1))
    hair, skin = torch.tensor(HAIR), torch.tensor(SKIN)
    assert (patch - hair).norm() < 0.4 * (patch - skin).norm()


def test_a_symmetric_photo_makes_a_symmetric_silhouette(scene: Scene) -> None:
    front, back = (scene.render(HeadParameters.at_rest(), around(scene, d))[..., 3] for d in (0.0, 180.0))
    for alpha in (front, back):
        assert ((alpha > 0.5) != (alpha.flip(1) > 0.5)).float().mean() < 0.005
    left, right = (scene.render(HeadParameters.at_rest(), around(scene, d))[..., 3] for d in (60.0, -60.0))
    assert ((left > 0.5) != (right.flip(1) > 0.5)).float().mean() < 0.005


def test_the_shell_lies_close_on_a_bare_head(scene: Scene) -> None:
    assert scene.shell.thickness.amin() >= 0
    assert scene.shell.thickness.median() < 0.02
    assert scene.cover.shape[-1] == 4
    assert scene.cover[..., 3].amin() >= 0
    assert scene.cover[..., 3].amax() <= 1


def test_colors_stay_colors(scene: Scene) -> None:
    for picture in (scene.skin, scene.cover, scene.trust):
        assert picture.isfinite().all()
        assert picture.amin() >= -1e-4
        assert picture.amax() <= 1 + 1e-4
    assert scene.trust.max() > 0.9  # the photo shows something


def test_an_open_mouth_shows_its_dark_inside(scene: Scene, photo: Preprocessed) -> None:
    rest = HeadParameters.at_rest()
    expression = torch.zeros(1, 52)
    expression[0, 24] = 1.0  # jawOpen
    camera = photo.track.camera.resized(320, 320)
    closed = scene.render(rest, camera)
    opened = scene.render(HeadParameters(expression, rest.gaze, rest.neck, rest.head_pose), camera)
    vertices = scene.head.vertices(expression, rest.gaze, rest.neck)[0]
    lips = camera.project(scene.head.model.landmarks(vertices)[[13, 14]])[0]
    column, row = lips.mean(0).long().tolist()
    assert lips[1, 1] - lips[0, 1] > 12  # the gap is there
    assert opened[row, column, :3].sum() < 0.6 * closed[row, column, :3].sum()


def test_the_same_seed_makes_the_same_scene(model: HeadModel, photo: Preprocessed, scene: Scene) -> None:
    seen = SeenPerson.of(model, photo)
    again = seen.scene(0)
    assert seen.scene(0) is again  # built once
    for first, second in (
        (scene.skin, again.skin),
        (scene.cover, again.cover),
        (scene.shell.vertices, again.shell.vertices),
    ):
        torch.testing.assert_close(first, second, atol=0, rtol=0)


def test_gaussians_start_on_the_scene(scene: Scene, mean_head: PersonalHead) -> None:
    samples = sample_scene(scene, 2000, torch.Generator().manual_seed(0))
    model = scene.head.model
    assert {len(values) for values in samples} == {2000}
    on_skin = samples.binding < len(model.faces)
    assert on_skin.any()
    assert int(samples.binding.max()) < 2 * len(model.faces)
    # Those on the skin lie in the plane of their triangle, eyes a millimetre below, those of the shell within reach of theirs.
    corners = mean_head.neutral[model.faces[samples.binding % len(model.faces)]]
    normal = functional.normalize(
        torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), dim=-1
    )
    off_plane = ((samples.points - corners[:, 0]) * normal).sum(-1).abs()
    eyeball = torch.isin(model.face_part[samples.binding % len(model.faces)], torch.tensor([1, 2])) & on_skin
    assert off_plane[on_skin & ~eyeball].max() < 1e-5
    assert off_plane[eyeball].max() < 0.0015
    assert (samples.points - corners.mean(1)).norm(dim=-1)[~on_skin].median() < 0.02
    assert samples.opacity.amin() > 0
    assert samples.spacing.amin() > 1e-4
    assert samples.spacing.amax() < 0.05
    assert samples.colors.amin() >= -1e-4
    # Eyes, being small and fine, get more than their share.
    eyes = torch.isin(
        model.face_part[samples.binding[on_skin]], torch.tensor([PARTS.index("eye_l"), PARTS.index("eye_r")])
    )
    assert 0.01 < float(eyes.float().mean()) < 0.5
    torch.testing.assert_close(samples.normals.norm(dim=-1), torch.ones(2000), atol=1e-4, rtol=0)
    assert np.isfinite(samples.points.numpy()).all()


def test_hair_that_was_found_is_cover_whatever_its_color(model: HeadModel, photo: Preprocessed) -> None:
    """Hair of the skin's own color on the forehead: colors cannot tell it, the hair network can."""
    top = photo.track.landmarks[10]
    rows, columns = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    fringe = ((columns - top[0]).abs() < 8) & ((rows - top[1]).abs() < 4)

    def cover(labels: Tensor | None) -> Tensor:
        portrait = replace(photo.portrait, labels=labels)
        return SeenPerson.of(model, replace(photo, portrait=portrait)).photo.cover[fringe]

    assert cover(None).mean() < 0.3
    assert cover(torch.where(fringe, Label.HAIR, Label.SKIN).to(torch.uint8)).mean() > 0.8
