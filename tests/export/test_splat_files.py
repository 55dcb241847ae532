"""PLY, SPZ, SOG, splats in GLB and bound PLY, read back by other people's readers and drawn again."""

from __future__ import annotations

import gzip
import json
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import gsply
import numpy as np
import pytest
import torch
import trimesh
import zstandard
from torch import Tensor

from avatarcli.errors import ExportError
from avatarcli.export.axes import turned
from avatarcli.export.formats import SpzVersion, Up
from avatarcli.export.gaussianavatars import MAX_FRAMES, write_bound
from avatarcli.export.glb_splats import write_glb_splats
from avatarcli.export.origin import Origin
from avatarcli.export.ply import write_splats
from avatarcli.export.sog import table_of, write_sog, z_order
from avatarcli.export.spz import pack_rotations, write_spz
from avatarcli.gaussians.avatar import SH_C0, Avatar, Splats
from avatarcli.gaussians.losses import psnr
from avatarcli.gaussians.rasterize import rasterize
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.rotations import quaternion_to_matrix
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.parameters import HeadParameters
from origin_reader import from_json

SIZE = 160


@pytest.fixture(scope="module")
def camera(toy: Avatar) -> Camera:
    return toy.framing.cameras(torch.tensor([0.4]), torch.tensor([0.1]), SIZE)[0]


@pytest.fixture(scope="module")
def open_mouth() -> HeadParameters:
    parameters = HeadParameters.at_rest()
    parameters.expression[0, EXPRESSION_INDEX["jawOpen"]] = 0.8
    return parameters


@pytest.fixture(scope="module")
def splats(toy: Avatar, open_mouth: HeadParameters) -> Splats:
    return toy.splats(toy.rig(), open_mouth)


def _agreement(one: Splats, other: Splats, camera: Camera) -> float:
    """PSNR of two pictures on white."""
    first, second = (rasterize(*splats, camera, torch.ones(3), backend="reference").color for splats in (one, other))
    assert first.std() > 0.1  # there is something to see
    return psnr(first, second, torch.ones(SIZE, SIZE))


def _splats(data: gsply.GSData) -> Splats:
    """Gaussians as gsply holds them after reading: logits, logarithms, color coefficients."""
    tensors = [torch.from_numpy(np.array(a)) for a in (data.means, data.quats, data.scales, data.opacities, data.sh0)]
    means, quaternions, scales, opacities, sh = tensors
    return Splats(means, quaternions, scales.exp(), opacities.flatten().sigmoid(), (0.5 + SH_C0 * sh).clamp(min=0))


def test_ply_read_by_gsply_draws_the_same(tmp_path: Path, splats: Splats, camera: Camera, mark: Origin) -> None:
    write_splats(tmp_path / "face.ply", splats, mark)
    assert _agreement(_splats(gsply.plyread(tmp_path / "face.ply")), splats, camera) > 40


def test_ply_says_where_it_comes_from(tmp_path: Path, splats: Splats, mark: Origin) -> None:
    write_splats(tmp_path / "face.ply", splats, mark)
    header = (tmp_path / "face.ply").read_bytes().partition(b"end_header")[0].decode("ascii").splitlines()
    comments = [line.removeprefix("comment ") for line in header if line.startswith("comment ")]
    assert mark.statement() in comments
    assert any(from_json(comment) == mark for comment in comments)


@pytest.mark.parametrize("version", [2, 3])
def test_spz_read_by_gsply_draws_the_same(
    tmp_path: Path, splats: Splats, camera: Camera, mark: Origin, version: SpzVersion
) -> None:
    write_spz(tmp_path / "face.spz", splats, mark, version)
    assert _agreement(_splats(gsply.read_spz(tmp_path / "face.spz")), splats, camera) > 35


def test_spz_is_gzip_with_the_mark_in_its_comment(tmp_path: Path, splats: Splats, mark: Origin) -> None:
    write_spz(tmp_path / "face.spz", splats, mark)
    content = (tmp_path / "face.spz").read_bytes()
    assert gzip.decompress(content)[:4] == b"NGSP"
    assert from_json(content[10 : content.index(b"\0", 10)].decode()) == mark


