"""What the training pictures of an avatar say, and how far they are believed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from avatarcli.capture.portrait import Portrait
from avatarcli.capture.preprocessed import Preprocessed
from avatarcli.gaussians.bust import Bust
from avatarcli.gaussians.openings import between_rims, hidden_at_rest
from avatarcli.gaussians.pictures import FRONTAL, TrainingPicture
from avatarcli.gaussians.start import Start
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.geometry.rotations import axis_angle_to_matrix, rigid
from avatarcli.head.expressions import EXPRESSION_INDEX, NAMED_EXPRESSIONS, expression_vector
from avatarcli.head.model import REGIONS, PersonalHead
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing
from avatarcli.multiview.pictures import MultiViewVideo
from avatarcli.multiview.plan import make_plan
from avatarcli.stages.shown_clothes import ShownClothes
from avatarcli.stages.shown_colors import shown_colors
from avatarcli.stages.training_pictures import (
    Authority,
    ViewPictures,
    close_up,
    draw_openings,
    face_mask,
    photo_authority,
    training_photos,
    without_contradictions,
)
from drawing import drawn_on
from toy_photos import SIZE, start_of, track_of, view


def open_mouth() -> HeadParameters:
    expression = torch.zeros(1, 52)
    expression[0, EXPRESSION_INDEX["jawOpen"]] = 0.8
    return replace(HeadParameters.at_rest(), expression=expression)


def seen_regions(head: PersonalHead, parameters: HeadParameters, camera: Camera) -> Tensor:
    """The region [H, W] that each pixel sees; −1 where it sees none, or a border of two."""
    model = head.model
    raster = rasterize_mesh(head.in_world(parameters)[0], model.faces, camera)
    corners = model.region[model.faces[raster.face.clamp(min=0)]].long()
    alike = raster.covered & (corners == corners[..., :1]).all(-1)
    return torch.where(alike, corners[..., 0], -1)


def in_eyes(head: PersonalHead) -> Tensor:
    """Which triangles [F] (bool) are of the eyes."""
    return head.model.in_regions("eye")[head.model.faces].all(-1)


@pytest.mark.parametrize("degrees", [0.0, 40.0, -40.0])
def test_with_an_expression_the_face_counts_and_hair_and_shoulders_do_not(
    mean_head: PersonalHead, degrees: float
) -> None:
    camera = view(mean_head, degrees)
    for parameters in (HeadParameters.at_rest(), open_mouth()):
        mask, region = face_mask(mean_head, parameters, camera), seen_regions(mean_head, parameters, camera)
        assert mask.shape == (SIZE, SIZE)
        assert mask.min() >= 0
        assert mask.max() <= 1 + 1e-5

        def of(*names: str, mask: Tensor = mask, region: Tensor = region) -> Tensor:
            return mask[torch.isin(region, torch.tensor([REGIONS.index(name) for name in names]))]

        assert of("nose", "lip", "eyelid", "eye").mean() > 0.97
        assert of("nose", "lip", "eyelid", "eye").min() > 0.5  # the nose may be the outline
        assert of("face").mean() > 0.9
        assert of("torso").max() < 0.01
        assert of("scalp", "ear", "neck").mean() < 0.15
        background = mask[region < 0][mask[region < 0] < 0.5]
        assert (background == 0).float().mean() > 0.9
        # The border is soft, but narrow.
        between = (mask > 0.05) & (mask < 0.95)
        assert 0.005 < between.float().mean() < 0.08


def test_the_mask_follows_the_chin_down(mean_head: PersonalHead) -> None:
    camera = view(mean_head, 0.0)
    rest, opened = (face_mask(mean_head, parameters, camera) for parameters in (HeadParameters.at_rest(), open_mouth()))
    lowest = [int((mask > 0.5).any(1).nonzero().max()) for mask in (rest, opened)]
    assert lowest[1] > lowest[0] + 2
    # The open mouth is part of the face.
    vertices = mean_head.in_world(open_mouth())[0]
    lips = camera.project(mean_head.model.landmarks(vertices)[[13, 14]])[0]
    column, row = lips.mean(0).long().tolist()
    assert lips[1, 1] - lips[0, 1] > 4
    assert opened[row, column] > 0.95


def test_an_open_mouth_is_drawn_as_the_start_has_it_and_nothing_else_is(mean_head: PersonalHead) -> None:
    camera, start = view(mean_head, 0.0), start_of(mean_head)
    region = seen_regions(mean_head, open_mouth(), camera)
    inside = torch.isin(region, torch.tensor([REGIONS.index(name) for name in ("mouth_cavity", "teeth", "tongue")]))
    assert inside.sum() > 20
    picture = torch.full((SIZE, SIZE, 4), 0.3)
    draw_openings(picture, start, between_rims(mean_head) & ~in_eyes(mean_head), open_mouth(), camera)
    drawn = start.draw(open_mouth(), camera)
    middle = -torch.nn.functional.max_pool2d(-inside.float()[None], 3, stride=1, padding=1)[0] > 0
    assert (picture[..., :3] - drawn.color)[middle].abs().mean() < 0.03
    assert (picture[..., 3] - drawn.alpha)[middle].abs().mean() < 0.03
    changed = (picture - 0.3).abs().amax(-1) > 1e-3
    wide = torch.nn.functional.max_pool2d(inside.float()[None], 7, stride=1, padding=3)[0] > 0
    assert not (changed & ~wide).any()


def test_eyes_are_drawn_as_the_start_has_them_and_shut_lids_when_they_are_shut(mean_head: PersonalHead) -> None:
    camera, start = view(mean_head, 0.0), start_of(mean_head)
    shut = torch.tensor([expression_vector(NAMED_EXPRESSIONS["blink"])])
    changed = []
    for expression, hidden in ((shut * 0, between_rims(mean_head)), (shut, hidden_at_rest(mean_head))):
        parameters = replace(HeadParameters.at_rest(), expression=expression)
        picture = torch.full((SIZE, SIZE, 4), 0.3)
        draw_openings(picture, start, hidden, parameters, camera)
        changed.append((picture - 0.3).abs().amax(-1) > 0.1)
        region = seen_regions(mean_head, parameters, camera)
        eyes = region == REGIONS.index("eye")
        assert changed[-1][eyes].float().mean() > 0.6 or not eyes.any()
        assert not changed[-1][region == REGIONS.index("scalp")].any()
    assert min(int(where.sum()) for where in changed) > 8  # shut lids end at the lower ones


def test_from_behind_a_picture_stays_as_it_is(mean_head: PersonalHead) -> None:
    picture = torch.full((SIZE, SIZE, 4), 0.3)
    draw_openings(picture, start_of(mean_head), hidden_at_rest(mean_head), open_mouth(), view(mean_head, 180.0))
    assert (picture == 0.3).all()


def test_a_photos_eye_on_the_heads_lid_is_not_believed(mean_head: PersonalHead) -> None:
    camera, rest = view(mean_head, 0.0), HeadParameters.at_rest()
    start, eyes = start_of(mean_head), seen_regions(mean_head, rest, camera) == REGIONS.index("eye")
    alpha = start.draw(rest, camera).alpha.clamp(0, 1)
    photo = TrainingPicture(camera, rest, -1, torch.zeros(SIZE, SIZE, 3), alpha, torch.ones(SIZE, SIZE))
    landmarks, _ = camera.project(mean_head.model.landmarks(mean_head.neutral))
    trust = [
        without_contradictions(photo, start, track_of(mean_head, camera, landmarks + shift), SIZE).trust
        for shift in (torch.zeros(2), torch.tensor([0.0, -6.0]))
    ]
    lids = eyes.roll(-6, 0) & ~eyes
    assert trust[0][lids].mean() > 0.9
    assert trust[1][lids].mean() < 0.4
    # Where the head shows its eye, lids of the photo do no harm.
    assert trust[1][eyes].mean() > 0.95
    assert trust[1].mean() > 0.95


def photo_of(head: PersonalHead, size: int) -> Preprocessed:
    """A photo of the whole bust, `size` pixels wide, whose colors say where in it they are."""
    camera = view(head, 0.0).resized(size, size)
    place = (torch.arange(size) + 0.5) / size
    rows, columns = torch.meshgrid(place, place, indexing="ij")
    image, whole = torch.stack([rows, columns, torch.full_like(rows, 0.5)], dim=-1), torch.ones(size, size)
    landmarks, _ = camera.project(head.model.landmarks(head.neutral))
    return Preprocessed(Portrait(image, image, whole, whole), track_of(head, camera, landmarks))


def test_a_close_up_shows_the_photos_face_more_finely(mean_head: PersonalHead) -> None:
    photo, start = photo_of(mean_head, 256), start_of(mean_head)
    close = close_up(photo, start, 96)
    assert close is not None
    assert close.moment == FRONTAL
    assert close.color.shape == (*close.alpha.shape, 3) == (*close.trust.shape, 3)
    assert close.color.shape[:2] == (close.camera.height, close.camera.width)
    assert 90 <= close.camera.width <= 97
    # The camera sees what the picture shows: the face, and around it as much again as a hand is wide at most.
    place, _ = close.camera.project(mean_head.model.landmarks(mean_head.neutral))
    assert (place > 0).all()
    assert (place < 96).all()
    whole, _ = photo.track.camera.project(mean_head.model.landmarks(mean_head.neutral))
    shown = close.color[place[:, 1].long(), place[:, 0].long(), :2] * 256
    assert (shown - whole.flip(-1)).abs().max() < 3
    spread = (place.amax(0) - place.amin(0)).amax()
    assert spread > 1.25 * 96 / 256 * (whole.amax(0) - whole.amin(0)).amax()


def test_a_photo_that_is_no_finer_has_no_close_up(mean_head: PersonalHead) -> None:
    assert close_up(photo_of(mean_head, 100), start_of(mean_head), 96) is None


def test_from_behind_no_face_counts(mean_head: PersonalHead) -> None:
    assert face_mask(mean_head, open_mouth(), view(mean_head, 180.0)).mean() < 0.01


def test_heads_at_rest_are_believed_everywhere_and_expressions_on_the_face(
    mean_head: PersonalHead, tmp_path: Path
) -> None:
    framing = Framing.of(mean_head.neutral)
    face = mean_head.neutral[mean_head.model.in_regions("face")]
    plan = make_plan(framing, face, views=2, face_views=1, frames=2, size=32)
    video = MultiViewVideo(tmp_path, plan, framing, "toy")
    for place in plan.pictures:
        video.write_frame(*place, torch.full((32, 32, 4), 0.2 + 0.2 * place[0] + 0.1 * place[1]))
    photo = TrainingPicture(
        plan.cameras[0], HeadParameters.at_rest(), -1, torch.zeros(8, 8, 3), torch.zeros(8, 8), torch.zeros(8, 8)
    )
    start = start_of(mean_head)
    hidden = between_rims(mean_head), hidden_at_rest(mean_head)
    authority = Authority(start, torch.zeros(1, start.avatar.count), torch.ones(1, 3))
    pictures = ViewPictures([photo], video, mean_head, authority, hidden)
    assert len(pictures) == 5
    assert pictures[0] is photo
    for index, (seat, frame) in enumerate(plan.pictures, 1):
        picture = pictures[index]
        assert picture.moment == frame
        assert torch.equal(picture.parameters.expression[0], plan.parameters.expression[frame])
        assert torch.equal(picture.camera.K, plan.cameras[seat].K)
        assert float(picture.alpha.mean()) == pytest.approx(0.2 + 0.2 * seat + 0.1 * frame, abs=0.01)
        colored = (picture.color - picture.alpha[..., None]).abs().amax(-1) > 0.01
        # Eyes, and a mouth that is open in some frames, are drawn into the toy's grey.
        assert colored.float().mean() < 0.05
        assert (picture.trust == 1).all() == (frame == 0)
    # A bust's shape gives heads at rest their outline, and no others.
    shape = Bust(torch.full((4, 4, 4), -1.0), mean_head.neutral.amin(0), 0.1, torch.tensor([0.0, -0.05, 0.0]))
    outlined = ViewPictures([photo], video, mean_head, authority, hidden, bust=shape)
    for index, (seat, frame) in enumerate(plan.pictures, 1):
        if seat < 2 or frame > 0:  # the face alone ends somewhere below the chin
            bottom = pictures[index].alpha[-1] * (frame > 0)
            assert torch.equal(outlined[index].alpha[-1], bottom)
    moving = pictures[4].trust
    assert torch.equal(moving, face_mask(mean_head, plan.parameters[1:], plan.cameras[2]))
    assert moving.max() > 0.95
    assert moving.min() < 0.05


def test_views_beside_the_photo_leave_to_it_what_its_expression_does_not_move(mean_head: PersonalHead) -> None:
    start = start_of(mean_head)
    turn = torch.deg2rad(torch.tensor(30.0))
    parameters = HeadParameters.at_rest()
    parameters = replace(
        parameters, head_pose=rigid(axis_angle_to_matrix(torch.tensor([0.0, turn, 0.0])), torch.zeros(3))[None]
    )
    camera = view(mean_head, 30.0)  # it looks at the turned head from the front
    alpha = start.draw(parameters, camera).alpha.clamp(0, 1)
    photo = TrainingPicture(camera, parameters, -1, torch.zeros(SIZE, SIZE, 3), alpha, torch.ones(SIZE, SIZE))
    share = photo_authority(start, photo)
    region = mean_head.model.region[mean_head.model.faces[start.avatar.binding]].long()
    nose = (region == REGIONS.index("nose")).all(-1)
    assert share[nose].max() > 0.9
    lips = (region == REGIONS.index("lip")).all(-1)
    talking = photo_authority(start, replace(photo, parameters=replace(parameters, expression=open_mouth().expression)))
    assert share[lips].max() > 0.5
    assert talking[lips & (start.avatar.means[:, 1] < start.avatar.means[lips, 1].mean())].max() < 0.1
    torso = (region == REGIONS.index("torso")).all(-1)
    front, back = start.avatar.means[:, 2] > 0.03, start.avatar.means[:, 2] < -0.08
    assert share[torso & front].max() > 0.9
    assert share[torso & back].max() == 0

    authority = Authority.of(start, [photo])
    for degrees in (0.0, 20.0, 60.0, 150.0, 180.0):
        seen = view(mean_head, degrees)
        trust, shown = (
            authority.trust(HeadParameters.at_rest(), seen),
            seen_regions(mean_head, HeadParameters.at_rest(), seen),
        )
        chest, nose = (trust[shown == REGIONS.index(name)] for name in ("torso", "nose"))
        assert chest.mean() < 0.6 if degrees < 45 else chest.min() < 0.5 if degrees < 90 else chest.min() == 1
        assert degrees != 60.0 or nose.min() > 0.8  # of clothes it decides for longer than of a face
        assert trust[shown < 0].mean() > 0.9

    nowhere = photo_authority(start, replace(photo, trust=torch.zeros(SIZE, SIZE)))
    assert nowhere.max() == 0


def test_each_photo_decides_beside_its_own_direction(mean_head: PersonalHead) -> None:
    start, rest = start_of(mean_head), HeadParameters.at_rest()
    photos = []
    for moment, degrees in ((-1, 0.0), (-2, 90.0)):
        camera = view(mean_head, degrees)
        alpha = start.draw(rest, camera).alpha
        photos.append(
            TrainingPicture(camera, rest, moment, alpha[..., None].repeat(1, 1, 3), alpha, torch.ones_like(alpha))
        )
    alone, both = Authority.of(start, photos[:1]), Authority.of(start, photos)
    for degrees, known in ((0.0, True), (90.0, False), (-90.0, False)):
        camera = view(mean_head, degrees)
        head = start.draw(rest, camera).alpha > 0.9
        assert (alone.trust(rest, camera)[head].mean() < 0.5) == known
        assert (both.trust(rest, camera)[head].mean() < 0.5) == (known or degrees == 90.0)


def test_pictures_are_prepared_on_the_device_of_the_fit(
    mean_head: PersonalHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one draw on another: a GPU's fit would wait for the CPU's kernels to be compiled."""
    framing, hidden = Framing.of(mean_head.neutral), (between_rims(mean_head), hidden_at_rest(mean_head))
    face = mean_head.neutral[mean_head.model.in_regions("face")]
    video = MultiViewVideo(tmp_path, make_plan(framing, face, views=2, face_views=1, frames=2, size=64), framing, "toy")
    for place in video.plan.pictures:
        video.write_frame(*place, torch.full((64, 64, 4), 0.5))
    devices, start = drawn_on(monkeypatch), Start(start_of(mean_head).avatar, "elsewhere")
    seen, drawn = photo_of(mean_head, 256), 0

    def draws() -> bool:
        """Whether something has been drawn since this was last asked."""
        nonlocal drawn
        before, drawn = drawn, len(devices)
        return drawn > before

    photos = training_photos([seen, seen], start, 64, video)
    assert draws()
    assert close_up(seen, start, 64) is not None
    assert draws()
    authority = Authority.of(start, photos)
    assert draws()
    clothes = ShownClothes.of(start, photos)
    assert draws()
    views = ViewPictures(photos, video, mean_head, authority, hidden, clothes)
    pictures = []
    for index in range(len(photos), len(views)):
        pictures.append(views[index])
        assert draws()
    shown_colors(start, [*photos, *(picture for picture in pictures if picture.moment == 0)])
    assert draws()
    assert set(devices) == {"elsewhere"}
