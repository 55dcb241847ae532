"""Cutting, retiming and mixing: what comes out is what the parts say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from avatarcli.clips.clip import Clip
from avatarcli.clips.edit import REGIONS, crossfade, mix, retime, summarise, trim
from avatarcli.errors import ClipError
from avatarcli.head.expressions import EXPRESSION_INDEX, EXPRESSION_NAMES
from toy_clips import make_clip


def bare(clip: Clip) -> Clip:
    return replace(clip, gaze=None, head_translation=None)


def angle(left: np.ndarray, right: np.ndarray) -> float:
    return float((Rotation.from_rotvec(left).inv() * Rotation.from_rotvec(right)).magnitude().max())


def test_every_action_is_of_one_region() -> None:
    for name in EXPRESSION_NAMES:
        assert sum(name.startswith(prefixes) for prefixes in REGIONS.values() if prefixes) == 1


@pytest.mark.parametrize("full", [True, False])
def test_trimmed_parts_make_the_whole(full: bool) -> None:
    clip = make_clip(10) if full else bare(make_clip(10))
    parts = [trim(clip, 0, 4), trim(clip, 4, 10)]
    for key in ("expression", "head_rotation", "head_translation", "gaze"):
        whole = getattr(clip, key)
        if whole is None:
            assert all(getattr(part, key) is None for part in parts)
        else:
            np.testing.assert_array_equal(np.concatenate([getattr(part, key) for part in parts]), whole)


@pytest.mark.parametrize(("first", "end"), [(4, 4), (5, 4), (-1, 4), (0, 11)])
def test_frames_that_are_not_there(first: int, end: int) -> None:
    with pytest.raises(ClipError, match=r"are not in a clip of 10 frames \(0\.33 s\)"):
        trim(make_clip(10), first, end)


def test_retimed_clips_pass_through_the_same_moments() -> None:
    clip = make_clip(30)
    half = retime(clip, 30, 0.5)
    assert (len(half), half.fps) == (60, 30)
    np.testing.assert_allclose(half.expression[::2], clip.expression, atol=1e-6)
    np.testing.assert_allclose(half.expression[1:-2:2], (clip.expression[1:] + clip.expression[:-1]) / 2, atol=1e-6)
    assert angle(half.head_rotation[::2], clip.head_rotation) < 1e-5
    # Halfway along the arc: as far from one as from the other, and on the way.
    middle, whole = half.head_rotation[1:-2:2], angle(clip.head_rotation[:1], clip.head_rotation[1:2])
    assert angle(clip.head_rotation[:1], middle[:1]) == pytest.approx(whole / 2, abs=1e-5)
    double = retime(clip, 30, 2)
    assert double.duration == pytest.approx(clip.duration / 2)
    np.testing.assert_allclose(double.expression, clip.expression[::2], atol=1e-6)
    other_rate = retime(clip, 60, 1)
    assert other_rate.duration == pytest.approx(clip.duration)
    assert len(retime(make_clip(1), 25, 10)) == 1


def test_a_weighted_sum_by_hand() -> None:
    a, b = make_clip(6, seed=1), make_clip(9, seed=2)
    mixed = mix(a, b, (0.7, 0.6), tuple(REGIONS), loop=False)
    assert len(mixed) == 6
    np.testing.assert_allclose(mixed.expression, (0.7 * a.expression + 0.6 * b.expression[:6]).clip(0, 1), atol=1e-6)
    np.testing.assert_allclose(mixed.gaze, 0.7 * a.gaze + 0.6 * b.gaze[:6], atol=1e-6)  # type: ignore[operator, index, arg-type]
    np.testing.assert_allclose(
        mixed.head_translation, 0.7 * a.head_translation + 0.6 * b.head_translation[:6], atol=1e-6  # type: ignore[operator, index, arg-type]
    )  # fmt: skip


def test_the_ends_of_a_mix_are_the_clips() -> None:
    a, b = make_clip(6, seed=1), make_clip(6, seed=2)
    for weights, wanted in (((1.0, 0.0), a), ((0.0, 1.0), b)):
        mixed = mix(a, b, weights, tuple(REGIONS), loop=False)
        np.testing.assert_array_equal(mixed.expression, wanted.expression)
        assert angle(mixed.head_rotation, wanted.head_rotation) < 1e-5
    same = mix(a, a, (0.5, 0.5), tuple(REGIONS), loop=False)
    assert angle(same.head_rotation, a.head_rotation) < 1e-5
    twice = mix(a, a, (1.0, 1.0), ("head",), loop=False)
    np.testing.assert_allclose(twice.head_rotation, 2 * a.head_rotation, atol=1e-5)
    none = mix(a, b, (0.0, 0.0), tuple(REGIONS), loop=False)
    assert not none.head_rotation.any()


def test_an_overlay_touches_only_its_region() -> None:
    a, b = make_clip(6, seed=1), make_clip(6, seed=2)
    mixed = mix(a, b, (0.0, 1.0), ("eyes", "brows"), loop=False)
    for name, column in EXPRESSION_INDEX.items():
        source = b if name.startswith(("eye", "brow")) else a
        np.testing.assert_array_equal(mixed.expression[:, column], source.expression[:, column])
    np.testing.assert_array_equal(mixed.gaze, b.gaze)  # type: ignore[arg-type]
    np.testing.assert_array_equal(mixed.head_rotation, a.head_rotation)
    np.testing.assert_array_equal(mixed.head_translation, a.head_translation)  # type: ignore[arg-type]


def test_a_loop_repeats_the_other() -> None:
    a, b = make_clip(8, seed=1), make_clip(3, seed=2)
    mixed = mix(a, b, (0.0, 1.0), ("mouth",), loop=True)
    jaw = EXPRESSION_INDEX["jawOpen"]
    np.testing.assert_array_equal(mixed.expression[:, jaw], b.expression[[0, 1, 2, 0, 1, 2, 0, 1], jaw])


def test_a_clip_without_gaze_looks_where_its_actions_say() -> None:
    still = replace(bare(make_clip(4)), expression=np.zeros((4, 52), np.float32))
    looking = replace(make_clip(4), gaze=np.full((4, 2, 2), 0.2, np.float32))
    mixed = mix(still, looking, (0.5, 0.5), ("eyes",), loop=False)
    np.testing.assert_allclose(mixed.gaze, 0.1, atol=1e-6)  # type: ignore[arg-type]
    assert mix(still, still, (0.5, 0.5), ("eyes", "head"), loop=False).gaze is None
    assert mix(still, still, (0.5, 0.5), ("eyes", "head"), loop=False).head_translation is None


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.2])
def test_crossfading(seconds: float) -> None:
    a, b = make_clip(9, seed=1), make_clip(20, fps=60.0, seed=2)
    b30 = b.resample(30.0)
    joined = crossfade(a, b, seconds)
    overlap = round(30 * seconds)
    assert (len(joined), joined.fps) == (9 + len(b30) - overlap, 30)
    np.testing.assert_allclose(joined.expression[: 9 - overlap], a.expression[: 9 - overlap], atol=1e-6)
    np.testing.assert_allclose(joined.expression[9:], b30.expression[overlap:], atol=1e-6)
    assert angle(joined.head_rotation[9:], b30.head_rotation[overlap:]) < 1e-5
    between = joined.expression[9 - overlap : 9]
    low = np.minimum(a.expression[9 - overlap :], b30.expression[:overlap])
    high = np.maximum(a.expression[9 - overlap :], b30.expression[:overlap])
    assert (between >= low - 1e-6).all()
    assert (between <= high + 1e-6).all()


def test_an_overlap_longer_than_a_clip() -> None:
    with pytest.raises(ClipError, match=r"cannot overlap for 1 s: the shorter one lasts 0\.30 s"):
        crossfade(make_clip(9), make_clip(60), 1.0)


def test_a_summary_names_what_moves() -> None:
    expression = np.zeros((4, 52), np.float32)
    expression[:, EXPRESSION_INDEX["jawOpen"]] = 0, 0.5, 0.2, 0
    expression[:, EXPRESSION_INDEX["mouthLeft"]] = 0.9, 0.1, 0.9, 0.9
    expression[:, EXPRESSION_INDEX["cheekPuff"]] = 0.6  # held, not moved
    turns = Rotation.from_euler("YXZ", [[0, 0, 0], [20, 0, 0], [0, -10, 0], [0, 0, -5]], degrees=True)
    gaze = np.zeros((4, 2, 2), np.float32)
    gaze[2, :, 0] = np.deg2rad(12)
    clip = Clip(expression, turns.as_rotvec().astype(np.float32), None, gaze, 25.0)
    found = summarise(clip)
    assert (found.frames, found.fps, found.seconds) == (4, 25, 0.16)
    assert list(found.actions) == ["mouthLeft", "jawOpen"]
    assert list(found.held) == ["cheekPuff"]
    assert (found.actions["jawOpen"].low, found.actions["jawOpen"].high) == (0, 0.5)
    assert found.head["yaw"].high == pytest.approx(20, abs=1e-3)  # to the subject's left
    assert found.head["pitch"].high == pytest.approx(10, abs=1e-3)  # up
    assert found.head["roll"].low == pytest.approx(-5, abs=1e-3)
    assert found.gaze is not None
    assert found.gaze["yaw"].high == pytest.approx(12, abs=1e-3)
    assert found.translation is None
    assert summarise(bare(clip)).gaze is None
    moved = replace(clip, head_translation=np.array([[0, 0, 0], [0, 0.03, 0], [0, -0.01, 0], [0, 0, 0]], np.float32))
    assert summarise(moved).translation == pytest.approx(0.04)


def test_a_summary_of_one_frame_names_what_it_shows() -> None:
    expression = np.zeros((1, 52), np.float32)
    expression[0, EXPRESSION_INDEX["jawOpen"]], expression[0, EXPRESSION_INDEX["cheekPuff"]] = 0.3, 0.6
    found = summarise(Clip(expression, np.zeros((1, 3), np.float32), None, None, 30.0))
    assert list(found.actions) == ["cheekPuff", "jawOpen"]
    assert found.actions["jawOpen"].low == pytest.approx(0.3)
    assert not found.held
