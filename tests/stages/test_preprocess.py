"""Preprocessing of good and bad photos, as a user runs it: what is refused, forced, lifted and chosen."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from example_photo import PHOTO
from toy_command import run_main

EYES = 113  # the row of her eyes
Run = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def avatar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Exit code, stdout and stderr's lines of `avatar … --workspace avatars --quiet` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, list[str]]:
        quiet = [] if arguments[0] == "info" else ["--quiet"]
        done = run_main(monkeypatch, capfd, *arguments, "--workspace", "avatars", *quiet)
        return done.returncode, done.stdout, done.stderr.splitlines()

    return run


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    return np.asarray(Image.open(PHOTO).convert("RGB"))


def _save(name: str, image: NDArray[np.uint8]) -> str:
    Image.fromarray(image).save(name)
    return name


def _levels(quality: dict[str, Any]) -> dict[str, str]:
    return {measure["name"]: measure["level"] for measure in quality["measures"] if measure["level"] != "good"}


def test_a_good_photo_is_taken_in_silence_and_its_pixels_stay(avatar: Run, photo: NDArray[np.uint8]) -> None:
    code, out, said = avatar("preprocess", str(PHOTO), "--subject", "ada", "--json")
    assert (code, said) == (0, [])
    quality = json.loads(out)["quality"]
    assert (quality["faces"], quality["gain"], quality["warnings"]) == (1, 1.0, [])
    crop = np.asarray(Image.open("avatars/ada/preprocess/photo.png"))
    inner = crop[len(crop) // 2]  # a row of the crop is a piece of a row of the photo
    assert any(inner[40:-40].tobytes() in row.tobytes() for row in photo)


def test_bad_photos_are_refused_without_a_trace_and_can_be_forced(avatar: Run, photo: NDArray[np.uint8]) -> None:
    cut = _save("cut.png", photo[EYES:])
    black = _save("black.png", np.round(photo * 0.04).astype(np.uint8))
    blank = _save("blank.png", np.full((200, 300, 3), 150, np.uint8))
    code, _, said = avatar("create", blank)
    assert code == 1
    assert said[0].startswith("error: blank.png: no face found")
    assert len(said) == 1
    code, out, said = avatar("create", cut, black, "--json")
    assert code == 1
    assert len(said) == 3
    assert said[0].startswith("error: cut.png: ")
    assert "of the head is outside the picture" in said[0]
    assert said[1].startswith("error: black.png: the photo is dark")
    document = json.loads(out)
    assert document["subjects"] == []
    assert [failure["photo"] for failure in document["failed"]] == ["cut.png", "black.png"]
    assert not list(Path("avatars").glob("[!.]*"))
    assert not list(Path("avatars").glob("*/.*partial"))

    code, out, said = avatar("preprocess", black, "--force", "--json")
    assert code == 0
    quality = json.loads(out)["quality"]
    assert _levels(quality)["light"] == "refuse"
    assert [f"warning: black.png: {warning}" for warning in quality["warnings"]] == said
    assert json.loads(avatar("info", "--json")[1])["quality"] == quality
    assert f"warning: {quality['warnings'][0]}" in avatar("info")[1]


def test_a_dim_photo_is_brightened_and_told_so(avatar: Run, photo: NDArray[np.uint8]) -> None:
    code, out, said = avatar("preprocess", _save("dim.png", np.round(photo * 0.35).astype(np.uint8)), "--json")
    quality = json.loads(out)["quality"]
    assert code == 0
    assert _levels(quality) == {"light": "warn"}
    assert quality["gain"] > 2
    assert len(said) == 1
    assert "brightened" in said[0]
    for name in ("photo.png", "foreground.png"):
        middle = np.asarray(Image.open(f"avatars/dim/preprocess/{name}"))[80:180, 80:180]
        assert np.percentile(middle, 90) > 0.5 * 255


def test_one_of_several_faces_is_chosen(avatar: Run, photo: NDArray[np.uint8]) -> None:
    head = Image.fromarray(photo[:260, 100:340])
    pair = Image.new("RGB", (700, 380), (200, 200, 200))
    pair.paste(head, (0, 60))
    pair.paste(head.resize((345, 374)), (350, 0))
    pair.save("pair.png")
    code, out, said = avatar("preprocess", "pair.png", "--json")
    quality = json.loads(out)["quality"]
    assert code == 0
    assert (quality["faces"], quality["face"]) == (2, 2)
    assert "2 faces; taking the largest, number 2 from the left" in said[0]
    code, out, said = avatar("preprocess", "pair.png", "--face", "left", "--json")
    quality = json.loads(out)["quality"]
    assert (code, quality["faces"], quality["face"]) == (0, 2, 1)
    assert not any("faces" in line for line in said)
    # The choice is kept with the subject.
    assert json.loads(avatar("info", "--json")[1])["config"]["preprocess"]["face"] == "left"
    code, _, said = avatar("preprocess", "pair.png", "--face", "3")
    assert code == 1
    assert "shows 2 faces" in said[0]


@pytest.mark.parametrize("face", ["0", "-1", "middle", "1.5", ""])
def test_a_face_that_cannot_be_meant(avatar: Run, face: str) -> None:
    for command in ("create", "preprocess"):
        code, _, said = avatar(command, str(PHOTO), "--face", face)
        assert code == 2
        assert "--face" in said[-1]
    assert not Path("avatars").exists()


@pytest.mark.parametrize(("turns", "said"), [(1, "clockwise"), (2, "180°")])
def test_a_photo_that_lies_or_stands_on_its_head_is_set_upright_and_told_so(
    avatar: Run, photo: NDArray[np.uint8], turns: int, said: str
) -> None:
    code, out, lines = avatar("preprocess", _save("turned.png", np.rot90(photo, turns)), "--json")
    quality = json.loads(out)["quality"]
    assert code == 0
    assert quality["turned"] == 90 * turns
    assert _levels(quality) == {}
    assert len(lines) == 1
    assert f" {said}" in lines[0]
    crop = np.asarray(Image.open("avatars/turned/preprocess/photo.png"))
    inner = crop[len(crop) // 2]
    assert any(inner[40:-40].tobytes() in row.tobytes() for row in photo)


def test_a_photo_that_moves_says_which_picture_is_taken(avatar: Run, photo: NDArray[np.uint8]) -> None:
    Image.fromarray(photo).save("wave.webp", save_all=True, append_images=[Image.fromarray(255 - photo)], duration=100)
    code, out, said = avatar("preprocess", "wave.webp", "--json")
    assert code == 0
    [warning] = json.loads(out)["quality"]["warnings"]
    assert "the first of its 2 pictures is taken" in warning
    assert said == [f"warning: wave.webp: {warning}"]


def test_a_photo_whose_name_is_no_text(avatar: Run, photo: NDArray[np.uint8]) -> None:
    name = os.fsdecode(b"ad\xff a.png")
    Image.fromarray(photo).save(name)
    code, out, _ = avatar("preprocess", name, "--json")
    assert code == 0
    assert json.loads(out)["photo"] == name
    assert json.loads(avatar("info", "--json")[1])["photo"] == name
    code, out, said = avatar("info")
    assert (code, said) == (0, [])
    assert "ad\\udcff a.png" in out
