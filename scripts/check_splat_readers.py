"""Opens exported Gaussians with PlayCanvas' splat-transform (MIT, needs Node) and says how much of them came through.

    npm install -g @playcanvas/splat-transform
    python scripts/check_splat_readers.py --workspace avatars --subject ada

Every file is turned into a PLY by splat-transform, read with gsply, and drawn beside the avatar's own Gaussians. It does not read
GLB: there, its own GLB of our PLY is compared with ours, attribute by attribute.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import gsply
import numpy as np
import torch

from avatarcli.export.axes import turned
from avatarcli.export.formats import Up
from avatarcli.gaussians.avatar import Avatar, Splats
from avatarcli.gaussians.losses import psnr
from avatarcli.gaussians.rasterize import rasterize
from avatarcli.head.parameters import HeadParameters
from avatarcli.progress import SilentProgress
from avatarcli.stages.artefacts import AVATAR_FILE
from avatarcli.stages.export import export_subject
from avatarcli.stages.export_request import ExportRequest
from avatarcli.workspace import Workspace
from compare_exports import Array, as_splats

SIZE = 512  # pixels
REQUESTS: dict[str, ExportRequest] = {
    "ply": ExportRequest("ply"),
    "ply --up -y": ExportRequest("ply", up="-y"),
    "ply --sh-degree 3": ExportRequest("ply", sh_degree=3),
    "spz --spz-version 2": ExportRequest("spz", spz_version=2),
    "spz --spz-version 3": ExportRequest("spz", spz_version=3),
    "spz --spz-version 4": ExportRequest("spz", spz_version=4),
    "sog": ExportRequest("sog"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--subject", required=True)
    parser.add_argument("--splat-transform", default="splat-transform", help="its command")
    arguments = parser.parse_args()
    subject = Workspace(arguments.workspace).subject(arguments.subject)
    avatar = Avatar.load(subject.whole("distill", AVATAR_FILE))
    splats = avatar.splats(avatar.rig(), HeadParameters.at_rest())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def export(request: ExportRequest, name: str) -> Path:
            return export_subject(subject, folder / name, request, progress=SilentProgress()).path

        def convert(source: Path, name: str) -> Path:
            command = [arguments.splat_transform, "-q", "-w", str(source), str(folder / name)]
            subprocess.run(command, check=True)
            return folder / name

        print("| export | size | PSNR |\n| --- | --- | --- |")
        for title, request in REQUESTS.items():
            file = export(request, f"face.{request.format}")
            read = as_splats(gsply.plyread(convert(file, "read.ply")))
            print(
                f"| `{title}` | {file.stat().st_size / 1e6:.2f} MB | {_agreement(splats, read, request.axis, avatar):.1f} dB |"
            )
        ours = _attributes(export(ExportRequest("glb-splats"), "ours.glb"))
        theirs = _attributes(convert(export(ExportRequest("ply", up="-y"), "face.ply"), "theirs.glb"))
        for name in sorted(theirs):
            print(f"glb-splats {name}: largest difference {_difference(name, ours[name], theirs[name]):.1e}")


def _agreement(splats: Splats, read: Splats, up: Up, avatar: Avatar) -> float:
    camera = avatar.framing.cameras(torch.tensor([0.3]), torch.tensor([0.1]), SIZE)[0]
    # Only half turns are asked for: they undo themselves.
    both = (Splats(*(tensor.float().contiguous() for tensor in s)) for s in (splats, turned(read, up)))
    ours, theirs = (rasterize(*s, camera, torch.ones(3)).color for s in both)
    return psnr(ours, theirs, torch.ones(SIZE, SIZE))


def _attributes(path: Path) -> dict[str, Array]:
    """The attributes of the only primitive of a GLB, as floats."""
    content = path.read_bytes()
    length = int.from_bytes(content[12:16], "little")
    document, buffer = json.loads(content[20 : 20 + length]), content[28 + length :]
    found = {}
    for name, index in document["meshes"][0]["primitives"][0]["attributes"].items():
        accessor = document["accessors"][index]
        view = document["bufferViews"][accessor["bufferView"]]
        dtype = {5126: "<f4", 5121: "u1"}[accessor["componentType"]]
        flat = np.frombuffer(buffer, dtype, view["byteLength"] // np.dtype(dtype).itemsize, view.get("byteOffset", 0))
        found[name] = flat.reshape(accessor["count"], -1).astype(float) / (255 if dtype == "u1" else 1)
    return found


def _difference(name: str, ours: Array, theirs: Array) -> float:
    """Rotations are the same with all signs turned."""
    plain = np.abs(ours - theirs)
    if name.endswith("ROTATION"):
        plain = np.minimum(plain.max(1), np.abs(ours + theirs).max(1))
    return float(plain.max())


if __name__ == "__main__":
    main()
