"""The tracker's errors: their geometry, their statistics, and what a misfit head is like."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from avatarcli.errors import WeightsError
from avatarcli.geometry.cameras import Camera, orbit_cameras
from avatarcli.geometry.rotations import axis_angle_to_matrix, rigid
from avatarcli.head.model import HeadModel, PersonalHead
from avatarcli.head.parameters import HeadParameters
from avatarcli.head.photo_fit import PhotoFit
from avatarcli.studio.misfit import TrueHead, disturb_clip, fit_truth, measure_error, move_camera, pivot, similarity
from avatarcli.studio.tracker_error import (
    COVARIATES,
    ERROR_SIZE,
    SHAPE_SIZE,
    TrackerError,
    estimate,
    load_statistics,
)
from toy_scenes import faultless_tracker

SIZE = 128


def camera(yaw: float = 0.3, pitch: float = 0.1, distance: float = 0.9) -> Camera:
    angles = torch.tensor([yaw]), torch.tensor([pitch])
    target = torch.tensor([0.01, -0.02, 0.0])
    return orbit_cameras(*angles, distance=distance, target=target, focal=SIZE * distance / 0.4, size=SIZE)[0]


@pytest.fixture(scope="module")
def truth(model: HeadModel) -> TrueHead:
    generator = torch.Generator().manual_seed(1)
    neutral = model.neutral(0.8 * torch.randn(model.identity_size, generator=generator))
    rest = HeadParameters.at_rest()
    expression = torch.zeros(1, 52)
    expression[0, 20:25] = 0.4
    return TrueHead(neutral, camera(), replace(rest, expression=expression))


def random_error(seed: int) -> TrackerError:
    generator = torch.Generator().manual_seed(seed)
    vector = 0.05 * torch.randn(ERROR_SIZE, generator=generator)
    vector[-SHAPE_SIZE:] *= 10
    return TrackerError.of(vector)


def track_of(misfit_camera: Camera, identity: Tensor, residual: Tensor, parameters: HeadParameters) -> PhotoFit:
    return PhotoFit(
        misfit_camera, identity, residual, parameters.expression[0], parameters.gaze[0], torch.zeros(478, 2), torch.zeros(52)
    )  # fmt: skip


def test_vector_and_parts_are_the_same_numbers() -> None:
    vector = torch.randn(3, ERROR_SIZE, generator=torch.Generator().manual_seed(0))
    error = TrackerError.of(vector)
    assert error.gaze.shape == (3, 2, 2)
    assert torch.equal(error.vector(), vector)


def test_no_error_gives_the_true_head_and_camera(model: HeadModel, truth: TrueHead) -> None:
    misfit = fit_truth(model, truth, TrackerError.of(torch.zeros(ERROR_SIZE)), faultless_tracker())
    assert torch.allclose(misfit.head.neutral, truth.neutral, atol=1e-5)
    # The shipped basis can make this head, so there is next to nothing left over.
    assert misfit.residual.norm(dim=-1).mean() < 2e-5
    assert torch.allclose(misfit.camera.world_to_camera, truth.camera.world_to_camera, atol=1e-6)
    assert torch.allclose(misfit.camera.K, truth.camera.K)
    assert torch.equal(misfit.parameters.expression, truth.parameters.expression)


def test_camera_error_moves_the_pivot_by_its_offset_and_scale(model: HeadModel) -> None:
    centre = pivot(model)
    true, error = camera(), random_error(2)
    moved = move_camera(true, centre, error)
    (p0, d0), (p1, d1) = (c.project(centre[None]) for c in (true, moved))
    scale0, scale1 = true.K[0, 0] / d0, moved.K[0, 0] / d1
    assert torch.allclose(p1 - p0, error.offset[None] * scale0, atol=1e-3)
    assert torch.allclose((scale1 / scale0).log(), error.log_scale, atol=1e-5)
    assert torch.allclose((d1 / d0).log(), error.log_distance, atol=1e-5)
    relative = moved.world_to_camera[:3, :3] @ true.world_to_camera[:3, :3].T
    assert torch.allclose(relative, axis_angle_to_matrix(error.rotation), atol=1e-5)


def test_measuring_a_misfit_finds_its_error(model: HeadModel, truth: TrueHead) -> None:
    error = random_error(3)
    # A change of the shape that turns, moves or scales the head is told as the camera's: leave the shape alone here.
    error = replace(error, shape=torch.zeros(SHAPE_SIZE), expression=error.expression.abs())
    misfit = fit_truth(model, truth, error, faultless_tracker())
    track = track_of(misfit.camera, misfit.identity, misfit.residual, misfit.parameters)
    found = measure_error(model, truth, track)
    expected = misfit.parameters.expression[0] - truth.parameters.expression[0]
    assert torch.allclose(found.vector(), replace(error, expression=expected).vector(), atol=2e-3)


def test_errors_do_not_know_the_fitted_world(model: HeadModel, truth: TrueHead) -> None:
    """A fit turned, moved and scaled as a whole, camera and head, makes the same picture and has the same error."""
    misfit = fit_truth(model, truth, random_error(4), faultless_tracker())
    track = track_of(misfit.camera, misfit.identity, misfit.residual, misfit.parameters)
    turn, shift, scale = axis_angle_to_matrix(torch.tensor([0.1, -0.2, 0.05])), torch.tensor([0.01, 0.02, -0.03]), 1.1
    neutral = scale * misfit.head.neutral @ turn.T + shift
    w2c = misfit.camera.world_to_camera
    rotation = w2c[:3, :3] @ turn.T
    pose = rigid(rotation, scale * w2c[:3, 3] - rotation @ shift)
    moved = replace(misfit.camera, world_to_camera=pose)
    elsewhere = replace(track, camera=moved, residual=track.residual + neutral - misfit.head.neutral)
    a, b = (measure_error(model, truth, t).vector() for t in (track, elsewhere))
    assert torch.allclose(a, b, atol=2e-3)


def test_similarity_is_found(model: HeadModel) -> None:
    points = model.mean[:200]
    turn, shift = axis_angle_to_matrix(torch.tensor([0.3, -1.0, 0.2])), torch.tensor([0.1, 0.0, -0.2])
    scale, rotation, offset = similarity(points, 0.7 * points @ turn.T + shift)
    assert scale == pytest.approx(0.7, abs=1e-5)
    assert torch.allclose(rotation, turn, atol=1e-5)
    assert torch.allclose(offset, shift, atol=1e-5)


def test_a_bent_neck_goes_into_the_camera(model: HeadModel, mean_head: PersonalHead) -> None:
    parameters = HeadParameters.at_rest()
    parameters = replace(parameters, neck=torch.tensor([[0.1, 0.4, -0.1]]))
    truth = TrueHead.of(model, mean_head.neutral, mean_head.joints, camera(), parameters)
    face = model.in_regions("face", "nose")
    posed = mean_head.posed(parameters)[0]
    true_pixels, _ = camera().project(posed[face])
    pixels, _ = truth.camera.project(mean_head.neutral[face])
    assert not truth.parameters.neck.any()
    # The skin of the face follows the skull but for its lower edge.
    assert (pixels - true_pixels).norm(dim=-1).median() < 0.05


def test_statistics_come_back_from_errors_drawn_of_them() -> None:
    generator = torch.Generator().manual_seed(5)
    count, columns = 400, list(range(7, 59)) + list(range(63, ERROR_SIZE))
    strong = torch.randn(3, ERROR_SIZE, generator=generator)
    trend = torch.randn(COVARIATES, ERROR_SIZE, generator=generator)
    places = torch.randn(count, COVARIATES, generator=generator)
    places[:, 0] = 1
    truths = torch.randn(count, len(columns), generator=generator)
    noise = 0.3 * torch.randn(count, ERROR_SIZE, generator=generator)
    errors = torch.randn(count, 3, generator=generator) @ strong + places @ trend + noise
    errors[:, columns] -= 0.4 * truths
    found = estimate(errors, places, truths, factors=3, source="a test")
    gains = torch.cat([found.expression_gain, found.shape_gain])
    assert (gains - 0.6).abs().mean() < 0.1
    assert (found.mean - trend).abs().mean() < 0.15
    covariance = found.factors.T @ found.factors + torch.diag(found.noise.square())
    wanted = strong.T @ strong + 0.09 * torch.eye(ERROR_SIZE)
    assert (covariance - wanted).norm() < 0.25 * wanted.norm()
    drawn = torch.stack([found.draw(generator, places[0]).vector() for _ in range(600)])
    assert (drawn.mean(0) - places[0] @ found.mean).abs().mean() < 0.15
    assert drawn.var(0).sum() == pytest.approx(float(covariance.trace()), rel=0.15)


def test_clips_err_smoothly_and_as_much_in_every_frame() -> None:
    statistics = load_statistics()
    clip = torch.stack([statistics.draw_clip(torch.Generator().manual_seed(s), 40, 6.0).vector() for s in range(60)])
    variance = statistics.factors.square().sum(0) + statistics.noise.square()
    per_frame = (clip.square().mean(0) / variance).mean(1)
    assert per_frame.min() > 0.8
    assert per_frame.max() < 1.2
    step = (clip.diff(dim=1).square().mean((0, 1)) / variance).mean()
    assert 0 < step < 0.05


def test_disturbed_clips_stay_near_and_legal(model: HeadModel) -> None:
    rest = HeadParameters.at_rest(13)
    clip = disturb_clip(model, load_statistics(), rest, torch.Generator().manual_seed(2))
    assert clip.expression.shape == (13, 52)
    assert clip.expression.min() >= 0
    assert 0 < clip.expression.max() < 0.5
    assert (clip.head_pose[:, :3, 3].norm(dim=-1) < 0.02).all()
    assert torch.equal(clip.neck, rest.neck)


def test_shipped_statistics_make_credible_heads(model: HeadModel, truth: TrueHead) -> None:
    statistics = load_statistics()
    face = model.in_regions("face", "nose", "lip", "eyelid")
    distances = []
    for seed in range(12):
        error = statistics.draw(torch.Generator().manual_seed(seed), truth.circumstances(model))
        misfit = fit_truth(model, truth, error, statistics)
        distances.append(float((misfit.head.neutral - truth.neutral)[face].norm(dim=-1).mean()))
        assert misfit.camera.K[0, 0] == pytest.approx(float(truth.camera.K[0, 0]), rel=0.9)
        assert misfit.parameters.expression.min() >= 0
        assert misfit.parameters.expression.max() <= 1
    # Millimetres, not centimetres; and no two alike.
    assert 0.5e-3 < min(distances) < max(distances) < 15e-3
    assert len({round(d, 6) for d in distances}) == 12


def test_statistics_survive_their_file(tmp_path: Path) -> None:
    shipped = load_statistics()
    path = tmp_path / "errors.json"
    path.write_text(json.dumps(shipped.to_json()))
    again = load_statistics(path)
    for name, value in vars(shipped).items():
        assert torch.equal(value, getattr(again, name)) if isinstance(value, Tensor) else value == getattr(again, name)


@pytest.mark.parametrize("text", ["{}", "[", '{"format_version": 9}'])
def test_damaged_statistics_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "errors.json"
    path.write_text(text)
    with pytest.raises(WeightsError, match=r"errors\.json.*install avatarcli again"):
        load_statistics(path)
