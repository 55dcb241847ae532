"""Measures how what people wear moves in an avatar: glasses that a blink must not touch, beards that an open mouth must not tear.

python scripts/check_worn.py AVATAR... [--sheet OUT.png]      # AVATAR: an avatar.safetensors

blink: of the pixels around the eyes where neither lid nor eye is to be seen, at rest or blinking, the share that changes its color
by more than 0.1 on a full blink, seen from the front and from 40°; in brackets the same with lids and eyes, which dark lenses hide.
tear: of the neighbours (less than 4 mm apart, of like color) among the Gaussians that stand off the skin below the mouth, the
share that an open mouth parts by more than 5 mm, and by how much it parts the worst twentieth.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from PIL import Image
from scipy.spatial import cKDTree
from torch import Tensor

from avatarcli.gaussians.avatar import SH_C0, Avatar
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.mesh import rasterize_mesh
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.model import still_head
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing

BLINK = ("eyeBlinkLeft", "eyeBlinkRight")
FACES = {"rest": {}, "blink": dict.fromkeys(BLINK, 1.0), "open": {"jawOpen": 0.6}}
EYES, NOSE, CHIN, JAW_ANGLES = ((33, 133), (362, 263)), 2, 152, (172, 397)  # MediaPipe's points
AROUND = 0.03  # metres from the middle of an eye
MOVED = 0.0003  # metres: skin that a full blink moves by more is a lid
CHANGED = 0.1
NEIGHBOURS, LIKE, PARTED = 0.004, 0.15, 0.005
OFF_SKIN, OPAQUE = 0.006, 0.3
SIZE = 512
BACKGROUND = torch.tensor([0.2, 0.6, 0.2])


def parameters(name: str) -> HeadParameters:
    return still_head(FACES[name])


def camera(avatar: Avatar, point: int, up: float, span: float, yaw: float) -> Camera:
    """Looks at a MediaPipe point of the head, or `up` metres above it, and shows `span` metres."""
    height = float(avatar.head.model.landmarks(avatar.head.neutral)[point, 1])
    framing = Framing((0.0, height + up, 0.0), span)
    return framing.cameras(torch.tensor([math.radians(yaw)]), torch.zeros(1), SIZE)[0]


def blink_change(avatar: Avatar, yaw: float) -> tuple[float, float]:
    """The share of pixels that change beside lids and eyes, and with them."""
    model = avatar.head.model
    view = camera(avatar, NOSE, 0.03, 0.14, yaw)
    rig = avatar.rig()
    rest, shut = (avatar.render(rig, parameters(name), view, BACKGROUND).color for name in ("rest", "blink"))
    motion = sum((model.expression_basis[EXPRESSION_INDEX[name]].norm(dim=-1) for name in BLINK), torch.zeros(()))
    lid = (motion > MOVED) | model.in_regions("eye")
    lids = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    for name in ("rest", "blink"):
        raster = rasterize_mesh(avatar.head.posed(parameters(name))[0], model.faces, view)
        lids |= raster.covered & lid[model.faces].any(-1)[raster.face.clamp(min=0)]
    landmarks = model.landmarks(avatar.head.neutral)
    eyes, _ = view.project(torch.stack([landmarks[list(corners)].mean(0) for corners in EYES]))
    rows, columns = torch.meshgrid(*(torch.arange(SIZE) + 0.5 for _ in range(2)), indexing="ij")
    away = (torch.stack([columns, rows], dim=-1)[:, :, None] - eyes).norm(dim=-1).amin(-1)
    near, changed = away < SIZE * AROUND / 0.14, ((rest - shut).abs().mean(-1) > CHANGED).float()
    return float(changed[near & ~lids].mean()), float(changed[near].mean())


def tearing(avatar: Avatar) -> tuple[float, float]:
    """The share of neighbours that part, and the metres by which the worst twentieth does."""
    rig, head = avatar.rig(), avatar.head
    means, opened = (avatar.splats(rig, parameters(name)).means for name in ("rest", "open"))
    landmarks = head.model.landmarks(head.neutral)
    off_skin, _ = cKDTree(head.neutral[head.model.faces].mean(1).numpy()).query(means.numpy())
    off_skin = torch.from_numpy(off_skin) > OFF_SKIN
    x, y, z = means.unbind(-1)
    beard = off_skin & (avatar.opacity_logits.sigmoid() > OPAQUE) & (x.abs() < 0.06)
    beard &= (y < landmarks[NOSE, 1] - 0.03) & (y > landmarks[CHIN, 1] - 0.09)
    beard &= z > landmarks[list(JAW_ANGLES), 2].amin() + 0.01
    means, moved, color = means[beard], (opened - means)[beard], (0.5 + SH_C0 * avatar.sh[beard, 0])
    pairs = torch.from_numpy(cKDTree(means.numpy()).query_pairs(NEIGHBOURS, output_type="ndarray"))
    alike = (color[pairs[:, 0]] - color[pairs[:, 1]]).abs().amax(-1) < LIKE
    parted = (moved[pairs[:, 0]] - moved[pairs[:, 1]]).norm(dim=-1)[alike]
    if not len(parted):
        return 0.0, 0.0
    return float((parted > PARTED).float().mean()), float(parted.quantile(0.95))


def sheet(avatar: Avatar) -> Tensor:
    """The eyes at rest and shut, the mouth at rest and open; from the front and from 40°."""
    rig = avatar.rig()
    tiles = []
    for yaw in (0.0, 40.0):
        for names, view in (
            (("rest", "blink"), camera(avatar, NOSE, 0.03, 0.14, yaw)),
            (("rest", "open"), camera(avatar, CHIN, 0.0, 0.24, yaw)),
        ):
            tiles += [avatar.render(rig, parameters(name), view, BACKGROUND).color for name in names]
    return torch.cat(tiles, dim=1)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatars", nargs="+", type=Path)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    rows = []
    for path in options.avatars:
        avatar = Avatar.load(path)
        blink = [blink_change(avatar, yaw) for yaw in (0.0, 40.0)]
        front, aside = (f"{100 * still:.2f} % ({100 * every:.1f} %)" for still, every in blink)
        share, worst = tearing(avatar)
        print(f"{path}: blink {front}, from 40° {aside}; tear {100 * share:.1f} %, {1000 * worst:.1f} mm")
        if options.sheet is not None:
            rows.append(sheet(avatar))
    if options.sheet is not None:
        picture = (torch.cat(rows).clamp(0, 1) * 255).round().byte()
        Image.fromarray(picture.numpy()).save(options.sheet)


if __name__ == "__main__":
    main()
