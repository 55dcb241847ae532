"""Draws sheets of the studio's subjects to be looked at, and checks them with MediaPipe's face landmarker.

    python scripts/studio_sheets.py --assets DIR --out DIR front --subjects 32
    python scripts/studio_sheets.py --assets DIR --out DIR views --subjects 6
    python scripts/studio_sheets.py --assets DIR --out DIR turns --subjects 8
    python scripts/studio_sheets.py --assets DIR --out DIR light --subjects 40 --size 96
    python scripts/studio_sheets.py --assets DIR --out DIR check --subjects 40

`turns` shows each person's photo beside the sides that it does not show. `light` tells how bright hair and skin are from the side
and from behind against the front: the natural logarithm of the ratio of linear light, over people.

`check` renders faces within 40° of the front with random light, expression and lens, and tells how often a face is
found and how far, in the median, its landmarks lie from the studio's own (in per cent of the distance between the
eyes); `report.json` has the
numbers, `landmarks.npz` all points.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from avatarcli.capture.landmarks import detect_face
from avatarcli.errors import PhotoError
from avatarcli.geometry.cameras import Camera
from avatarcli.geometry.colors import linear
from avatarcli.head.expressions import NAMED_EXPRESSIONS, expression_vector
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing
from avatarcli.studio.assemble import assemble
from avatarcli.studio.assets import StudioAssets
from avatarcli.studio.backdrop import draw_backdrop
from avatarcli.studio.lights import draw_light
from avatarcli.studio.motion import MotionLibrary, draw_motion
from avatarcli.studio.render import composite, render
from avatarcli.studio.scene import REGION_NAMES
from avatarcli.studio.subject import SPLITS, StudioSubject, draw_subject
from avatarcli.studio.viewpoints import reference_camera_at

_TURNS = (0, 45, 90, 135, 180)  # degrees, of the sheet of turns
_LIT = (
    0,
    90,
    270,
    135,
    225,
    180,
)  # degrees at which brightness is measured; the first is what the others are compared with
_SEEN = 0.01  # least share of a picture that must show hair or skin to count
_VIEWS = (0, 45, 90, 135, 180, 225, 270, 315)  # degrees of the second sheet's columns
_FACES = ("neutral", "smile", "open mouth")
_LIMIT = 40.0  # degrees of yaw within which a face must be found
_ANGLES = 4  # pictures of each subject in the check
_BUST, _CROP = Framing((0.0, -0.045, 0.0), 0.42), 1.5
_IRISES = (468, 473)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("front", "views", "turns", "light", "check"))
    parser.add_argument("--assets", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--subjects", type=int, default=32)
    parser.add_argument("--first", type=int, default=0, help="number of the first subject")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    assets = StudioAssets.load(options.assets, skin_height=None if options.size > 300 else 640)
    subjects = [
        draw_subject(assets, seed, split=options.split)
        for seed in range(options.first, options.first + options.subjects)
    ]
    if options.what == "check":
        _check(assets, subjects, options)
        return
    if options.what == "light":
        _light(assets, subjects, options)
        return
    rows: list[Tensor] = []
    for subject in subjects:
        rows.append(_row(assets, subject, options))
        columns = 8 if options.what == "front" else 1
        _save(rows, columns, options.out / f"{options.what}_{options.split}.jpg")


def _row(assets: StudioAssets, subject: StudioSubject, options: argparse.Namespace) -> Tensor:
    """One subject's picture or pictures [H, W, 3]."""
    device = torch.device(options.device)
    mesh, poser = assemble(assets, subject, device)
    rng = np.random.default_rng([subject.seed, 99])
    light = draw_light(rng, float(np.mean(subject.skin.tone))).to(device)
    yaw: tuple[float, ...]
    faces, yaw = (_FACES, _VIEWS) if options.what == "views" else (_FACES[:1], (0,))
    if options.what == "turns":
        yaw = (float(np.clip(rng.normal(0, 16), -_LIMIT, _LIMIT)), *_TURNS)
    motion = HeadParameters.at_rest(len(faces))
    motion.expression[:] = torch.tensor([expression_vector(NAMED_EXPRESSIONS[name]) for name in faces])
    motion = motion.to(device)
    framing = Framing.of(poser(motion).vertices[0].cpu())
    angles = torch.deg2rad(torch.tensor(yaw, dtype=torch.float32))
    cameras = framing.cameras(angles, torch.full_like(angles, 0.05), options.size).to(device)
    frames = render(mesh, poser(motion), cameras, light)
    backdrop = draw_backdrop(rng, options.size).to(device)
    pictures = composite(frames.rgba, backdrop).cpu()
    return torch.cat([torch.cat(list(pictures[:, frame]), dim=1) for frame in range(len(faces))])


