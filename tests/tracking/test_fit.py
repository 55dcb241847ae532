"""The tracker on faces whose truth is known: landmarks of random heads, projected with seeded noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from avatarcli.geometry.cameras import Camera, intrinsics, orbit_cameras
from avatarcli.head.expressions import EXPRESSION_INDEX, expression_vector
from avatarcli.head.model import HeadModel, PersonalHead, load_head_model
from avatarcli.head.photo_fit import PhotoFit
from avatarcli.tracking.fit import SeenFace, fit_photo, fit_photos, fit_pose_expression
from avatarcli.tracking.overlay import draw_overlay
from avatarcli.tracking.residual import Measurement, free_form_offset

SIZE = 512
SMILE = {"mouthSmileLeft": 0.6, "mouthSmileRight": 0.6, "jawOpen": 0.2}


@pytest.fixture(scope="module")
def model() -> HeadModel:
    return load_head_model()


@dataclass(frozen=True)
class Truth:
    head: PersonalHead
    camera: Camera
    expression: torch.Tensor
    gaze: torch.Tensor
    landmarks: NDArray[np.float32]
    scores: NDArray[np.float32]


def truth(model: HeadModel, *, seed: int = 0, yaw: float = 0.0, noise: float = 0.5, weights: dict[str, float]) -> Truth:
    """A random head seen from 1.2 m, its landmarks with `noise` pixels, and scores as a detector reports them:
    larger."""
    generator = torch.Generator().manual_seed(seed)
    identity = 0.7 * torch.randn(model.identity_size, generator=generator)
    head = PersonalHead.create(model, identity)
    expression = torch.tensor(expression_vector(weights))
    gaze = torch.tensor([[0.1, 0.05], [0.1, 0.05]])
    camera = orbit_cameras(
        torch.tensor([yaw]),
        torch.tensor([0.05]),
        distance=1.2,
        target=torch.tensor([0.0, -0.03, 0.05]),
        focal=1700.0,
        size=SIZE,
    )[0]
    vertices = head.vertices(expression[None], gaze[None], torch.zeros(1, 3))[0]
    pixels, _ = camera.project(model.landmarks(vertices))
    pixels = pixels + noise * torch.randn(pixels.shape, generator=generator)
    return Truth(head, camera, expression, gaze, pixels.numpy(), (expression / 0.6).clamp(0, 1).numpy())


def fitted(model: HeadModel, true: Truth) -> PhotoFit:
    return fit_photo(model, true.landmarks, true.scores, SIZE, SIZE)


def reprojection(model: HeadModel, track: PhotoFit, true: Truth) -> float:
    """Median distance in pixels of the fitted landmarks from the true, noisy ones."""
    vertices = PersonalHead.of(model, track).posed(track.parameters())[0]
    pixels, _ = track.camera.project(model.landmarks(vertices))
    return float((pixels - torch.from_numpy(true.landmarks)).norm(dim=-1).median())


def turn_between(a: Camera, b: Camera) -> float:
    relative = a.world_to_camera[:3, :3] @ b.world_to_camera[:3, :3].T
    return math.degrees(math.acos(min(1.0, (float(relative.trace()) - 1) / 2)))


@pytest.mark.parametrize(("seed", "yaw"), [(0, 0.0), (1, 0.6), (2, -0.6)])
def test_recovers_pose_expression_and_gaze(model: HeadModel, seed: int, yaw: float) -> None:
    true = truth(model, seed=seed, yaw=yaw, weights=SMILE)
    track = fitted(model, true)
    assert reprojection(model, track, true) < 1.0
    assert turn_between(track.camera, true.camera) < 3.0
    for name, value in SMILE.items():
        assert abs(float(track.expression[EXPRESSION_INDEX[name]]) - value) < 0.2, name
    assert torch.rad2deg((track.gaze - true.gaze).abs().max()) < 8.0
    assert float(track.expression.min()) >= 0.0
    assert float(track.expression.max()) <= 1.0


def test_identity_is_nearer_to_the_truth_than_the_average_head(model: HeadModel) -> None:
    true = truth(model, seed=3, weights={})
    track = fitted(model, true)
    face = model.in_regions("face", "nose", "lip", "eyelid")

    def shape_error(vertices: torch.Tensor) -> float:
        a, b = (v[face] - v[face].mean(0) for v in (vertices, true.head.neutral))
        return float((a * (b.norm() / a.norm()) - b).norm(dim=-1).mean())

    fitted_head = model.neutral(track.identity) + track.residual
    assert shape_error(fitted_head) < 0.75 * shape_error(model.mean)


def test_neutral_face_gets_no_expression_from_its_shape(model: HeadModel) -> None:
    track = fitted(model, truth(model, seed=4, weights={}))
    looks = [index for name, index in EXPRESSION_INDEX.items() if not name.startswith("eyeLook")]
    assert float(track.expression[looks].max()) < 0.2


def test_residual_is_small_when_the_model_explains_the_face(model: HeadModel) -> None:
    track = fitted(model, truth(model, seed=5, noise=0.0, weights={}))
    assert float(track.residual.norm(dim=-1).max()) < 1e-3


def test_residual_lowers_the_misfit_of_a_face_outside_the_model(model: HeadModel) -> None:
    true = truth(model, seed=6, noise=0.0, weights={})
    landmarks = true.landmarks.copy()
    # A bump of a shape that no identity has: the left half of the chin hangs 5 mm low.
    middle = (landmarks[152] + landmarks[379]) / 2
    bump = np.exp(-np.square(landmarks - middle).sum(1) / (2 * 25.0**2))
    landmarks[:, 1] += 7.0 * bump
    chin = np.flatnonzero(bump > 0.6)
    with_offset = fit_photo(model, landmarks, true.scores, SIZE, SIZE)
    without = fit_photo(model, landmarks, true.scores, SIZE, SIZE, free_form=False)
    assert not without.residual.any()

    def chin_error(track: PhotoFit) -> float:
        vertices = (
            model.neutral(track.identity)
            + track.residual
            + torch.tensordot(track.expression, model.expression_basis, dims=1)
        )
        pixels, _ = track.camera.project(model.landmarks(vertices))
        return float((pixels - track.landmarks).norm(dim=-1)[chin].mean())

    assert chin_error(with_offset) < 0.7 * chin_error(without)


def test_residual_moves_eyes_and_teeth_rigidly_and_mirrors_well(model: HeadModel) -> None:
    rng = np.random.default_rng(0)
    positions = model.landmarks(model.mean).double().numpy()[:468]
    jacobian = np.tile(1000.0 * np.eye(2, 3), (468, 1, 1))
    measured = Measurement(positions, rng.normal(0, 2, (468, 2)), jacobian, np.tile(np.eye(2), (468, 1, 1)))
    offset = free_form_offset(model, model.mean, model.joint_mean, measured)
    for part in ("eye_l", "eye_r", "teeth_upper", "teeth_lower", "tongue"):
        assert float((offset[model.part(part)] - offset[model.part(part)][0]).abs().max()) < 1e-7
    assert float(offset[:, 2].abs().max()) < 1e-3  # nothing was measured along the view
    torso = model.in_regions("torso")
    assert float(offset[torso].norm(dim=-1).max()) < 0.3 * float(offset.norm(dim=-1).max())


def test_matte_pulls_the_head_inside(model: HeadModel) -> None:
    true = truth(model, seed=7, weights={})
    skull = model.in_regions("face", "scalp", "ear", "nose", "lip")
    free = fitted(model, true)
    pixels, _ = free.camera.project((model.neutral(free.identity) + free.residual)[skull])
    # A matte whose right edge cuts off the head's last 6 pixels.
    edge = int(pixels[:, 0].max()) - 6
    matte = np.zeros((SIZE, SIZE), dtype=np.float32)
    matte[:, :edge] = 1.0
    held = fit_photo(model, true.landmarks, true.scores, SIZE, SIZE, matte=matte)
    pulled, _ = held.camera.project((model.neutral(held.identity) + held.residual)[skull])
    assert float(pulled[:, 0].max()) < float(pixels[:, 0].max()) - 1.5


def test_known_person_keeps_identity(model: HeadModel) -> None:
    front, side = truth(model, seed=8, weights={}), truth(model, seed=8, yaw=0.5, weights=SMILE)
    first = fitted(model, front)
    second = fit_pose_expression(
        model, first.identity, first.residual, side.landmarks, side.scores, SIZE, SIZE, focal=1700.0
    )
    assert torch.equal(second.identity, first.identity)
    assert torch.equal(second.residual, first.residual)
    assert turn_between(second.camera, side.camera) < 3.0
    assert reprojection(model, second, side) < 2.5


def test_same_input_same_output(model: HeadModel) -> None:
    true = truth(model, seed=9, weights=SMILE)
    a, b = fitted(model, true), fitted(model, true)
    assert torch.equal(a.identity, b.identity)
    assert torch.equal(a.residual, b.residual)
    assert torch.equal(a.camera.world_to_camera, b.camera.world_to_camera)


def test_stated_focal_length_is_kept(model: HeadModel) -> None:
    true = truth(model, seed=10, weights={})
    track = fit_photo(model, true.landmarks, true.scores, SIZE, SIZE, focal=900.0)
    assert abs(float(track.camera.K[0, 0]) / 900.0 - 1) < 0.15


def test_wrong_input_raises(model: HeadModel) -> None:
    true = truth(model, weights={})
    with pytest.raises(ValueError, match=r"landmarks must have shape \[478, 2\], got \[468, 2\]"):
        fit_photo(model, true.landmarks[:468], true.scores, SIZE, SIZE)
    with pytest.raises(ValueError, match="scores"):
        fit_photo(model, true.landmarks, true.scores[:51], SIZE, SIZE)
    with pytest.raises(ValueError, match="matte"):
        fit_photo(model, true.landmarks, true.scores, SIZE, SIZE, matte=np.ones((4, 4), dtype=np.float32))
    with pytest.raises(ValueError, match="finite"):
        fit_photo(model, true.landmarks * np.nan, true.scores, SIZE, SIZE)


def test_overlay_draws_on_the_face_only(model: HeadModel) -> None:
    track = fitted(model, truth(model, weights={}))
    photo = np.full((SIZE, SIZE, 3), 128, dtype=np.uint8)
    drawn = draw_overlay(photo, track, model)
    assert drawn.shape == photo.shape
    x, y = track.landmarks[4].long().tolist()  # the tip of the nose
    assert np.abs(drawn[y - 5 : y + 5, x - 5 : x + 5].astype(int) - 128).max() > 40
    assert np.abs(drawn[:8, :8].astype(int) - 128).max() <= 1
    with pytest.raises(ValueError, match="512x512"):
        draw_overlay(photo[:100], track, model)


def test_camera_sees_the_middle_of_the_picture(model: HeadModel) -> None:
    track = fitted(model, truth(model, weights={}))
    assert torch.equal(track.camera.K, intrinsics(track.camera.K[0, 0], SIZE, SIZE))


def test_two_photos_share_one_identity_and_know_it_better(model: HeadModel) -> None:
    front, side = truth(model, seed=5, weights=SMILE), truth(model, seed=5, yaw=0.7, weights={})
    alone = fitted(model, front)
    seen = [SeenFace(true.landmarks, true.scores, SIZE, SIZE) for true in (front, side)]
    tracks = fit_photos(model, seen)
    assert torch.equal(tracks[0].identity, tracks[1].identity)
    assert torch.equal(tracks[0].residual, tracks[1].residual)
    for track, true in zip(tracks, (front, side), strict=True):
        assert reprojection(model, track, true) < 1.0
        assert turn_between(track.camera, true.camera) < 3.0
    smile = EXPRESSION_INDEX["mouthSmileLeft"]
    assert tracks[0].expression[smile] > 0.4 > 0.2 > tracks[1].expression[smile]

    face = model.in_regions("face", "nose", "lip", "eyelid")

    def shape_error(track: PhotoFit) -> float:
        a, b = (v[face] - v[face].mean(0) for v in (model.neutral(track.identity) + track.residual, front.head.neutral))
        return float((a * (b.norm() / a.norm()) - b).norm(dim=-1).mean())

    assert shape_error(tracks[0]) < 0.95 * shape_error(alone)
