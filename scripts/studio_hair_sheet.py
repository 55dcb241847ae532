"""A sheet of hair: one row per family, seen from the front, the side, half behind and behind, to be looked at.

python scripts/studio_hair_sheet.py --assets FOLDER --out sheet.png [--families bob afro_large | --beards] [--seed 0] [--size 192]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from avatarcli.geometry.cameras import focal_for_field_of_view, orbit_cameras
from avatarcli.head.parameters import HeadParameters
from avatarcli.studio.assemble import assemble
from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.hair import BEARD_FAMILIES, FAMILIES, draw_beard_style, draw_style, family_weights
from avatarcli.studio.lights import draw_light
from avatarcli.studio.render import composite, render
from avatarcli.studio.subject import StudioSubject, draw_subject

YAWS = (0.0, 45.0, 90.0, 180.0)  # degrees
BACKGROUND = (0.62, 0.64, 0.66)
TRIES = 40  # people looked at to find one whom a family suits


def suited(assets: StudioAssets, family: str, seed: int, *, beard: bool) -> StudioSubject:
    """Somebody who plausibly wears a family, without a hat or glasses."""
    people = (draw_subject(assets, 1000 * seed + k) for k in range(TRIES))
    for subject in people:
        person = subject.person
        weights = family_weights(female=person.is_female, years=person.years, african=person.african)
        if (beard and not person.is_female) or (not beard and weights[family] > 0.7):
            break
    rng = np.random.default_rng([seed, *map(ord, family)])
    subject = replace(subject, hat=None, glasses=None)
    if beard:
        return replace(subject, beard=draw_beard_style(rng, family=family))
    return replace(subject, beard=None, hair=draw_style(rng, family=family))


def row(assets: StudioAssets, subject: StudioSubject, seed: int, size: int, *, beard: bool) -> Tensor:
    """Pictures [size, views * size, 3] of somebody at rest."""
    mesh, pose = assemble(assets, subject, "cpu")
    yaw = torch.deg2rad(torch.tensor(YAWS[:3] if beard else YAWS))
    focal = focal_for_field_of_view(14.0 if beard else 25.0, size)
    target = torch.tensor([0.0, -0.05, 0.02] if beard else [0.0, -0.03, -0.01])
    cameras = orbit_cameras(yaw, torch.full_like(yaw, 0.05), distance=1.1, target=target, focal=focal, size=size)
    frames = render(mesh, pose(HeadParameters.at_rest(1)), cameras, draw_light(np.random.default_rng(seed)))
    pictures = composite(frames.rgba[:, 0], torch.tensor(BACKGROUND))
    return pictures.clamp(0, 1).permute(1, 0, 2, 3).flatten(1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--beards", action="store_true", help="a sheet of beards instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=192, help="pixels: side of each picture")
    options = parser.parse_args()
    assets = StudioAssets.load(options.assets, skin_height=640)
    rows = []
    for family in BEARD_FAMILIES if options.beards else options.families:
        subject = suited(assets, family, options.seed, beard=options.beards)
        pixels = row(assets, subject, options.seed, options.size, beard=options.beards)
        picture = Image.fromarray((pixels.numpy() * 255 + 0.5).astype(np.uint8))
        ImageDraw.Draw(picture).text((4, 4), f"{family}, {subject.hair_color.name}", fill=(20, 20, 20))
        rows.append(np.asarray(picture))
    half = (len(rows) + 1) // 2
    rows += [np.zeros_like(rows[0])] * (2 * half - len(rows))
    columns = [np.concatenate(rows[:half]), np.concatenate(rows[half:])]
    Image.fromarray(np.concatenate(columns, axis=1)).save(options.out)


if __name__ == "__main__":
    main()
