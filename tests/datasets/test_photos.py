"""Readers of real photos, on toy folders of the shipped head's renders."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from avatarcli.datasets.collect import SETTINGS_FILE, write_captured
from avatarcli.datasets.photos import LondonPhotos, Portraits, evaluated_people, london_people
from avatarcli.errors import PhotoError, UsageError
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.geometry.rotations import axis_angle_to_matrix, rigid
from avatarcli.head.model import PersonalHead
from avatarcli.head.near_ear import NearEar
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing, Window
from avatarcli.progress import SilentProgress
from avatarcli.studio.dataset import StudioDataset
from avatarcli.tracking.profile import find_profile, fit_profile
from avatarcli.training.data import SampleFolder, draw_videos

Sitting = Any  # conftest's: pictures of the shipped head
VIEWS = {"front": 0, "left_3quarter": 1, "right_3quarter": 4, "left_profile": 2}
SIZE = 64


@pytest.fixture(scope="module")
def london(sitting: Sitting, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One person, and one of the benchmark's people, neutral only."""
    folder = tmp_path_factory.mktemp("london")
    for name, view in VIEWS.items():
        for person in ("007", "123"):
            Image.fromarray(sitting.images[view, 0]).save(folder / f"{person}_neutral_{name}.jpg", quality=95)
    return folder


def test_the_benchmarks_people_are_left_out_unless_a_reason_is_given(london: Path) -> None:
    assert list(london_people(london)) == ["007"]
    assert list(london_people(london, "an ablation")) == ["007", "123"]
    assert len(evaluated_people(london)) == 20
    assert LondonPhotos(london, SIZE).names == ("007",)
    assert all("123" not in name for name in Portraits(london, SIZE).names)
    assert any("123" in name for name in Portraits(london, SIZE, evaluated="an ablation").names)


def test_a_person_is_seen_from_all_sides(london: Path) -> None:
    people = LondonPhotos(london, SIZE, views=4, photos=2)
    with pytest.raises(PhotoError, match="give a smaller --photos"):
        LondonPhotos(london, SIZE, photos=4).read(0)
    sample = people.read(0)
    shapes = {name: list(value.shape) for name, value in vars(sample).items() if isinstance(value, torch.Tensor)}
    assert shapes == {
        "video": [4, 1, 4, SIZE, SIZE],
        "hint": [2, 4, 1, 5, SIZE, SIZE],
        "maps": [2, 4, 1, 204, 8, 8],
        "weight": [4, 1, 1, 8, 8],
        "photo": [2, 4, SIZE, SIZE],
        "photo_hint": [2, 5, SIZE, SIZE],
        "photo_maps": [2, 204, 8, 8],
    }
    video, hint = sample.video[:, 0].float() / 255, sample.hint[:, :, 0].float() / 255
    assert (video[:, :3] <= video[:, 3:] + 0.01).all()
    # The photo carried through the fitted head looks like the views, the profile (the last one) too.
    for photo in hint:
        seen = photo[:, 3] > 0.99
        difference = (video[:, :3] - photo[:, :3]).abs().mean(1)
        for view, most in enumerate((0.06, 0.09, 0.09, 0.12)):
            assert seen[view].float().mean() > 0.03
            assert difference[view][seen[view]].mean() < most
    # Faces weigh more than what is around them.
    assert sample.weight[0, 0, 0].max() > 2
    assert sample.weight[:, :, :, 0, 0].max() == 1


def test_files_are_written_once_and_can_be_trained_on(london: Path, tmp_path: Path) -> None:
    portraits = tmp_path / "portraits"
    portraits.mkdir()
    for name in ("a", "b"):
        (portraits / f"{name}.jpg").write_bytes((london / "007_neutral_front.jpg").read_bytes())
    Image.fromarray(np.full((200, 200, 3), 120, np.uint8)).save(portraits / "c.png")
    out = tmp_path / "samples"
    people = Portraits(portraits, SIZE)
    done = write_captured(people, out, SilentProgress(), device="cpu")
    assert (done.kind, done.made, done.kept, done.unusable) == ("videos", 2, 0, ("c",))
    assert sorted(path.name for path in out.glob("*.safetensors")) == ["a_v00.safetensors", "b_v00.safetensors"]
    again = write_captured(people, out, SilentProgress(), device="cpu", limit=2)
    assert (again.made, again.kept) == (0, 2)
    batch = draw_videos(SampleFolder(out), 2, "cpu", torch.Generator().manual_seed(0))
    assert batch.video.shape == (2, 1, 4, SIZE, SIZE)
    assert batch.hint is not None
    assert json.loads((out / SETTINGS_FILE).read_text())["layout"] == "portraits"
    with pytest.raises(UsageError, match="name another folder"):
        write_captured(Portraits(portraits, 2 * SIZE), out, SilentProgress(), device="cpu")
    # As a dataset it goes on for ever and passes over what cannot be used.
    numbers = [sample.number for sample, _ in zip(StudioDataset(people), range(3), strict=False)]
    assert numbers == [0, 1, 0]


