"""Light from one side, found and softened: of synthetic samples, and of photos of the mean head in painted colors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.capture.portrait import Label, Portrait
from avatarcli.capture.preprocessed import Preprocessed
from avatarcli.geometry.cameras import orbit_cameras
from avatarcli.geometry.colors import log_colors
from avatarcli.geometry.mesh import rasterize_mesh, vertex_normals, visible_points
from avatarcli.head.model import HeadModel
from avatarcli.head.photo_fit import PhotoFit
from avatarcli.reproject.side_light import SideLight, find_side_light, side_lift, softened

SIZE = 256
FAIR, DARK = (0.85, 0.65, 0.55), (0.42, 0.28, 0.22)
FROM_LEFT = (0.8, 0.3, 0.52)  # a lamp 57° to the left
NOTHING = torch.zeros(1)


def take_photo(model: HeadModel, skin: tuple[float, float, float], lamp: float) -> Preprocessed:
    """The bare mean head from the front, in soft light and that of a lamp from its left, so many times as strong."""
    camera = orbit_cameras(
        NOTHING, NOTHING, distance=1.2, target=torch.tensor([0.0, -0.04, 0.0]), focal=2.3 * SIZE, size=SIZE
    )[0]
    normals = vertex_normals(model.mean, model.faces)
    light = (1 + lamp * (normals @ torch.tensor(FROM_LEFT)).clamp(min=0)) / (1 + 0.8 * lamp)
    color = torch.tensor(skin) * light[:, None] ** (1 / 2.2)
    color[model.in_regions("lip")] *= torch.tensor([0.9, 0.6, 0.6])
    color[model.in_regions("eye")] = 0.9
    raster = rasterize_mesh(model.mean, model.faces, camera)
    picture, alpha = raster.interpolate(color, model.faces), raster.covered.float()
    track = PhotoFit(
        camera=camera,
        identity=torch.zeros(model.identity_size),
        residual=torch.zeros_like(model.mean),
        expression=torch.zeros(52),
        gaze=torch.zeros(2, 2),
        landmarks=camera.project(model.landmarks(model.mean))[0],
        scores=torch.zeros(52),
    )
    labels = (Label.SKIN * alpha).to(torch.uint8)
    return Preprocessed(Portrait(picture, picture, alpha, torch.ones(SIZE, SIZE), labels), track)


def seen_on(model: HeadModel, photo: Preprocessed, side: int, facing: tuple[float, float]) -> Tensor:
    """The photo's logarithms of colors [K, 3] on one side of the face, where that turns so far from the camera."""
    camera, vertices = photo.track.camera, model.mean
    depth = rasterize_mesh(vertices, model.faces, camera).depth
    pixels, cosine, visible = visible_points(
        vertices, vertex_normals(vertices, model.faces), camera, depth, tolerance=0.004
    )
    chosen = visible & (cosine > facing[0]) & (cosine < facing[1]) & (side * vertices[:, 0] > 0.04)
    column, row = pixels[chosen & model.in_regions("face")].floor().long().unbind(-1)
    return log_colors(photo.portrait.foreground[row, column])


def test_the_lead_of_one_side_is_found_whatever_covers_some_of_it() -> None:
    generator = torch.Generator().manual_seed(0)
    normals = functional.normalize(torch.randn(2000, 3, generator=generator), dim=-1)
    normals = normals[normals[:, 2] > 0.2]
    truth = SideLight(torch.tensor([[0.3, 0.4, 0.45], [0.05, 0.05, 0.05], [0.05, 0.0, 0.0]]))
    lead = truth.lead(normals) + 0.05 * torch.randn(len(normals), 3, generator=generator)
    lead[::6] -= 1.5  # a fringe, or the shadow of a nose
    found = SideLight.fit(lead, normals, torch.ones(len(normals)))
    turned = functional.normalize(torch.tensor([[1.0, 0, 1], [1, 0.3, 0.3], [1, 0, 0]]), dim=-1)
    assert torch.allclose(found.lead(turned), truth.lead(turned), atol=0.08)
    mirrored = turned * torch.tensor([-1.0, 1, 1])
    assert torch.allclose(found.lead(mirrored), -found.lead(turned), atol=1e-6)
    assert found.clear == 1


