"""Several photos of one person, as preprocessing takes them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from avatarcli.capture.landmarks import FaceLandmarks
from avatarcli.config import PreprocessConfig
from avatarcli.errors import PhotoError
from avatarcli.gaussians.pictures import Schedule
from avatarcli.progress import SilentProgress
from avatarcli.stages.artefacts import fitted_photos
from avatarcli.stages.photos import _look_at_faces, preprocess_photos
from avatarcli.stages.pipeline import _loaded
from avatarcli.stages.preprocess import Look
from avatarcli.stages.source import Source
from example_photo import PHOTO


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """A photo, and it again: smaller, tilted and in redder light."""
    image = Image.open(PHOTO).convert("RGB")
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    image.save(first)
    tilted = np.asarray(image.rotate(8, Image.Resampling.BICUBIC, fillcolor=(90, 90, 90)).resize((460, 460)))
    light = (tilted / 255.0) ** 2.2 * [1.0, 0.7, 0.7]
    Image.fromarray((255 * light ** (1 / 2.2)).round().astype(np.uint8)).save(second)
    return [first, second]


def test_photos_share_a_head_and_the_light_in_any_order(photos: list[Path], tmp_path: Path) -> None:
    config = PreprocessConfig(crop_size=320)
    made = []
    for name, order in (("there", photos), ("back", photos[::-1])):
        folder = tmp_path / name
        folder.mkdir()
        folders = preprocess_photos(
            [Source.photo(photo) for photo in order], folder, config, SilentProgress(), force=True
        )
        made.append((folder, {photo.name: path.relative_to(folder) for photo, path in folders.items()}))
    (there, where), (back, where_back) = made
    assert where == where_back
    files = sorted(path.relative_to(there) for path in there.rglob("*") if path.is_file())
    assert all((there / file).read_bytes() == (back / file).read_bytes() for file in files)
    assert Path("further/1/track.safetensors") in files

    listed = fitted_photos(there)
    assert [entry["folder"] for entry in listed] == [".", "further/1"]
    gain = torch.tensor(listed[1]["gain"])
    red = listed[1]["photo"] == "second.png"
    expected = torch.tensor([1.0, 1 / 0.7, 1 / 0.7]) if red else torch.tensor([1.0, 0.7, 0.7])
    torch.testing.assert_close(gain, expected, atol=0.12, rtol=0)
    person = _loaded(there, "content")
    assert _loaded(there, "content") is person
    assert _loaded(there, "made anew") is not person
    _, further = person.photos
    assert not person.lift.any()  # the sides are known as they are lit
    assert further.portrait.size == further.track.camera.width
    assert further.exact


def test_without_a_face_from_the_front_nothing_is_written(tmp_path: Path) -> None:
    blank, grey = tmp_path / "blank.png", tmp_path / "grey.png"
    Image.new("RGB", (300, 300), (250, 250, 250)).save(blank)
    Image.new("RGB", (300, 300), (90, 90, 90)).save(grey)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(PhotoError, match="none of the 2 photos shows a face from the front"):
        preprocess_photos([Source.photo(blank), Source.photo(grey)], out, PreprocessConfig(), SilentProgress())
    assert not list(out.iterdir())


@pytest.mark.parametrize(("unsteadiness", "yaw", "seen"), [(0.01, 40, True), (0.01, 70, False), (0.09, 8, False)])
def test_a_face_that_each_framing_sees_elsewhere_is_none(
    monkeypatch: pytest.MonkeyPatch, unsteadiness: float, yaw: float, seen: bool
) -> None:
    pose = np.eye(4, dtype=np.float32)
    pose[0, 2], pose[2, 2] = np.sin(np.radians(yaw)), np.cos(np.radians(yaw))
    points, scores = np.zeros((478, 2), np.float32), np.zeros(52, np.float32)
    face = FaceLandmarks(points, points[:, 0], scores, pose, unsteadiness)
    monkeypatch.setattr(Look, "at", lambda photo, config: SimpleNamespace(face=face))
    source = Source(Path("side.jpg"), "hash", lambda: np.zeros((1, 1, 3), np.uint8))
    assert bool(_look_at_faces({source.key: source}, PreprocessConfig(), lambda steps: None)) is seen


def test_distillation_shows_the_frontal_photo_most_and_the_others_in_turn() -> None:
    schedule = Schedule(iterations=960, photo_every=2, limit=10, seed=0, hold_out=6, photos=3)
    shown = [schedule.choose(step, 30) for step in range(960)]
    assert [shown.count(photo) for photo in range(3)] == [240, 120, 120]
    assert set(shown) == set(range(30))
    assert schedule.shown(30) == [index for index in range(3, 30) if (index - 2) % 6 != 3]
