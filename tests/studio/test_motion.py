from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avatarcli.clips.clip import Clip
from avatarcli.errors import ClipError
from avatarcli.head.expressions import EXPRESSION_INDEX, EXPRESSION_NAMES
from avatarcli.studio.faces import MIRROR, draw_face, plausible
from avatarcli.studio.motion import MotionLibrary, draw_motion, mirrored


@pytest.fixture(scope="module")
def library() -> MotionLibrary:
    return MotionLibrary.load()


def column(name: str) -> int:
    return EXPRESSION_INDEX[name]


def test_the_same_seed_moves_the_same(library: MotionLibrary) -> None:
    one, two, other = (draw_motion(np.random.default_rng(seed), 9, library) for seed in (4, 4, 5))
    assert torch.equal(one.expression, two.expression)
    assert torch.equal(one.gaze, two.gaze)
    assert not torch.equal(one.expression, other.expression)


def test_motion_stays_within_what_faces_do(library: MotionLibrary) -> None:
    for seed in range(60):
        motion = draw_motion(np.random.default_rng(seed), 12, library)
        expression = motion.expression
        assert expression.shape == (12, 52)
        assert motion.head_pose.shape == (12, 4, 4)
        assert 0 <= expression.min() <= expression.max() <= 1
        assert (expression[:, column("mouthClose")] <= expression[:, column("jawOpen")] + 1e-6).all()
        assert (expression[:, column("jawLeft")] * expression[:, column("jawRight")] == 0).all()
        assert motion.gaze.abs().max() < 0.65
        assert motion.neck.abs().max() < 0.95
        for frames in (motion.expression, motion.neck, motion.gaze):
            assert torch.isfinite(frames).all()


def test_lids_follow_the_eyes(library: MotionLibrary) -> None:
    motion = draw_motion(np.random.default_rng(0), 200, library)
    down = motion.gaze[:, 0, 1] < -0.05
    assert bool(down.any())
    assert (motion.expression[down, column("eyeLookDownLeft")] > 0).all()
    assert (motion.expression[down, column("eyeLookUpLeft")] == 0).all()
    # Both eyes look at one point: what is left for the one is left for the other, or the point lies between them.
    yaw = motion.gaze[..., 0]
    assert ((yaw[:, 1] - yaw[:, 0]) > -1e-6).all()


def test_blinks_are_fast(library: MotionLibrary) -> None:
    fps, longest, blinks = 100.0, 0, 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        shut = (
            draw_motion(rng, 600, MotionLibrary(()), fps=fps, calm=True).expression[:, column("eyeBlinkLeft")] > 0.5
        ).numpy()
        edges = np.flatnonzero(np.diff(np.concatenate([[0], shut, [0]])))
        lengths = edges[1::2] - edges[::2]
        blinks += len(lengths)
        longest = max([longest, *lengths.tolist()])
    assert 5 < blinks < 60  # in 72 seconds
    assert longest / fps < 0.4


def test_a_mirrored_clip_mirrors_back(library: MotionLibrary) -> None:
    clip = library.clips[0]
    there = mirrored(clip)
    back = mirrored(there)
    assert np.array_equal(back.expression, clip.expression)
    assert np.array_equal(back.head_rotation, clip.head_rotation)
    left, right = column("mouthSmileLeft"), column("mouthSmileRight")
    assert np.array_equal(there.expression[:, left], clip.expression[:, right])
    assert np.array_equal(there.head_rotation[:, 1], -clip.head_rotation[:, 1])


def test_mirror_pairs_sides() -> None:
    assert sorted(MIRROR) == list(range(52))
    for index, partner in enumerate(MIRROR):
        one, two = EXPRESSION_NAMES[index], EXPRESSION_NAMES[partner]
        assert one.replace("Left", "").replace("Right", "") == two.replace("Left", "").replace("Right", "")


def test_what_excludes_each_other_is_mended() -> None:
    faces = np.stack([draw_face(np.random.default_rng(seed)) for seed in range(50)])
    assert faces.max() > 0.7
    kissing = np.zeros((1, 52), np.float32)
    kissing[0, [column("mouthPucker"), column("mouthSmileLeft"), column("cheekPuff"), column("jawOpen")]] = (
        1,
        1,
        1,
        0.5,
    )
    mended = plausible(kissing)
    assert mended[0, column("mouthSmileLeft")] < 0.3
    assert mended[0, column("cheekPuff")] == 0
    assert mended[0, column("mouthPucker")] == 1


def test_foreign_clips_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = ["_neutral", *(name for name in EXPRESSION_NAMES if name != "tongueOut")]
    blend = rng.random((10, 52)).astype(np.float32)
    pose = np.tile(np.eye(4, dtype=np.float32), (10, 1, 1))
    np.savez(tmp_path / "tracked.npz", blend=blend, mat=pose, names=np.array(names), fps=30.0)
    clips = MotionLibrary.load(tmp_path).clips
    clip = clips[-1]
    assert isinstance(clip, Clip)
    assert clip.fps == 30
    np.testing.assert_array_equal(clip.expression[:, column("jawOpen")], blend[:, names.index("jawOpen")])
    assert np.abs(clip.head_rotation).max() < 1e-6
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    with pytest.raises(ClipError, match="broken"):
        MotionLibrary.load(tmp_path)
    with pytest.raises(ClipError, match="nowhere"):
        MotionLibrary.load(tmp_path / "nowhere")
