"""Reads exported files back and compares what they show with `avatar render`: one table of differences in pixels.

    pip install -e '.[dev]' playwright    # playwright for HTML only, with a Chromium: see check_html_player.py
    python scripts/compare_exports.py --workspace avatars ada bob

Every subject is exported with `avatar export`'s own code and read by others': gsply for PLY and SPZ, trimesh for bound PLY and
GLB (what it leaves out, the triangles' frames and the morph targets, is read here from the formats' definitions), Chromium for
HTML. Gaussians are drawn by our rasteriser, meshes by our z-buffer with their textures. The pictures are taken from five sides,
at rest and with one expression. All figures are over the pixels of the head: those that are not white in at least one of the two.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gsply
import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from avatarcli.clips.clip import Clip
from avatarcli.errors import AvatarError
from avatarcli.export.formats import FORMATS, ExportFormat
from avatarcli.gaussians.avatar import SH_C0, Avatar, Splats
from avatarcli.gaussians.losses import psnr
from avatarcli.gaussians.rasterize import rasterize
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.mesh import rasterize_mesh, sample_image
from avatarcli.head.expressions import expression_vector
from avatarcli.multiview.framing import Framing
from avatarcli.pictures import write_png
from avatarcli.progress import SilentProgress
from avatarcli.stages.artefacts import AVATAR_FILE
from avatarcli.stages.driver import Driver
from avatarcli.stages.export import export_subject
from avatarcli.stages.export_request import ExportRequest
from avatarcli.stages.render_request import RenderRequest, parse_expression
from avatarcli.stages.rendering import render_subject
from avatarcli.workspace import Subject, Workspace

YAWS = (0.0, 45.0, -45.0, 90.0, 180.0)  # degrees, to the subject's left
SEEN = 8  # of 255: a pixel that differs by more in any channel counts as another one
OVERSAMPLING = 4  # of meshes, along each side: a z-buffer does not smooth edges or shrink textures by itself

Array = NDArray[Any]
Weights = Mapping[str, float]
Pictures = Iterator[Tensor]  # [S, S, 3] in [0, 1], on white: all sides of the first face, then of the next


@dataclass(frozen=True)
class Case:
    """One subject, what is asked of it, and a folder for its files. faces: ARKit weights by name, the face at rest first."""

    subject: Subject
    framing: Framing
    folder: Path
    faces: Mapping[str, Weights]
    size: int
    chromium: str | None

    def export(self, format: ExportFormat, **wishes: Any) -> Path:
        """Export once more, to a name of its own."""
        out = self.folder / f"{format}{len(list(self.folder.iterdir()))}{FORMATS[format].suffix}"
        return export_subject(self.subject, out, ExportRequest(format, **wishes), progress=SilentProgress()).path

    def cameras(self, scale: int = 1) -> Iterator[Camera]:
        yaw = torch.deg2rad(torch.tensor(YAWS))
        cameras = self.framing.cameras(yaw, torch.zeros(len(yaw)), self.size * scale)
        return (cameras[index] for index in range(len(yaw)))

    def draw(self, splats: Splats) -> Pictures:
        """Gaussians from all sides."""
        single = Splats(*(tensor.float().contiguous() for tensor in splats))
        for camera in self.cameras():
            yield rasterize(*single, camera, torch.ones(3)).color


def rendered(case: Case) -> Pictures:
    """What `avatar render` draws, from its PNG files."""
    for name, weights in case.faces.items():
        request = RenderRequest(views=tuple((yaw, 0.0) for yaw in YAWS), size=case.size, expression=weights)
        out = case.folder / f"render {name}"
        render_subject(case.subject, out, request, device="cpu", progress=SilentProgress())
        for file in sorted(out.iterdir()):
            with Image.open(file) as picture:
                yield torch.from_numpy(np.array(picture.convert("RGB"))).float() / 255


def ply(case: Case) -> Pictures:
    for weights in case.faces.values():
        yield from case.draw(as_splats(gsply.plyread(case.export("ply", expression=weights))))


def spz(case: Case) -> Pictures:
    for weights in case.faces.values():
        yield from case.draw(as_splats(gsply.read_spz(case.export("spz", expression=weights))))


def as_splats(data: gsply.GSData) -> Splats:
    """Gaussians as the files hold them: logits, logarithms, color coefficients."""
    means, quaternions, scales, opacities, sh = (
        torch.from_numpy(np.array(a)) for a in (data.means, data.quats, data.scales, data.opacities, data.sh0)
    )
    return Splats(means, quaternions, scales.exp(), opacities.flatten().sigmoid(), (0.5 + SH_C0 * sh).clamp(min=0))


def gaussianavatars(case: Case) -> Pictures:
    """Bound Gaussians, carried by their triangles through a clip of one frame a face."""
    count = len(case.faces)
    expression = np.array([expression_vector(dict(weights)) for weights in case.faces.values()], np.float32)
    clip = Clip(expression, np.zeros((count, 3), np.float32), None, None, 1.0)
    folder = case.export("gaussianavatars", driver=Driver(clip, "faces"))
    vertex = trimesh.load(folder / "point_cloud.ply").metadata["_ply_raw"]["vertex"]["data"]
    with np.load(folder / "parameters.npz", allow_pickle=False) as file:
        vertices, faces = file["vertices"], file["faces"]
    triangles = faces[vertex["binding_0"].astype(int)]
    for frame in range(count):
        yield from case.draw(carried(vertex, vertices[frame][triangles]))


def carried(vertex: Mapping[str, Array], corners: Array) -> Splats:
    """The rows of a bound PLY, moved by the triangle of each [G, 3, 3] as docs/export.md defines it."""

    def columns(prefix: str, count: int) -> Array:
        return np.stack([vertex[f"{prefix}_{index}"] for index in range(count)], axis=-1).astype(float)

    v0, v1, v2 = np.moveaxis(corners.astype(float), 1, 0)
    a0 = (v1 - v0) / np.linalg.norm(v1 - v0, axis=1, keepdims=True)
    a1 = np.cross(v1 - v0, v2 - v0)
    a1 /= np.linalg.norm(a1, axis=1, keepdims=True)
    a2 = -np.cross(a1, a0)
    size = (np.linalg.norm(v1 - v0, axis=1) + np.abs((a2 * (v2 - v0)).sum(1)))[:, None] / 2
    frame = Rotation.from_matrix(np.stack([a0, a1, a2], axis=-1))
    own = np.stack([vertex[axis] for axis in "xyz"], axis=-1)
    turned = frame * Rotation.from_quat(columns("rot", 4)[:, [1, 2, 3, 0]])
    arrays = (
        size * frame.apply(own) + (v0 + v1 + v2) / 3,
        turned.as_quat()[:, [3, 0, 1, 2]],
        size * np.exp(columns("scale", 3)),
        1 / (1 + np.exp(-vertex["opacity"].astype(float))),
        (0.5 + SH_C0 * columns("f_dc", 3)).clip(min=0),
    )
    return Splats(*map(torch.from_numpy, arrays))


def glb(case: Case) -> Pictures:
    """The two meshes as an engine draws them: the head, then the hair blended over it where it is nearer."""
    path = case.export("glb")
    meshes = trimesh.load_scene(path, process=False).geometry
    targets = morph_targets(path.read_bytes())
    for weights in case.faces.values():
        head = torch.from_numpy(meshes["head"].vertices + sum(w * targets[name] for name, w in weights.items())).float()
        for camera in case.cameras(OVERSAMPLING):
            skin, near = textured(meshes["head"], head, camera)
            hair, depth = textured(meshes["hair"], torch.from_numpy(meshes["hair"].vertices).float(), camera, cull=True)
            below = torch.where(near[..., None].isfinite(), skin[..., :3], torch.ones(3))
            share = hair[..., 3:] * (depth < near)[..., None]
            picture = below + share * (hair[..., :3] - below)
            yield functional.avg_pool2d(picture.permute(2, 0, 1)[None], OVERSAMPLING)[0].permute(1, 2, 0)


def textured(mesh: Any, vertices: Tensor, camera: Camera, *, cull: bool = False) -> tuple[Tensor, Tensor]:
    """A mesh's texture where it is seen: color and opacity [H, W, 4], and depth [H, W]."""
    faces = torch.from_numpy(np.array(mesh.faces))
    seen = rasterize_mesh(vertices, faces, camera, cull_backfaces=cull)
    texture = torch.from_numpy(np.array(mesh.visual.material.baseColorTexture.convert("RGBA"))).float() / 255
    uv = seen.interpolate(torch.from_numpy(np.array(mesh.visual.uv)).float(), faces)
    height, width = texture.shape[:2]
    # trimesh counts v from the bottom of the picture; u repeats.
    places = torch.stack([uv[..., 0] % 1 * width, (1 - uv[..., 1]) * height], dim=-1)
    return sample_image(texture, places.view(-1, 2)).view(*uv.shape[:2], 4), seen.depth


