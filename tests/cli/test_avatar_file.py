"""Avatars that are a file alone, and frames that take the place of older ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from avatarcli.gaussians.avatar import Avatar as ToyAvatar
from toy_command import Avatar, is_one_line_error

DRAWN = ("--orbit", "30", "--fps", "10", "--size", "24", "--device", "cpu", "--quiet")


@pytest.fixture
def file(tmp_path: Path, make_avatar: Callable[..., ToyAvatar]) -> Path:
    path = tmp_path / "Ada B.safetensors"
    make_avatar(200).save(path)
    return path


def test_an_avatar_needs_no_workspace_to_be_shown(avatar: Avatar, file: Path, tmp_path: Path) -> None:
    assert avatar("render", "--subject", file.name, "--yaw", "20", "--size", "24").stdout == "ada-b.png\n"
    assert avatar("animate", "-s", f"./{file.name}", "--expr", "speech", "--at", "1", "--size", "24").returncode == 0
    assert avatar("export", "-s", file, "-f", "ply").returncode == 0
    shown = json.loads(avatar("info", "-s", file, "--json").stdout)
    assert (shown["subject"], shown["avatar"], shown["gaussians"]) == ("ada-b", str(file), 200)
    assert "200 Gaussians" in avatar("info", "-s", file).stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        file.name, "ada-b-speech.png", "ada-b.ply", "ada-b.png",
    ]  # fmt: skip


def test_what_an_avatar_alone_cannot_do_is_said(avatar: Avatar, file: Path, tmp_path: Path) -> None:
    for form in ("glb", "transforms"):
        is_one_line_error(avatar("export", "-s", file, "-f", form), 1, "is an avatar alone", "--subject NAME")
    (tmp_path / "broken.safetensors").write_text("no avatar")
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    for command in (("info",), ("render", "--size", "24"), ("export", "-f", "ply"), ("view", "--no-open")):
        is_one_line_error(avatar(*command, "-s", "gone.safetensors"), 1, "there is no file gone.safetensors")
        is_one_line_error(avatar(*command, "-s", "other/ada"), 1, "there is no file other/ada")
    for command in (("info",), ("render", "--size", "24", "-q"), ("export", "-f", "ply")):
        for name, wrong in (("broken", "is damaged or no avatar"), ("other", "is no avatar")):
            done = avatar(*command, "-s", f"{name}.safetensors")
            is_one_line_error(done, 1, f"{name}.safetensors {wrong}", "a copy of the avatar.safetensors")


def test_frames_are_replaced_on_demand_and_nothing_else_is(avatar: Avatar, file: Path, tmp_path: Path) -> None:
    frames = tmp_path / "frames"

    def drawn(seconds: float, *more: str) -> list[str]:
        done = avatar("render", "-s", file, "--seconds", seconds, "-o", "frames", *DRAWN, *more)
        assert done.returncode == 0, done.stderr
        return sorted(path.name for path in frames.iterdir())

    def refused(*words: str) -> None:
        before = {path: path.read_bytes() for path in frames.iterdir()}
        for command in (("render",), ("animate", "--expr", "speech")):
            done = avatar(*command, "-s", file, "-o", "frames", "--overwrite", *DRAWN)
            is_one_line_error(done, 1, *words)
        assert {path: path.read_bytes() for path in frames.iterdir()} == before

    assert len(drawn(0.3, "--overwrite")) == 3
    is_one_line_error(avatar("render", "-s", file, "-o", "frames", *DRAWN), 1, "not empty", "--overwrite")
    assert drawn(0.2, "--overwrite") == ["frame_00000.png", "frame_00001.png"]
    (frames / "notes.txt").touch()
    refused("frames/notes.txt is not one of our results")
    (frames / "notes.txt").unlink()
    Image.new("RGB", (8, 8)).save(frames / "frame_00007.png")  # of another program
    refused("frames/frame_00007.png is not one of our results")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
