"""Mattes of a real photo, and the arithmetic below them against slow twins and known mixtures."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from avatarcli.capture._mediapipe import quiet_stderr
from avatarcli.capture.alpha import box, closed_form_alpha, guided_coefficients, local_colors, mixture_alpha, resize
from avatarcli.capture.matte import _agreed, foreground_colors, person_matte
from example_photo import PHOTO


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return np.asarray(Image.open(PHOTO).convert("RGB"))


@pytest.fixture(scope="module")
def matte(astronaut: np.ndarray) -> np.ndarray:
    return person_matte(astronaut)


def test_person_is_opaque_and_background_clear(matte: np.ndarray) -> None:
    assert matte.shape == (512, 512)
    assert matte.dtype == np.float32
    assert matte.min() >= 0
    assert matte.max() <= 1
    assert (matte[60:160, 190:250] == 1).all()  # face
    assert (matte[330:400, 150:250] > 0.98).mean() > 0.98  # suit
    assert matte[:60, :120].max() == 0  # flag
    assert matte[:150, 330:].max() == 0  # shuttle
    assert 0.4 < matte.mean() < 0.65


def test_matte_of_an_enlarged_head_agrees(astronaut: np.ndarray, matte: np.ndarray) -> None:
    """A picture above the solving size goes through the guided filter: same person, finer edge."""
    window = (90, 0, 360, 270)
    large = np.asarray(Image.fromarray(astronaut).crop(window).resize((720, 720), Image.Resampling.BICUBIC))
    fine = person_matte(large)
    coarse = np.asarray(Image.fromarray(matte).crop(window).resize((720, 720), Image.Resampling.BILINEAR))
    assert np.abs(fine - coarse).mean() < 0.03
    assert (fine[100:400, 300:400] == 1).all()


def test_no_person_gives_a_matte_all_the_same() -> None:
    grey = np.full((140, 200, 3), 128, np.uint8)
    matte = person_matte(grey)
    assert matte.shape == (140, 200)
    assert np.isfinite(matte).all()
    assert matte.mean() < 0.2


def mixed_edge(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A brown disc with a soft rim before green: mixture uint8 [S, S, 3], alpha [S, S], foreground [S, S, 3]."""
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    alpha = np.clip((0.32 - np.hypot(x, y)) / 0.08, 0, 1).astype(np.float32)
    shade = (0.8 + 0.4 * x)[..., None]
    front = shade * np.array([120, 70, 40])
    back = (1 - 0.3 * y)[..., None] * np.array([40, 190, 60])
    mixture = alpha[..., None] * front + (1 - alpha[..., None]) * back
    return (mixture + 0.5).astype(np.uint8), alpha, front


@pytest.mark.parametrize("size", [200, 640])
def test_foreground_colors_of_a_known_mixture(size: int) -> None:
    mixture, alpha, front = mixed_edge(size)
    colors = foreground_colors(mixture, alpha)
    band = (alpha > 0.1) & (alpha < 0.95)
    raw = np.abs(mixture[band] - front[band]).mean()
    clean = np.abs(colors[band] - front[band]).mean()
    assert clean < 0.15 * raw
    np.testing.assert_array_equal(colors[alpha == 1], mixture[alpha == 1])


def test_closed_form_recovers_a_soft_edge() -> None:
    mixture, alpha, _ = mixed_edge(96)
    picture = mixture.astype(np.float32) / 255
    unknown = (alpha > 0) & (alpha < 1)
    prior = np.where(unknown, 0.5, alpha).astype(np.float32)
    solved = closed_form_alpha(picture, prior, np.zeros_like(prior), unknown)
    np.testing.assert_array_equal(solved[~unknown], prior[~unknown])
    assert np.abs(solved - alpha)[unknown].mean() < 0.05


def test_mixture_alpha_finds_the_parts() -> None:
    """Half a picture brown, half green, and colors mixed of both in known parts."""
    rng = np.random.default_rng(1)
    brown, green = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.7, 0.3])
    picture = np.where((np.arange(80) < 40)[None, :, None], brown, green) + rng.normal(0, 0.02, (60, 80, 3))
    picture = picture.astype(np.float32)
    left = np.tile((np.arange(80) < 40).astype(np.float32), (60, 1))
    models = [local_colors(picture, weight, sigma=8.0)[np.eye(60, 80, 20, dtype=bool)] for weight in (left, 1 - left)]
    parts = np.linspace(0, 1, 60)
    colors = (parts[:, None] * brown + (1 - parts[:, None]) * green).astype(np.float32)
    alpha, spread = mixture_alpha(colors, *models, np.zeros(60, np.float32), noise=0.03)
    assert np.abs(alpha - parts).max() < 0.15
    assert (spread < 0.2).all()


def test_guided_coefficients_equal_the_slow_definition() -> None:
    rng = np.random.default_rng(2)
    guide = rng.random((9, 9, 3), dtype=np.float32)
    target = rng.random((9, 9), dtype=np.float32)
    radius, epsilon = 1, 1e-2
    slopes = np.zeros((9, 9, 3))
    for y in range(9):
        for x in range(9):
            rows = np.clip(np.arange(y - radius, y + radius + 1), 0, 8)
            columns = np.clip(np.arange(x - radius, x + radius + 1), 0, 8)
            colors = guide[np.ix_(rows, columns)].reshape(-1, 3).astype(float)
            values = target[np.ix_(rows, columns)].ravel().astype(float)
            centred = colors - colors.mean(0)
            slopes[y, x] = np.linalg.solve(
                centred.T @ centred / len(colors) + epsilon * np.eye(3), centred.T @ values / len(colors)
            )
    found, _ = guided_coefficients(guide, target, radius, epsilon)
    np.testing.assert_allclose(found, box(slopes.astype(np.float32), radius), atol=2e-4)


def test_resize_keeps_positions() -> None:
    """A ramp stays the same ramp, in units of the picture, at any size."""
    ramp = np.tile((np.arange(64, dtype=np.float32) + 0.5) / 64, (48, 1))
    for height, width in ((96, 150), (20, 31)):
        resized = resize(ramp, height, width)
        assert resized.shape == (height, width)
        expected = (np.arange(width) + 0.5) / width
        np.testing.assert_allclose(resized[:, 3:-3], np.tile(expected[3:-3], (height, 1)), atol=2e-3)


def test_quiet_stderr_silences_native_writes_only_inside(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_stderr():
        os.write(2, b"noise\n")
    os.write(2, b"signal\n")
    assert capfd.readouterr().err == "signal\n"


def test_an_unsure_shoulder_between_sure_parts_is_person_and_an_unsure_door_is_none() -> None:
    """The selfie network is unsure of a blue shoulder before a blue flag, and of a dark door beside hair."""
    sure, hair = np.zeros((2, 200, 200), np.float32)
    sure[20:, 80:120] = 1  # head and chest
    sure[150:, 180:] = 1  # the end of the shoulder
    hair[20:60, 80:120] = 1
    shoulder, door = np.zeros((2, 200, 200), bool)
    shoulder[120:, 126:180], door[70:, 5:70] = True, True
    unsure = np.where(shoulder | door, np.float32(0.8), sure)
    agreed = _agreed(unsure, hair)
    assert agreed[130:, 130:180].min() > 0.7
    assert agreed[90:, 10:60].max() < 0.1