def morph_targets(content: bytes) -> dict[str, Array]:
    """Offsets [N, 3] of the first mesh's morph targets by name, from their sparse accessors (glTF 2.0, 3.6.2.3)."""
    (length,) = struct.unpack_from("<I", content, 12)
    document, buffer = json.loads(content[20 : 20 + length]), content[28 + length :]

    def read(part: dict[str, Any], dtype: str) -> Array:
        view = document["bufferViews"][part["bufferView"]]
        return np.frombuffer(buffer, dtype, view["byteLength"] // np.dtype(dtype).itemsize, view["byteOffset"])

    mesh, targets = document["meshes"][0], {}
    for name, target in zip(mesh["extras"]["targetNames"], mesh["primitives"][0]["targets"], strict=True):
        accessor = document["accessors"][target["POSITION"]]
        sparse, offsets = accessor["sparse"], np.zeros((accessor["count"], 3))
        index = read(sparse["indices"], {5123: "<u2", 5125: "<u4"}[sparse["indices"]["componentType"]])
        offsets[index] = read(sparse["values"], "<f4").reshape(-1, 3)
        targets[name] = offsets
    return targets


def html(case: Case) -> Pictures:
    """The page in headless Chromium."""
    from playwright.sync_api import sync_playwright

    from check_html_player import launch, open_player, show

    path = case.export("html")
    with sync_playwright() as playwright:
        browser = launch(playwright, case.chromium)
        page = browser.new_page(viewport={"width": case.size, "height": case.size})
        open_player(page, path)
        page.evaluate("document.body.classList.add('bare')")
        for weights in case.faces.values():
            for yaw in YAWS:
                yield show(page, weights, yaw)
        browser.close()


READERS: dict[str, Callable[[Case], Pictures]] = {
    "ply": ply, "spz": spz, "gaussianavatars": gaussianavatars, "html": html, "glb": glb
}  # fmt: skip


def difference(theirs: Tensor, ours: Tensor) -> dict[str, float]:
    """Figures of pictures [N, S, S, 3], in [0, 1], over the pixels that are not white in at least one."""
    head = torch.minimum(theirs, ours).amin(-1) < 1
    levels = (theirs - ours).abs()[head] * 255
    return {
        "mean": float(levels.mean()),
        "psnr": psnr(theirs, ours, head.float()),
        "differ": float((levels.amax(-1) > SEEN + 0.5).float().mean()),  # whole levels, as floats
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="*", help="default: the last one made")
    parser.add_argument("--workspace", type=Path, default=Path("avatars"))
    parser.add_argument("--formats", nargs="+", choices=READERS, default=list(READERS))
    parser.add_argument("--expression", default="open-mouth", help="as `avatar render` takes it (default: open-mouth)")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures in pixels")
    parser.add_argument("--chromium", help="path of the browser")
    parser.add_argument("--out", type=Path, help="folder for sheets: their pictures, ours, and 8 times the difference")
    parser.add_argument("--json", action="store_true", help="one JSON document, with the figures of every side")
    options = parser.parse_args()
    workspace = Workspace(options.workspace)
    if "html" in options.formats and find_spec("playwright") is None:
        parser.error("html needs a browser: pip install playwright, or leave html out of --formats")
    try:
        faces = {"rest": {}, options.expression: parse_expression(options.expression)}
        subjects = [workspace.subject(name) for name in options.subjects or [None]]
        with torch.inference_mode():
            pictures = [draw_all(subject, faces, options) for subject in subjects]
    except AvatarError as error:
        sys.exit(f"error: {error}")
    report(pictures, list(faces), options)


def draw_all(subject: Subject, faces: Mapping[str, Weights], options: argparse.Namespace) -> dict[str, Tensor]:
    """Pictures [faces, sides, S, S, 3] in 256 levels by format, and `avatar render`'s under "render"."""
    drawn = {}
    framing = Avatar.load(subject.whole("distill", AVATAR_FILE)).framing
    for name, reader in {"render": rendered, **{name: READERS[name] for name in options.formats}}.items():
        print(f"{subject.name}: {name}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            case = Case(subject, framing, Path(folder), faces, options.size, options.chromium)
            pictures = torch.stack(list(reader(case))).view(len(faces), len(YAWS), options.size, options.size, 3)
        drawn[name] = (pictures.clamp(0, 1) * 255).round() / 255
        if options.out is not None and name != "render":
            options.out.mkdir(parents=True, exist_ok=True)
            save_sheet(options.out / f"{subject.name}-{name}.png", drawn[name], drawn["render"])
    return drawn


def save_sheet(path: Path, theirs: Tensor, ours: Tensor) -> None:
    """Three rows a face: their pictures, ours, and 8 times the difference."""
    rows = torch.stack([theirs, ours, ((theirs - ours).abs() * 8).clamp(0, 1)], dim=1)  # faces, rows, sides, S, S, 3
    sheet = rows.permute(0, 1, 3, 2, 4, 5).reshape(-1, rows.shape[2] * rows.shape[4], 3)
    write_png(path, sheet)


def report(pictures: Sequence[dict[str, Tensor]], faces: list[str], options: argparse.Namespace) -> None:
    """Print the differences over all subjects and sides."""
    rows: list[dict[str, Any]] = []
    for name in options.formats:
        theirs, ours = (torch.stack([drawn[key] for drawn in pictures]) for key in (name, "render"))
        for index, face in enumerate(faces):
            pair = theirs[:, index], ours[:, index]  # subjects, sides, S, S, 3
            sides = {f"{yaw:g}": difference(pair[0][:, side], pair[1][:, side]) for side, yaw in enumerate(YAWS)}
            rows.append({"format": name, "face": face, **difference(*pair), "sides": sides})
    if options.json:
        print(json.dumps({"size": options.size, "subjects": len(pictures), "rows": rows}))
        return
    print(f"| format | face | mean difference (of 255) | PSNR | pixels off by more than {SEEN} | worst side |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        side, worst = min(row["sides"].items(), key=lambda item: item[1]["psnr"])
        print(
            f"| `{row['format']}` | {row['face']} | {row['mean']:.2f} | {row['psnr']:.1f} dB | {row['differ']:.1%} |"
            f" {side}°: {worst['psnr']:.1f} dB |"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)  # pictures are small: more threads wait for each other
    main()