def test_spz_4_holds_the_same_as_3_in_streams_of_its_own(tmp_path: Path, splats: Splats, mark: Origin) -> None:
    for version in (3, 4):
        write_spz(tmp_path / f"{version}.spz", splats, mark, version)  # type: ignore[arg-type]
    together = gzip.decompress((tmp_path / "3.spz").read_bytes())
    content = (tmp_path / "4.spz").read_bytes()
    magic, version, count, _, _, _, streams, contents = struct.unpack("<IIIBBBBI", content[:20])
    assert (magic, version, count, streams) == (0x5053474E, 4, len(splats.means), 5)
    assert from_json(content[32:contents].decode()) == mark
    at, apart = contents + 16 * streams, b""
    for packed, size in struct.iter_unpack("<QQ", content[contents:at]):
        stream = zstandard.ZstdDecompressor().decompress(content[at : at + packed])
        assert len(stream) == size
        at, apart = at + packed, apart + stream
    assert at == len(content)
    assert apart == together[16:]


def test_sog_read_by_gsply_draws_the_same(tmp_path: Path, splats: Splats, camera: Camera, mark: Origin) -> None:
    write_sog(tmp_path / "face.sog", splats, mark)
    assert _agreement(_splats(gsply.sogread(tmp_path / "face.sog")), splats, camera) > 35


def test_sog_says_where_it_comes_from(tmp_path: Path, splats: Splats, mark: Origin) -> None:
    write_sog(tmp_path / "face.sog", splats, mark)
    asset = json.loads(zipfile.ZipFile(tmp_path / "face.sog").read("meta.json"))["asset"]
    assert from_json(json.dumps(asset["extras"])) == mark


def test_a_table_of_few_values_is_exact() -> None:
    values = np.random.default_rng(0).choice([-3.0, 0.25, 7.0], (40, 3))
    table, index = table_of(values)
    assert np.abs(table[index] - values).max() < 10 / 8192


def test_z_order_keeps_neighbours_together() -> None:
    points = np.random.default_rng(0).random((2000, 3))
    steps = np.linalg.norm(np.diff(points[z_order(points)], axis=0), axis=1).mean()
    assert steps < 0.3 * np.linalg.norm(np.diff(points, axis=0), axis=1).mean()


def test_glb_splats_read_back_draw_the_same(tmp_path: Path, splats: Splats, camera: Camera, mark: Origin) -> None:
    write_glb_splats(tmp_path / "face.glb", splats, mark)
    content = (tmp_path / "face.glb").read_bytes()
    length = int.from_bytes(content[12:16], "little")
    document, buffer = json.loads(content[20 : 20 + length]), content[28 + length :]
    assert from_json(json.dumps(document["asset"]["extras"])) == mark
    assert document["extensionsUsed"] == ["KHR_gaussian_splatting"]
    (primitive,) = document["meshes"][0]["primitives"]
    assert primitive["mode"] == 0

    def column(name: str) -> Tensor:
        accessor = document["accessors"][primitive["attributes"][name]]
        view = document["bufferViews"][accessor["bufferView"]]
        flat = np.frombuffer(buffer, "<f4", view["byteLength"] // 4, view["byteOffset"])
        return torch.from_numpy(flat.copy()).view(accessor["count"], -1)

    read = Splats(
        column("POSITION"),
        column("KHR_gaussian_splatting:ROTATION")[:, [3, 0, 1, 2]],
        column("KHR_gaussian_splatting:SCALE"),
        column("KHR_gaussian_splatting:OPACITY")[:, 0],
        0.5 + SH_C0 * column("KHR_gaussian_splatting:SH_DEGREE_0_COEF_0"),
    )
    assert _agreement(read, splats, camera) > 60


@pytest.mark.parametrize(("up", "axis"), [("y", (0, 1, 0)), ("-y", (0, -1, 0)), ("z", (0, 0, 1))])
def test_turned_gaussians_are_the_same_in_a_turned_world(splats: Splats, up: Up, axis: tuple[int, int, int]) -> None:
    other = turned(splats, up)
    corners = torch.cat([torch.zeros(1, 3), torch.eye(3)])
    blank = Splats(corners, torch.tensor([[1.0, 0, 0, 0]]).expand(4, 4), corners, corners[:, 0], corners)
    origin, *axes = turned(blank, up).means
    assert torch.allclose(axes[1] - origin, torch.tensor(axis).float(), atol=1e-6)
    rotation = torch.stack([a - origin for a in axes], dim=-1)
    assert torch.det(rotation) == pytest.approx(1, abs=1e-5)
    # A Gaussian's axes turn with its place.
    ours, theirs = quaternion_to_matrix(splats.quaternions), quaternion_to_matrix(other.quaternions)
    assert torch.allclose(rotation @ ours, theirs, atol=1e-5)


def test_a_ply_of_degree_3_has_45_zeros(tmp_path: Path, splats: Splats, mark: Origin) -> None:
    write_splats(tmp_path / "face.ply", splats, mark, up="z", sh_degree=3)
    data = gsply.plyread(tmp_path / "face.ply")
    assert np.array(data.shN).size == 45 * len(splats.means)
    assert not np.array(data.shN).any()
    assert np.allclose(np.array(data.means)[:, 2], splats.means[:, 1])


def test_packed_rotations_keep_every_axis_and_sign() -> None:
    quaternions = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)).double().numpy()
    words = pack_rotations(quaternions).astype(np.int64)
    # The slow way back: three components of 10 bits from the last one up, the largest from the unit length.
    for quaternion, word in zip(quaternions, words, strict=True):
        largest, xyzw = int(word >> 30), np.zeros(4)
        for component in reversed([c for c in range(4) if c != largest]):
            xyzw[component] = (word & 511) / 511 * np.sqrt(0.5) * (-1 if word & 512 else 1)
            word >>= 10
        xyzw[largest] = np.sqrt(max(0.0, 1 - np.square(xyzw).sum()))
        unit = np.roll(quaternion / np.linalg.norm(quaternion), -1)
        assert abs(unit @ xyzw) > 1 - 1e-5


