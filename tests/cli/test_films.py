"""Films where `avatar` takes photos: what is refused, and what is told of one that was taken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avatarcli.stages.artefacts import FILM_FILE
from avatarcli.workspace import Workspace
from toy_command import Avatar, is_one_line_error

VideoMaker = Callable[..., Path]


@pytest.fixture
def nobody(tmp_path: Path, make_video: VideoMaker) -> Path:
    return make_video(tmp_path / "nobody.mp4", [np.full((160, 160, 3), 90, np.uint8)] * 3)


def test_a_film_goes_alone_and_shows_one_face(avatar: Avatar, nobody: Path) -> None:
    is_one_line_error(avatar("create", nobody, "-q"), 1, "nobody.mp4: no face is seen in it")
    is_one_line_error(avatar("create", nobody, "b.jpg", "--together", "-q"), 1, "b.jpg: no such file")
    Path("b.jpg").write_bytes(b"b")
    is_one_line_error(avatar("create", nobody, "b.jpg", "--together", "-q"), 2, "nobody.mp4 is a film", "--together")
    is_one_line_error(avatar("create", nobody, "--face", "left", "-q"), 2, "nobody.mp4 is a film", "--face")
    assert not list(Path("avatars").glob("[!.]*"))


def test_what_is_only_called_a_film_is_named(avatar: Avatar, tmp_path: Path) -> None:
    (tmp_path / "turn.mp4").write_text("no film at all")
    is_one_line_error(avatar("create", "turn.mp4", "-q"), 1, "turn.mp4 is not a video that can be read")


def test_info_tells_the_frames(avatar: Avatar, ada: Workspace) -> None:
    told = {"film": "turn.mp4", "seconds": 4.0, "frames": [{"time": 1.5, "yaw": 2.0}], "left_out": []}
    (ada.subject("ada").stage_path("preprocess") / FILM_FILE).write_text(json.dumps(told))
    assert json.loads(avatar("info", "--json").stdout)["film"] == told
    said = avatar("info").stdout
    assert "film: ada.jpg" in said
    assert "at 1.50 s" in said
