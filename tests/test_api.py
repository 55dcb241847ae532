"""The library's entry points: `avatarcli.create`, `load` and `render`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import avatarcli
from avatarcli.errors import PhotoError, UsageError, WorkspaceError
from avatarcli.gaussians.avatar import Avatar
from example_photo import PHOTO

SIZE = 48


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the astronaut, as small as an avatar can be."""
    folder = tmp_path_factory.mktemp("avatars")
    tiny = {
        "preprocess": {"crop_size": 256},
        "generate": {"generator": "reproject", "views": 4, "face_views": 1, "frames": 2, "reproject_size": 64},
        "distill": {"gaussians": 1500, "iterations": 10, "photo_size": 64, "correctives": 2},
    }
    made = avatarcli.create(PHOTO, subject="ada", workspace=folder, preset="draft", settings=tiny, device="cpu")
    assert 1000 < made.count <= 1500
    return folder


@pytest.fixture(scope="module")
def ada(place: Path) -> Avatar:
    return avatarcli.load("ada", workspace=place)


def test_an_avatar_is_found_by_name_by_file_and_as_the_last_one(place: Path, ada: Avatar) -> None:
    for found in (avatarcli.load(place / "ada" / "distill" / "avatar.safetensors"), avatarcli.load(workspace=place)):
        np.testing.assert_array_equal(found.means, ada.means)


def test_pictures_show_what_is_asked_for(ada: Avatar) -> None:
    front = avatarcli.render(ada, size=SIZE)
    assert front.shape == (SIZE, SIZE, 3)
    assert front.dtype == np.uint8
    assert (front[0, 0] == 255).all()
    for other in (
        avatarcli.render(ada, size=SIZE, yaw=60),
        avatarcli.render(ada, size=SIZE, expression={"jawOpen": 1.0}),
    ):
        assert (front != other).any()
    clear = avatarcli.render(ada, size=SIZE, background=None)
    assert clear.shape == (SIZE, SIZE, 4)
    assert clear[0, 0, 3] == 0 < clear[SIZE // 2, SIZE // 2, 3]


def test_what_is_wrong_is_named(place: Path, ada: Avatar, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="no subject 'bob'"):
        avatarcli.load("bob", workspace=place)
    with pytest.raises(PhotoError, match=r"none\.jpg"):
        avatarcli.create(tmp_path / "none.jpg", workspace=place)
    for wrong, message in ((({"smile": 1.0}), "no expression is called 'smile'"), ({"jawOpen": 2.0}, "jawOpen=2")):
        with pytest.raises(UsageError, match=message):
            avatarcli.render(ada, expression=wrong)
    with pytest.raises(AttributeError, match="no attribute 'make'"):
        avatarcli.make  # type: ignore[attr-defined]  # noqa: B018


def test_the_package_itself_loads_nothing_heavy() -> None:
    program = "import sys, avatarcli; avatarcli.__version__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