def test_folders_without_photos_are_one_line(tmp_path: Path) -> None:
    for reader in (LondonPhotos, Portraits):
        with pytest.raises(UsageError):
            reader(tmp_path / "gone", SIZE)
        with pytest.raises(UsageError):
            reader(tmp_path, SIZE)
    with pytest.raises(UsageError, match="--size 40"):
        LondonPhotos(tmp_path, 40)
    with pytest.raises(UsageError, match="up to 10 views"):
        LondonPhotos(tmp_path, SIZE, views=11)


@pytest.mark.parametrize("side", [1, -1])
def test_a_profiles_camera_is_found_from_its_outline(side: int, mean_head: PersonalHead, sitting: Sitting) -> None:
    """A head that is turned, nods, leans and is a little nearer; long hair hangs over its brow and nape."""
    frontal, size = sitting.cameras[0], sitting.cameras.width
    turn = axis_angle_to_matrix(torch.tensor([0.0, -side * 1.48, 0.0]))
    tilt = axis_angle_to_matrix(torch.tensor([0.06, 0.0, -0.04]))
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    pose = rigid(tilt @ upright @ turn, torch.tensor([0.03, -0.02, 1.17]))
    true = Camera(pose, frontal.K, size, size)
    model = mean_head.model
    raster = rasterize_mesh(mean_head.neutral, model.faces, true)
    matte = raster.covered.float()
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    crown = true.project(mean_head.neutral[mean_head.neutral[:, 1].argmax()][None])[0][0]
    hair = (columns - crown[0]).abs() * 352 / size < 75
    hair &= (rows > crown[1] - 12) & (rows < crown[1] + 40)
    fit = fit_profile(mean_head, HeadParameters.at_rest(), frontal, torch.maximum(matte, hair.float()).numpy(), side)
    assert fit.trusted
    face = mean_head.neutral[model.in_regions("face", "nose", "lip")]
    found, expected = fit.camera.project(face)[0], true.project(face)[0]
    # Pixels of 1.4 mm. Points beside the outline move with the turn, which it hardly tells.
    assert (found - expected).norm(dim=-1).median() < 2.5

    # A photo of which nothing is known: it shows the head larger than the frontal one, and does not say which side.
    near = true.cropped(size // 8, 0, size * 3 // 4, size * 3 // 4)
    larger = torch.maximum(matte, hair.float())[: near.height, size // 8 : size // 8 + near.width].numpy()
    fit = find_profile(mean_head, HeadParameters.at_rest(), 1.2, larger)
    assert fit.trusted
    found, expected = fit.camera.project(face)[0], near.project(face)[0]
    assert (found - expected).norm(dim=-1).median() < 8


@pytest.mark.parametrize("side", [1, -1])
def test_the_ear_tells_a_nod_that_the_outline_does_not(side: int, mean_head: PersonalHead, sitting: Sitting) -> None:
    """The outline of a long chin looks like a nod: here the person's face is not the fitted head's."""
    frontal, size = sitting.cameras[0], sitting.cameras.width
    turn = axis_angle_to_matrix(torch.tensor([0.0, -side * math.pi / 2, 0.0]))
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    true = Camera(rigid(upright @ turn, torch.tensor([0.0, 0.0, 1.2])), frontal.K, size, size)
    model, neutral = mean_head.model, mean_head.neutral.clone()
    below = ((0.0 - neutral[:, 1]) / 0.07).clamp(0, 1) * model.in_regions("face", "nose", "lip")
    neutral[:, 2] += 0.02 * below
    matte = rasterize_mesh(neutral, model.faces, true).covered.float().numpy()
    ear = mean_head.neutral[model.in_regions("ear") & (side * mean_head.neutral[:, 0] > 0)]
    place = true.project(ear)[0]
    # The entrance of the ear canal lies before the middle of the ear, and a little below it.
    seen = true.project(torch.tensor([[side * 0.0735, -0.0173, -0.009]]))[0][0].double().numpy()

    def missed(ear_seen: NearEar | None) -> float:
        fit = find_profile(mean_head, HeadParameters.at_rest(), 1.2, matte, ear_seen)
        return float((fit.camera.project(ear)[0] - place).norm(dim=-1).median())

    told = missed(NearEar(side, seen))
    assert told < 5  # pixels of 1.4 mm
    assert missed(None) > 2 * told


def test_a_picture_without_a_person_gives_no_profile(mean_head: PersonalHead, sitting: Sitting) -> None:
    rest, camera, empty = HeadParameters.at_rest(), sitting.cameras[0], np.zeros((352, 352), np.float32)
    assert not fit_profile(mean_head, rest, camera, empty, 1).trusted
    assert not find_profile(mean_head, rest, 1.2, empty).trusted


def test_windows_stay_inside_the_picture(around: Callable[[list[float]], Camera]) -> None:
    camera = around([0.0])[0]
    framing = Framing((0.0, -0.03, 0.0), 0.6)
    small = Window.framing(framing, camera)
    assert (small.left, small.top, small.side) == (0, 0, camera.width)
    near = Window.framing(Framing((0.1, 0.0, 0.0), 0.2), camera)
    # 0.2 m at 1.2 m with a focal length of 2.4 pictures.
    assert near.side == round(0.4 * camera.width)
    inner = near.camera(camera, 32)
    pixel = inner.project(torch.tensor([[0.1, 0.0, 0.0]]))[0][0]
    assert pixel.tolist() == pytest.approx([16.0, 16.0], abs=0.2)