def _light(assets: StudioAssets, subjects: list[StudioSubject], options: argparse.Namespace) -> None:
    """Prints the median and the spread (half of what lies between the 16th and 84th percentile) for each angle and region."""
    device = torch.device(options.device)
    ratios: dict[str, list[float]] = {}
    for subject in subjects:
        mesh, poser = assemble(assets, subject, device)
        light = draw_light(np.random.default_rng([subject.seed, 97]), float(np.mean(subject.skin.tone))).to(device)
        posed = poser(HeadParameters.at_rest(1).to(device))
        angles = torch.deg2rad(torch.tensor(_LIT, dtype=torch.float32))
        cameras = Framing.of(posed.vertices[0].cpu()).cameras(angles, torch.zeros_like(angles), options.size)
        frames = render(mesh, posed, cameras.to(device), light)
        shown = linear(frames.rgba[:, 0, ..., :3].clamp(0, 1)).mean(-1)
        for name in ("hair", "skin"):
            share = frames.regions[:, 0, ..., REGION_NAMES.index(name)] > 0.9
            bright = ((shown * share).sum((1, 2)) / share.sum((1, 2)).clamp(min=1)).clamp(min=1e-4).log()
            for angle, value, area in zip(
                _LIT[1:], (bright - bright[0])[1:], share.float().mean((1, 2))[1:], strict=True
            ):
                if area > _SEEN and share[0].float().mean() > _SEEN:
                    ratios.setdefault(f"{name} {min(angle, 360 - angle)}", []).append(float(value))
    report = {}
    for key, values in ratios.items():
        low, middle, high = np.quantile(values, (0.16, 0.5, 0.84))
        report[key] = {"median": float(middle), "spread": float(high - low) / 2, "pictures": len(values)}
    print(json.dumps(report, indent=1))


def _check(assets: StudioAssets, subjects: list[StudioSubject], options: argparse.Namespace) -> None:
    device = torch.device(options.device)
    library = MotionLibrary.load()
    errors, missed, pictures = [], [], []
    seen: dict[str, list[object]] = {"found": [], "true": [], "yaw": [], "subject": []}
    for subject in subjects:
        mesh, poser = assemble(assets, subject, device)
        rng = np.random.default_rng([subject.seed, 98])
        light = draw_light(rng, float(np.mean(subject.skin.tone))).to(device)
        motion = draw_motion(rng, 1, library).to(device)
        turned = float(motion.neck[0, 1]) * 180 / np.pi
        yaw = turned + rng.uniform(-_LIMIT, _LIMIT, _ANGLES)
        pitch = rng.normal(2, 6, _ANGLES)
        # Taken as portraits are, and cropped to the head, as the tracker does.
        full = round(_CROP * options.size)
        single = [reference_camera_at(rng, float(y), float(p), full, _BUST) for y, p in zip(yaw, pitch, strict=True)]
        poses, lenses = torch.stack([c.world_to_camera for c in single]), torch.stack([c.K for c in single])
        cameras = Camera(poses, lenses, full, full).cropped((full - options.size) / 2, 0, options.size, options.size)
        frames = render(mesh, poser(motion), cameras.to(device), light)
        truths = cameras.project(poser.landmarks(motion).cpu().expand(_ANGLES, -1, -1))[0].numpy()
        for angle, rgba, truth in zip(yaw, frames.rgba[:, 0], truths, strict=True):
            picture = composite(rgba, draw_backdrop(rng, options.size).to(device)).cpu()
            pixels = (picture.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
            try:
                face = detect_face(pixels)
            except PhotoError as error:
                missed.append({"subject": subject.seed, "yaw": float(angle) - turned, "why": str(error)})
                Image.fromarray(pixels).save(options.out / f"missed_{subject.seed}_{len(missed)}.png")
                continue
            apart = np.linalg.norm(truth[_IRISES[0]] - truth[_IRISES[1]])
            apart /= max(float(np.cos(np.deg2rad(angle - turned))), 0.5)
            errors.append(float(np.median(np.linalg.norm(face.points - truth, axis=1)) / apart * 100))
            for key, value in zip(seen, (face.points, truth, angle - turned, subject.seed), strict=True):
                seen[key].append(value)
        pictures.append(picture)
        _save(pictures, 10, options.out / "check.jpg")
        report = {
            "renders": len(errors) + len(missed),
            "found_share": len(errors) / (len(errors) + len(missed)),
            "landmark_error_percent": {
                "median": float(np.median(errors)) if errors else None,
                "90th": float(np.quantile(errors, 0.9)) if errors else None,
            },
            "missed": missed,
        }
        np.savez_compressed(
            options.out / "landmarks.npz", allow_pickle=False, **{k: np.array(v) for k, v in seen.items()}
        )
        (options.out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(json.dumps(report, indent=1))


def _save(pictures: list[Tensor], columns: int, path: Path) -> None:
    """Pictures [H, W, 3] in rows of some columns."""
    blank = torch.ones_like(pictures[0])
    padded = pictures + [blank] * (-len(pictures) % columns)
    rows = [torch.cat(padded[i : i + columns], dim=1) for i in range(0, len(padded), columns)]
    pixels = (torch.cat(rows).clamp(0, 1) * 255).round().to(torch.uint8)
    Image.fromarray(pixels.numpy()).save(path, quality=92)


if __name__ == "__main__":
    main()
