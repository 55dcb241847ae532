"""Driving with a camera, for which a video file stands in."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.parameters import HeadParameters
from avatarcli.viewer.webcam import Face, Webcam


def face(turn: tuple[float, float, float], **scores: float) -> Face:
    """A face turned by degrees about x, y and z."""
    values = np.zeros(52)
    for name, score in scores.items():
        values[EXPRESSION_INDEX[name]] = score
    return Face(values, Rotation.from_rotvec(np.radians(turn)).as_matrix())


def test_the_pose_is_the_way_from_the_resting_face() -> None:
    rest = face((0, 10, 0), mouthSmileLeft=0.2, browDownLeft=0.4)
    pose = face((0, 35, 0), mouthSmileLeft=0.6, eyeLookOutLeft=1.0).pose(rest)
    weights = pose.expression[0]
    assert float(weights[EXPRESSION_INDEX["mouthSmileLeft"]]) == pytest.approx(0.5)
    assert float(weights[EXPRESSION_INDEX["browDownLeft"]]) == 0.0
    assert pose.neck[0].tolist() == pytest.approx([0, math.radians(25), 0], abs=1e-6)
    assert float(pose.gaze[0, 0, 0]) == pytest.approx(math.radians(30))
    still = rest.pose(rest)
    assert float(still.expression.abs().max()) == 0.0
    assert still.neck.abs().max() < 1e-6


def drive(source: str) -> tuple[list[HeadParameters], str | None]:
    """Every pose of a video, and why it ended."""
    poses: list[HeadParameters] = []
    reasons: list[str | None] = []
    done = threading.Event()

    def ended(reason: str | None) -> None:
        reasons.append(reason)
        done.set()

    webcam = Webcam(source, poses.append, ended)
    assert done.wait(60)
    webcam.stop()
    assert len(reasons) == 1
    return poses, reasons[0]


def test_a_face_drives_and_tilts_the_head(nodding: Path) -> None:
    poses, reason = drive(str(nodding))
    assert reason == "the camera sends no more pictures"
    assert len(poses) == 8
    assert float(poses[0].neck.abs().max()) < 1e-6
    assert float(poses[0].expression.abs().max()) == 0.0  # the first face is the resting one, smile and all
    # Turned counter-clockwise in the picture: about the axis that points out of the face.
    assert float(poses[-1].neck[0, 2]) == pytest.approx(math.radians(15), abs=math.radians(3))
    assert poses[-1].neck[0, :2].abs().max() < math.radians(6)


def test_no_camera_is_said_in_a_line(tmp_path: Path) -> None:
    poses, reason = drive(str(tmp_path / "none.mp4"))
    assert poses == []
    assert reason is not None
    assert "cannot be opened" in reason
