"""The dataset folder, against what nerfstudio's parser asks of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avatarcli.errors import WorkspaceError
from avatarcli.export.origin import Origin
from avatarcli.export.transforms import write_dataset
from avatarcli.multiview.framing import Framing
from avatarcli.multiview.pictures import MultiViewVideo
from origin_reader import from_json
from toy_plan import full_plan

VIEWS, FRAMES, SIZE = 3, 2, 24


@pytest.fixture
def video(tmp_path: Path) -> MultiViewVideo:
    folder = tmp_path / "generated"
    framing = Framing((0.0, 0.0, 0.0), 0.5)
    made = MultiViewVideo(folder, full_plan(framing, VIEWS, FRAMES, SIZE), framing, "reproject")
    for view in range(VIEWS):
        for frame in range(FRAMES):
            made.write_frame(view, frame, torch.full((SIZE, SIZE, 4), 0.5))
    made.write_transforms()
    return made


def _export(video: MultiViewVideo, folder: Path, mark: Origin) -> list[int]:
    folder.mkdir()
    steps: list[int] = []
    write_dataset(folder, video, mark, steps.append)
    return steps


def test_every_frame_has_a_picture_and_a_camera(tmp_path: Path, video: MultiViewVideo, mark: Origin) -> None:
    out = tmp_path / "dataset"
    assert sum(_export(video, out, mark)) == VIEWS * FRAMES
    document = json.loads((out / "transforms.json").read_text())
    assert document["camera_model"] == "OPENCV"
    assert from_json(json.dumps(document["origin"])) == mark
    assert len(document["frames"]) == VIEWS * FRAMES
    for frame in document["frames"]:
        with Image.open(out / frame["file_path"]) as picture:
            assert picture.size == (frame["w"], frame["h"])
        # OpenGL's camera: it looks along its own −z, here at the middle of the picture and of the head.
        to_world = np.array(frame["transform_matrix"])
        assert np.allclose(to_world[:3, :3] @ to_world[:3, :3].T, np.eye(3), atol=1e-5)
        x, y, z, _ = np.linalg.inv(to_world) @ (0, 0, 0, 1)
        assert z < -0.5
        assert np.allclose(
            (frame["cx"] + frame["fl_x"] * x / -z, frame["cy"] - frame["fl_y"] * y / -z), SIZE / 2, atol=1e-3
        )


def test_a_missing_picture_is_named(tmp_path: Path, video: MultiViewVideo, mark: Origin) -> None:
    video.frame_path(1, 0).unlink()
    with pytest.raises(WorkspaceError, match=r"v001_t000\.png: cannot read the picture"):
        _export(video, tmp_path / "dataset", mark)


def test_a_picture_of_another_size_is_named(tmp_path: Path, video: MultiViewVideo, mark: Origin) -> None:
    Image.new("RGBA", (SIZE, SIZE + 1)).save(video.frame_path(2, 1))
    with pytest.raises(WorkspaceError, match=r"v002_t001\.png: 24 × 25 pixels"):
        _export(video, tmp_path / "dataset", mark)
