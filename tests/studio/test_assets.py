from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avatarcli.errors import AssetsError
from avatarcli.head.model import HeadModel
from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.binding import Refinement
from avatarcli.studio.skin_sheets import HELD_OUT_SKINS


@pytest.fixture
def copied(pack: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pack, tmp_path / "copy"))


def test_the_pack_is_read_as_stored(assets: StudioAssets, model: HeadModel) -> None:
    head = assets.head
    rows = head.rows("skin")
    torch.testing.assert_close(head.mean[rows], model.mean[model.part("skin")])
    smile = head.expression_basis[:, rows] - model.expression_basis[:, model.part("skin")]
    assert smile.abs().max() < 1e-4  # half precision in the file
    assert set(HELD_OUT_SKINS) < set(assets.skins)
    assert assets.atlas.size == (80, 88)
    # Where a texel lies on the head agrees with where the mesh puts that texel.
    drawn = head.drawn
    face = 1234
    uv = drawn.uv[face].mean(0)
    row, column = int(uv[1] * 20), int(uv[0] * 22)
    assert (assets.atlas.position[row, column] - drawn.mean[drawn.faces[face]].mean(0)).norm() < 0.03


def test_textures_can_be_smaller(pack: Path) -> None:
    small = StudioAssets.load(pack, skin_height=40)
    assert small.atlas.size == (40, 44)
    assert {tuple(sheet.albedo.shape) for sheet in small.skins.values()} == {(40, 44, 3)}


def test_hair_follows_its_head(assets: StudioAssets) -> None:
    neutral = assets.head.mean * 1.1
    mesh = assets.hair("short01", neutral)
    points = (neutral[mesh.bind_index] * mesh.bind_weight[..., None]).sum(-2) + mesh.offset
    lifted = (points - neutral[mesh.bind_index[:, 0]]).norm(dim=-1)
    # The offsets grow with the head, axis by axis.
    torch.testing.assert_close(lifted, torch.full_like(lifted, 0.0088), atol=2e-4, rtol=0)


def test_refinement_is_the_sparse_matrix() -> None:
    generator = np.random.default_rng(0)
    dense = generator.random((7, 5)) * (generator.random((7, 5)) < 0.5)
    dense[:, 0] += 0.1
    pointers = np.concatenate([[0], np.cumsum((dense > 0).sum(1))])
    data = {"sub_ptr": pointers, "sub_col": np.nonzero(dense)[1], "sub_val": dense[dense > 0]}
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    refine = Refinement.read(data)
    torch.testing.assert_close(refine(values), torch.from_numpy(dense).float() @ values)
    assert refine.strongest.tolist() == dense.argmax(1).tolist()


@pytest.mark.parametrize("name", ["manifest.json", "head_model.npz", "hair/bob01.npz", "mouth/teeth.jpg"])
def test_a_missing_file_is_named(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(AssetsError, match=name) as error:
        StudioAssets.load(copied)
    assert "MakeHuman" in str(error.value)
    assert "\n" not in str(error.value)


def test_no_folder_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(AssetsError, match="no folder"):
        StudioAssets.load(tmp_path / "nowhere")


def test_a_cut_file_is_named(copied: Path) -> None:
    path = copied / "clothes" / "fedora.npz"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(AssetsError, match="fedora"):
        StudioAssets.load(copied)


def test_a_damaged_file_of_the_right_size_is_named(copied: Path) -> None:
    path = copied / "head_model.npz"
    content = bytearray(path.read_bytes())
    content[100:4000] = bytes(3900)
    path.write_bytes(content)
    with pytest.raises(AssetsError, match="head_model"):
        StudioAssets.load(copied)


def test_further_skins_join_the_packs(pack: Path, assets: StudioAssets, tmp_path: Path) -> None:
    picture = np.zeros((32, 32, 4), np.uint8)
    picture[8:20, 8:24] = (210, 160, 140, 255)
    Image.fromarray(picture, "RGBA").save(tmp_path / "young_light_any-007.png")
    richer = StudioAssets.load(pack, extra_skins=tmp_path)
    assert set(richer.skins) == {*assets.skins, "young_light_any-007"}
    assert richer.skins["young_light_any-007"].albedo.shape == assets.skins["young_light_male"].albedo.shape
    for name, sheet in assets.skins.items():
        assert torch.equal(sheet.albedo, richer.skins[name].albedo)
    with pytest.raises(AssetsError, match="avatar data skins"):
        StudioAssets.load(pack, extra_skins=tmp_path / "gone")
