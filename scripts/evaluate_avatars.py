"""The short form of `avatar eval`, for avatars that are not in a workspace: the photo's own view, and likeness by
angle.

    python scripts/evaluate_avatars.py avatars                       every subject of a workspace
    python scripts/evaluate_avatars.py out --tracks tracks           avatars in out/<name>/, preprocess outputs in
    tracks/<name>

`--london FOLDER` adds the distance to the person's real three-quarter photos, for subjects whose name is or ends with
the set's id, such as `l041` or `london-041`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from avatarcli.capture.landmarks import detect_face
from avatarcli.capture.photo import read_photo
from avatarcli.errors import AvatarError, WorkspaceError
from avatarcli.evaluation.identity import l2_distance
from avatarcli.evaluation.likeness import SIDE_YAW, photo_embedding, render_embedding
from avatarcli.evaluation.sitter import Instruments, Sitter
from avatarcli.evaluation.views import photo_view, pixel_scores

AVATAR, TRACK = "avatar.safetensors", "track.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--tracks", type=Path, help="where <name>/track.safetensors are, when not in the folders")
    parser.add_argument("--london", type=Path, help="the Face Research Lab London Set, <id>_neutral_left_3quarter.jpg")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    instruments = Instruments(options.device)
    results: dict[str, dict[str, float]] = {}
    failed: dict[str, str] = {}
    for folder in subjects(options.folders):
        try:
            row = evaluate(folder, options.tracks, options.london, instruments, options.device)
        except AvatarError as error:
            failed[folder.name] = str(error)
            continue
        results[folder.name] = row
    columns = list(dict.fromkeys(key for row in results.values() for key in row))
    mean = {key: average([row[key] for row in results.values() if key in row]) for key in columns}
    if options.json:
        print(json.dumps({"subjects": results, "failed": failed, "mean": mean}, indent=1))
    else:
        print(f"{'':16}" + "".join(f"{key:>10}" for key in columns))
        for name, row in {**results, f"mean of {len(results)}": mean}.items():
            print(f"{name:16}" + "".join(f"{row[key]:10.3f}" if key in row else f"{'-':>10}" for key in columns))
        for name, reason in failed.items():
            print(f"{name:16}FAILED: {reason}")
    sys.exit(1 if failed or not results else 0)


def average(values: list[float]) -> float:
    return sum(values) / len(values)


def subjects(folders: Iterable[Path]) -> list[Path]:
    """The folders that are subjects, and those inside the others."""
    found: list[Path] = []
    for folder in folders:
        alone = [*folder.glob(AVATAR), *folder.glob(f"*/{AVATAR}")]
        found += [folder] if alone else sorted({path.parents[1] for path in folder.glob(f"*/*/{AVATAR}")})
    return found


def evaluate(
    folder: Path, tracks: Path | None, london: Path | None, instruments: Instruments, device: str
) -> dict[str, float]:
    """All numbers of one subject."""
    preprocess = tracks / folder.name if tracks else find(folder, TRACK).parent
    find(preprocess, TRACK)
    sitter = Sitter.load(folder.name, preprocess, find(folder, AVATAR), seconds=0.0, device=device)
    comparison, iou = photo_view(sitter)
    psnr, ssim = pixel_scores(comparison)
    row = {
        "psnr": psnr,
        "ssim": ssim,
        "lpips": instruments.lpips("alex", comparison.render, comparison.truth),
        "iou": iou,
    }
    photo = photo_embedding(sitter, instruments)
    faces = {yaw: render_embedding(sitter, instruments, yaw) for yaw in (0.0, SIDE_YAW, -SIDE_YAW)}
    for yaw, face in faces.items():
        row[f"id_{yaw:+.0f}"] = l2_distance(photo, face)
    person = re.fullmatch(r"(?:l|london-)?(\d{3})", folder.name)
    # The set's "left" photos show the subject's left side, which a camera at a positive yaw sees.
    for side, yaw in (("left", SIDE_YAW), ("right", -SIDE_YAW)):
        if london and person:
            picture = read_photo(london / f"{person[1]}_neutral_{side}_3quarter.jpg")
            real = instruments.embed(picture, detect_face(picture).points)
            row[f"real_{yaw:+.0f}"] = l2_distance(real, faces[yaw])
    return row


def find(folder: Path, name: str) -> Path:
    """The file of that name in the folder or below it."""
    for path in sorted(folder.glob(f"**/{name}")):
        return path
    raise WorkspaceError(f"{folder}: there is no {name} in it")


if __name__ == "__main__":
    main()
