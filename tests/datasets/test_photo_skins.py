"""Skins of photos: what is baked, and how the studio's assets take them in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from avatarcli.datasets import photo_skins
from avatarcli.errors import AssetsError
from avatarcli.head.model import REGIONS, HeadModel
from avatarcli.progress import SilentProgress
from avatarcli.reproject.skin_texture import Atlas
from avatarcli.studio.extra_skins import read_skins

Sitting = Any  # conftest's: pictures of the shipped head
PACK = {"young_light_male": (200, 150, 120), "old_dark_female": (90, 60, 45), "young_light_male3": (1, 1, 1)}


def test_a_person_is_baked_onto_the_packs_uv(
    sitting: Sitting, model: HeadModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo_skins, "_SIZE", 256)
    for name, view in {"front": 0, "left_3quarter": 1, "right_3quarter": 4}.items():
        Image.fromarray(sitting.images[view, 0]).save(tmp_path / f"007_neutral_{name}.jpg", quality=95)
    out = tmp_path / "skins"
    baked = photo_skins.bake_skins(tmp_path, out, SilentProgress())
    assert (baked.made, baked.kept, baked.unusable) == (1, 0, ())
    assert photo_skins.bake_skins(tmp_path, out, SilentProgress()).kept == 1
    (path,) = out.glob("*.png")
    assert path.stem in ("young_light_any-007", "young_light_male-007")

    atlas = Atlas.of(model, 256)
    texels = atlas.lookup(torch.from_numpy(np.array(Image.open(path))).float() / 255)
    region = model.region[model.faces[atlas.face, 0]]
    color, known = texels[:, :3], texels[:, 3] > 0.9

    def part(*names: str) -> torch.Tensor:
        return torch.isin(region, torch.tensor([REGIONS.index(name) for name in names]))

    assert known[part("face")].float().mean() > 0.2
    assert known[part("nose")].float().mean() > 0.5
    assert not known[part("scalp", "torso", "neck", "eye", "teeth")].any()
    # The paint: its hue if not its brightness, and no brows.
    face = color[known & part("face")]
    assert (face[:, 0] > face[:, 1]).float().mean() > 0.99
    assert face[:, 0].min() > 0.28  # brows are painted with 0.25 at most
    paint = torch.tensor([0.78, 0.58, 0.48])
    assert torch.allclose(face.mean(0) / face.mean(), paint / paint.mean(), atol=0.06)
    assert color[known & part("lip")].mean(0)[1] < face.mean(0)[1]


@pytest.fixture
def pack() -> dict[str, torch.Tensor]:
    return {name: torch.tensor(rgb, dtype=torch.uint8).expand(20, 22, 3) for name, rgb in PACK.items()}


def test_the_pack_goes_on_where_the_photo_shows_nothing(pack: dict[str, torch.Tensor], tmp_path: Path) -> None:
    picture = np.zeros((40, 40, 4), np.uint8)
    picture[:20] = (100, 100, 60, 255)
    for name in ("young_light_any-007", "middleage_dark_male-9"):
        Image.fromarray(picture, "RGBA").save(tmp_path / f"{name}.png")
    skins = read_skins(tmp_path, pack)
    assert set(skins) == {"young_light_any-007", "middleage_dark_male-9"}
    for skin in skins.values():
        assert skin.shape == (20, 22, 3)
        assert skin.dtype == torch.uint8
        # Even skins of the pack become the photo's tone.
        assert (skin.float() - torch.tensor([100.0, 100.0, 60.0])).abs().max() <= 3


@pytest.mark.parametrize("name", ["young_light.png", "young_pale_male.png"])
def test_skins_with_other_names_are_refused(name: str, pack: dict[str, torch.Tensor], tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8, 4), 255, np.uint8), "RGBA").save(tmp_path / name)
    with pytest.raises(AssetsError, match=name):
        read_skins(tmp_path, pack)


def test_folders_without_skins_are_one_line(pack: dict[str, torch.Tensor], tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(AssetsError, match="avatar data skins"):
            read_skins(folder, pack)
    (tmp_path / "young_light_any-1.png").write_bytes(b"no picture")
    with pytest.raises(AssetsError, match="damaged"):
        read_skins(tmp_path, pack)
    Image.fromarray(np.zeros((8, 8, 4), np.uint8), "RGBA").save(tmp_path / "young_light_any-1.png")
    with pytest.raises(AssetsError, match="hardly any skin"):
        read_skins(tmp_path, pack)