def test_no_samples_are_no_light() -> None:
    light = SideLight.fit(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0))
    assert light.shapes.isfinite().all()
    assert light.clear == 0


@pytest.mark.parametrize("skin", [FAIR, DARK])
def test_only_the_dark_side_grows_lighter_and_only_where_it_turns_away(
    model: HeadModel, skin: tuple[float, float, float]
) -> None:
    photo = take_photo(model, skin, lamp=4.0)
    lift = side_lift(model, photo)
    soft = softened(model, photo, lift)

    def brighter(side: int, *facing: float) -> Tensor:
        return seen_on(model, soft, side, facing) - seen_on(model, photo, side, facing)

    turning, square = (0.05, 0.25), (0.85, 1.0)
    assert brighter(-1, *turning).mean() > 0.05
    assert brighter(-1, *square).abs().max() < 0.02
    assert brighter(1, 0.05, 1.0).abs().max() < 0.02
    # One side stays the dark one.
    lit, dark = (seen_on(model, soft, side, turning).mean(0) for side in (1, -1))
    assert (lit - dark).min() > 0.15
    # What the photo does not see of that side grows lighter still, and neither the face's front nor the other side does.
    normals = vertex_normals(model.mean, model.faces)
    left, ahead, right = (
        lift[(normals @ torch.tensor(way)) > 0.95].mean() for way in ((1.0, 0, 0), (0, 0, 1.0), (-1.0, 0, 0))
    )
    assert right > brighter(-1, *turning).mean()
    assert max(float(left), float(ahead)) < 0.01


@pytest.mark.parametrize("skin", [FAIR, DARK])
@pytest.mark.parametrize("lamp", [0.0, 0.3])
def test_a_photo_in_ordinary_light_stays_as_it_is(
    model: HeadModel, skin: tuple[float, float, float], lamp: float
) -> None:
    photo = take_photo(model, skin, lamp)
    assert softened(model, photo, side_lift(model, photo)) is photo


def test_half_a_face_tells_nothing(model: HeadModel) -> None:
    """Hair hangs over the dark side of it."""
    photo = take_photo(model, FAIR, lamp=4.0)
    labels = photo.portrait.labels
    assert labels is not None
    labels[:, : SIZE // 2] = Label.HAIR
    assert find_side_light(model, photo).clear == 0


def test_clothes_are_softened_less_than_skin_and_dark_skin_that_labels_take_for_hair_is_not(model: HeadModel) -> None:
    photo = take_photo(model, FAIR, lamp=4.0)
    lift, labels = side_lift(model, photo), photo.portrait.labels
    assert labels is not None

    def change_where_labels_say(label: Label) -> Tensor:
        labels[labels > 0] = label
        return log_colors(softened(model, photo, lift).portrait.foreground) - log_colors(photo.portrait.foreground)

    raster = rasterize_mesh(model.mean, model.faces, photo.track.camera)
    skin, hair, clothes = (change_where_labels_say(label) for label in (Label.SKIN, Label.HAIR, Label.CLOTHES))
    changed = skin.mean(-1) > 0.05
    cheek = changed & (model.shows(raster, "face") > 0)
    assert cheek.any()
    assert torch.equal(hair[cheek], skin[cheek])
    assert (clothes[changed].mean(-1) < 0.5 * skin[changed].mean(-1)).all()
    # A change of light alone: the tint stays.
    assert (clothes.amax(-1) - clothes.amin(-1)).max() < 1e-3
    scalp = changed & (model.shows(raster, "scalp") > 0)
    assert 0 < skin[scalp].mean() < skin[cheek].mean()