def _follow_triangles(folder: Path, frame: int) -> Splats:
    """A bound PLY placed by its triangles, as a reader of that layout does it."""
    vertex = trimesh.load(folder / "point_cloud.ply").metadata["_ply_raw"]["vertex"]["data"]
    with np.load(folder / "parameters.npz", allow_pickle=False) as file:
        corners = torch.from_numpy(file["vertices"][frame][file["faces"]]).double()

    def columns(*names: str) -> Tensor:
        return torch.from_numpy(np.stack([vertex[name] for name in names], axis=-1)).double()

    v0, v1, v2 = corners[columns("binding_0")[:, 0].long()].unbind(1)
    a0 = (v1 - v0) / (v1 - v0).norm(dim=1, keepdim=True)
    a1 = torch.linalg.cross(v1 - v0, v2 - v0)
    a1 = a1 / a1.norm(dim=1, keepdim=True)
    a2 = -torch.linalg.cross(a1, a0)
    size = (((v1 - v0).norm(dim=1) + (a2 * (v2 - v0)).sum(1).abs()) / 2)[:, None]
    turn = torch.stack([a0, a1, a2], dim=-1)
    axes = turn @ quaternion_to_matrix(columns("rot_0", "rot_1", "rot_2", "rot_3"))
    means = size * (turn @ columns("x", "y", "z")[..., None])[..., 0] + (v0 + v1 + v2) / 3
    scales = columns("scale_0", "scale_1", "scale_2").exp() * size
    colors = 0.5 + SH_C0 * columns("f_dc_0", "f_dc_1", "f_dc_2")
    return Splats(means, _quaternions(axes), scales, columns("opacity")[:, 0].sigmoid(), colors)


def _quaternions(rotation: Tensor) -> Tensor:
    from scipy.spatial.transform import Rotation

    return torch.from_numpy(Rotation.from_matrix(rotation.numpy()).as_quat()[:, [3, 0, 1, 2]])


def test_bound_ply_draws_the_face_at_rest(tmp_path: Path, toy: Avatar, camera: Camera, mark: Origin) -> None:
    write_bound(tmp_path, toy, HeadParameters.at_rest(), 1.0, mark)
    rest = toy.splats(toy.rig(), HeadParameters.at_rest())
    doubled = Splats(*(tensor.double() for tensor in rest))
    assert _agreement(_follow_triangles(tmp_path, 0), doubled, camera) > 45


def test_bound_ply_follows_the_clip(tmp_path: Path, toy: Avatar, open_mouth: HeadParameters, mark: Origin) -> None:
    frames = HeadParameters.at_rest(2)
    frames.expression[1] = open_mouth.expression[0]
    write_bound(tmp_path, toy, frames, 30.0, mark)
    plain = replace(toy, correctives=replace(toy.correctives, basis=0 * toy.correctives.basis))
    ours = plain.splats(plain.rig(), open_mouth).means
    theirs, before = (_follow_triangles(tmp_path, frame).means for frame in (1, 0))
    assert (theirs - before).norm(dim=1).max() > 0.01  # the chin drops
    # Triangles that shear carry their Gaussians a little elsewhere in this layout, which only turns and scales.
    assert (theirs - ours).norm(dim=1).median() < 1e-4


def test_bound_ply_refuses_an_endless_clip(tmp_path: Path, toy: Avatar, mark: Origin) -> None:
    with pytest.raises(ExportError, match="cut the clip"):
        write_bound(tmp_path, toy, HeadParameters.at_rest(MAX_FRAMES + 1), 30.0, mark)
