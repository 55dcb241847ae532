"""`avatar track` and `avatar animate --video`, from files to files, on a photo that moves."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from avatarcli.cli.main import main
from avatarcli.clips.files import load_clip
from avatarcli.config import PRESETS, to_json
from avatarcli.gaussians.avatar import Avatar
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.records import Manifest
from avatarcli.workspace import Workspace

VideoMaker = Callable[..., Path]
Command = Callable[..., tuple[int, str, str]]
FRAMES = 10


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory, make_video: VideoMaker, portrait: NDArray[np.uint8]) -> Path:
    """A face that slides to the side, with sound."""
    frames = [np.roll(portrait, 2 * index, axis=1) for index in range(FRAMES)]
    return make_video(tmp_path_factory.mktemp("driver") / "driver.mp4", frames, tone=440)


@pytest.fixture
def avatar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs `avatar` in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["avatar", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        return code, *capfd.readouterr()

    return run


def test_a_video_becomes_a_clip(avatar: Command, driver: Path) -> None:
    code, out, _ = avatar("track", driver, "-o", "me.npz", "--preview", "seen.mp4", "--json", "-q")
    assert code == 0
    said = json.loads(out)
    assert said["path"] == "me.npz"
    assert (said["frames"], said["fps"], said["gaps"]) == (FRAMES, 25, [])
    assert said["seconds"] > 0
    clip = load_clip("me.npz")
    assert "noseSneerLeft" in said["untracked"]
    assert not clip.expression[:, [EXPRESSION_INDEX[name] for name in said["untracked"]]].any()
    assert len(clip) == FRAMES
    assert clip.head_translation is not None
    # Two pixels a frame to the right of the picture, where the subject's left is.
    assert np.polyfit(np.arange(FRAMES), clip.head_translation[:, 0], 1)[0] > 2e-3
    with av.open("me.audio.m4a") as sound:
        assert sound.duration / av.time_base == pytest.approx(FRAMES / 25, abs=0.05)
    with av.open("seen.mp4") as preview:
        shown = [frame.to_ndarray(format="rgb24").astype(int) for frame in preview.decode(video=0)]
        assert len(preview.streams.audio) == 1
    with av.open(str(driver)) as container:
        filmed = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    assert len(shown) == FRAMES
    change = np.abs(shown[5] - filmed[5]).max(-1)
    assert (change > 40).mean() > 0.01  # the mesh …
    assert (change[:10] > 40).mean() < 0.01  # … which is not all over the picture


def test_gaps_are_reported(
    avatar: Command, tmp_path: Path, make_video: VideoMaker, portrait: NDArray[np.uint8]
) -> None:
    frames = [portrait] * 5 + [np.full_like(portrait, 90)] * 10 + [portrait] * 5
    make_video(tmp_path / "gap.mp4", frames)
    code, out, said = avatar("track", "gap.mp4", "--json")
    assert code == 0
    [[start, end]] = json.loads(out)["gaps"]
    assert start == pytest.approx(0.2, abs=0.05)
    assert end == pytest.approx(0.6, abs=0.05)
    assert "no face in" in said
    assert len(load_clip("gap.npz")) == 20


def test_bad_input_is_one_line(
    avatar: Command, tmp_path: Path, make_video: VideoMaker, driver: Path, portrait: NDArray[np.uint8]
) -> None:
    make_video(tmp_path / "nobody.mp4", [np.full_like(portrait, 90)] * 2)
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "taken.npz").mkdir()
    Image.fromarray(portrait).save(tmp_path / "photo.png")
    for arguments, code, reason in (
        (["nobody.mp4"], 1, "no face found"),
        (["text.mp4"], 1, "not a video"),
        (["gone.mp4"], 1, "no file"),
        (["."], 1, "is a folder"),
        (["photo.png", "-o", "a.npz"], 1, "photo.png is a single picture"),
        (["999"], 1, "camera 999 cannot be opened"),
        ([driver, "-o", "clip.csv"], 2, "a clip is a .npz file"),
        ([driver, "-o", "taken.npz"], 1, "is a folder"),
        ([driver, "-o", "text.mp4/a.npz"], 1, "cannot write"),
        ([driver, "-o", "a.npz", "--preview", "a.avi"], 2, "cannot write '.avi'"),
        ([driver, "-o", "a.npz", "--preview", "a.png"], 2, "--preview a.png: it holds one picture; name a video"),
        ([driver, "-o", "a.npz", "--preview", "taken.npz/.."], 1, "is not empty"),
        ([driver, "-o", "a.npz", "--rest", "50"], 2, "no face is seen there"),
        ([driver, "-o", "a.npz", "--seconds", "0"], 2, "--seconds 0"),
        ([driver, "-o", "a.npz", "--fps", "1000"], 2, "--fps 1000"),
    ):
        left, out, said = avatar("track", *arguments, "-q")
        assert (left, out) == (code, ""), arguments
        assert len(said.splitlines()) == 1
        assert reason in said
    assert not (tmp_path / "a.npz").exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_named(avatar: Command, tmp_path: Path, driver: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    code, _, said = avatar("track", driver, "-o", "closed/a.npz", "-q")
    assert code == 1
    assert "cannot write closed/a.npz" in said


def test_a_video_drives_an_avatar_with_its_sound(
    avatar: Command, tmp_path: Path, driver: Path, make_avatar: Callable[..., Avatar], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Workspace(tmp_path / "avatars").new_subject("ada")
    make_avatar(300).save(subject.begin("distill", "f") / "avatar.safetensors")
    subject.commit("distill", "f", 0.0)
    subject.save_manifest(Manifest("ada", "ada.png", "0" * 64, to_json(PRESETS["draft"])))

    arguments = ("animate", "-s", "ada", "--video", driver, "--size", 48, "--device", "cpu", "-o")
    root, access = subject.workspace.root.resolve(), os.access
    with monkeypatch.context() as patch:
        # As on a disk that cannot be written; root may write everywhere else.
        patch.setattr(os, "access", lambda path, mode: Path(path).resolve() != root and access(path, mode))
        code, _, said = avatar(*arguments, "one.mp4")
    assert code == 0, said
    assert "is not kept" in said
    assert not (root / ".tracks").exists()
    with av.open("one.mp4") as video:
        assert len(video.streams.audio) == 1
        assert video.duration / av.time_base == pytest.approx(FRAMES / 25, abs=0.05)
        assert sum(1 for _ in video.decode(video=0)) == 11  # those whose moments at 30 a second lie within the clip
    code, _, said = avatar(*arguments, "two.webm")
    assert code == 0, said
    code, _, said = avatar(*arguments, "frames")
    assert code == 0, said
    assert "has been tracked already" in said
    assert "no sound" in said
    assert avatar("animate", "-s", "ada")[0] == 2
    assert avatar("list", "--json")[1].count('"subject"') <= 1  # the cache is no subject
