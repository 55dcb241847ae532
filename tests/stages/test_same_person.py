"""When a further photo is taken for one of somebody else."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from avatarcli.arrays import Float32
from avatarcli.capture.landmarks import FaceLandmarks
from avatarcli.errors import PhotoError
from avatarcli.progress import SilentProgress
from avatarcli.stages import same_person
from avatarcli.stages.preprocess import Look
from avatarcli.stages.same_person import check_same_person
from avatarcli.stages.source import Source

_PHOTO = Source(Path("other.jpg"), "hash", lambda: np.zeros((1, 1, 3), np.uint8))


class _Heard(SilentProgress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def _look(yaw: float, place: float) -> Look:
    """A face turned by `yaw` degrees, whose embedding lies at `place` on a line."""
    pose = np.eye(4, dtype=np.float32)
    pose[0, 2], pose[2, 2] = math.sin(math.radians(yaw)), math.cos(math.radians(yaw))
    face = FaceLandmarks(
        np.full((478, 2), place, np.float32), np.zeros(478, np.float32), np.zeros(52, np.float32), pose
    )
    return cast(Look, SimpleNamespace(crop=SimpleNamespace(image=None), face=face))


@pytest.fixture(autouse=True)
def _placed(monkeypatch: pytest.MonkeyPatch) -> None:
    def embed(image: None, points: Float32) -> Tensor:
        return torch.tensor([float(points[0, 0]), 0.0])

    monkeypatch.setattr(same_person, "_embedder", lambda: embed)


@pytest.mark.parametrize(
    ("yaw", "distance", "taken"), [(10, 0.58, True), (-10, 0.62, False), (-35, 0.62, True), (35, 0.68, False)]
)
def test_another_person_is_refused_by_a_limit_that_a_turned_face_raises(
    yaw: float, distance: float, taken: bool
) -> None:
    photo, heard = _PHOTO, _Heard()
    looks = _look(0, 0.0), _look(yaw, distance)
    if not taken:
        with pytest.raises(PhotoError, match="another person"):
            check_same_person(*looks, photo, heard, force=False)
    assert check_same_person(*looks, photo, heard, force=not taken) == pytest.approx(distance)
    assert bool(heard.warnings) is not taken


def test_a_face_turned_so_far_that_it_hardly_tells_is_warned_of() -> None:
    heard = _Heard()
    assert check_same_person(_look(0, 0.0), _look(58, 0.75), _PHOTO, heard, force=False)
    assert [("58°" in warning and "hardly tells" in warning) for warning in heard.warnings] == [True]
