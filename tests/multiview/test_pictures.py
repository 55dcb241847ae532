"""The multi-view video on disk: what is written comes back, other programs can read it, and damage is named."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avatarcli.errors import WorkspaceError
from avatarcli.multiview.framing import Framing
from avatarcli.multiview.pictures import MultiViewVideo
from avatarcli.multiview.plan import Plan, Reel
from toy_plan import full_plan

VIEWS, FRAMES, SIZE = 3, 2, 12


@pytest.fixture
def video(tmp_path: Path) -> MultiViewVideo:
    framing = Framing((0.0, -0.07, 0.01), 0.43)
    made = MultiViewVideo(tmp_path, full_plan(framing, VIEWS, FRAMES, SIZE), framing, "reproject")
    generator = torch.Generator().manual_seed(0)
    for view in range(VIEWS):
        for frame in range(FRAMES):
            alpha = torch.rand(SIZE, SIZE, 1, generator=generator)
            made.write_frame(
                view, frame, torch.cat([torch.rand(SIZE, SIZE, 3, generator=generator) * alpha, alpha], -1)
            )
    made.write_transforms()
    return made


def test_what_was_written_is_read(video: MultiViewVideo) -> None:
    again = MultiViewVideo.load(video.folder)
    assert again.generator == "reproject"
    assert again.framing == video.framing
    cameras, expected = again.plan.cameras, video.plan.cameras
    assert (cameras.width, cameras.height) == (SIZE, SIZE)
    torch.testing.assert_close(cameras.world_to_camera, expected.world_to_camera, atol=1e-6, rtol=0)
    torch.testing.assert_close(cameras.K, expected.K)
    torch.testing.assert_close(again.plan.parameters.expression, video.plan.parameters.expression)
    torch.testing.assert_close(again.plan.parameters.gaze, video.plan.parameters.gaze)
    assert len(again.plan.parameters.neck) == FRAMES
    torch.testing.assert_close(again.read_frame(2, 1), video.read_frame(2, 1))
    assert again.plan.crops == 0
    assert again.plan.clips == video.plan.clips


def test_clips_come_back_in_their_order(video: MultiViewVideo) -> None:
    """A view of many stills, one of a clip, and one whose clip lies between them."""
    clips = (Reel(1, (0,)), Reel(2, (1, 0)), Reel(0, (0, 1)), Reel(1, (1,)))
    plan = Plan(video.plan.cameras, video.plan.parameters, clips, crops=1)
    replace(video, plan=plan).write_transforms()
    again = MultiViewVideo.load(video.folder).plan
    assert (again.clips, again.crops) == (clips, 1)
    assert again.pictures == [(1, 0), (2, 1), (2, 0), (0, 0), (0, 1), (1, 1)]
    torch.testing.assert_close(again.cameras.world_to_camera, plan.cameras.world_to_camera, atol=1e-6, rtol=0)


def test_in_an_older_file_every_view_is_a_clip(video: MultiViewVideo) -> None:
    path = video.folder / "transforms.json"
    document = json.loads(path.read_text())
    for frame in document["frames"]:
        del frame["clip_index"]
    path.write_text(json.dumps(document))
    assert MultiViewVideo.load(video.folder).plan.clips == video.plan.clips


def test_pictures_are_premultiplied_in_memory_and_straight_on_disk(video: MultiViewVideo) -> None:
    alpha = torch.tensor([[0.0, 0.2], [0.6, 1.0]])[..., None]
    color = torch.tensor([0.8, 0.4, 0.1]).expand(2, 2, 3)
    video.write_frame(0, 0, torch.cat([color * alpha, alpha], dim=-1))
    with Image.open(video.frame_path(0, 0)) as image:
        assert image.mode == "RGBA"
        stored = np.array(image)
    np.testing.assert_allclose(stored[1], [[204, 102, 26, 153], [204, 102, 26, 255]], atol=1)
    assert stored[0, 0].tolist() == [0, 0, 0, 0]
    torch.testing.assert_close(video.read_frame(0, 0), torch.cat([color * alpha, alpha], -1), atol=3e-3, rtol=0)
    assert not list(video.folder.rglob("*.partial"))


def test_the_file_is_what_nerfstudio_reads(video: MultiViewVideo) -> None:
    document = json.loads((video.folder / "transforms.json").read_text())
    assert document["camera_model"] == "OPENCV"
    assert len(document["frames"]) == VIEWS * FRAMES
    assert [frame["clip_index"] for frame in document["frames"]] == [0, 0, 1, 1, 2, 2]
    for frame in document["frames"]:
        assert {"file_path", "transform_matrix", "fl_x", "fl_y", "cx", "cy", "w", "h"} <= frame.keys()
        assert (video.folder / frame["file_path"]).is_file()
        view = frame["camera_index"]
        pose = torch.tensor(frame["transform_matrix"])
        torch.testing.assert_close(pose[:3, 3], video.plan.cameras.centre[view], atol=1e-5, rtol=0)
        # OpenGL: the camera looks along −z towards the target, y is up.
        ahead = torch.tensor(video.framing.target) - pose[:3, 3]
        torch.testing.assert_close(-pose[:3, 2], ahead / ahead.norm(), atol=1e-4, rtol=0)
        assert pose[1, 1] > 0
        focal = SIZE / video.framing.span * ahead.norm()
        assert math.isclose(frame["fl_x"], float(focal), rel_tol=1e-4)
        assert (frame["cx"], frame["w"]) == (SIZE / 2, SIZE)


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "null", "{}",
        '{"frames": []}',
        '{"frames": [{"timestep_index": 0}], "timesteps": [], "framing": {}}',
    ],
)  # fmt: skip
def test_a_damaged_description_is_named_in_one_line(video: MultiViewVideo, content: str) -> None:
    (video.folder / "transforms.json").write_text(content)
    with pytest.raises(WorkspaceError, match=r"transforms\.json: not a multi-view video") as caught:
        MultiViewVideo.load(video.folder)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_named_too(video: MultiViewVideo) -> None:
    (video.folder / "transforms.json").write_bytes(b"\xff\xfe\x00\x9f")
    with pytest.raises(WorkspaceError, match=r"transforms\.json"):
        MultiViewVideo.load(video.folder)


def test_an_empty_folder_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="avatar generate --force"):
        MultiViewVideo.load(tmp_path)
