"""Puts each subject's photo beside the pictures its avatar was distilled from and beside what the avatar shows of them.

One row of a sheet is the generated pictures, the row below it the avatar seen by the same cameras: heads all around and the face at
rest, then the face in its first expressions. The numbers are means over all pictures: PSNR (dB) over light grey, LPIPS with AlexNet
where `avatar weights judges` has fetched it.

python scripts/view_sheets.py --workspace FOLDER --out sheets/ [SUBJECT...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from avatarcli.capture.portrait import Portrait
from avatarcli.errors import AvatarError
from avatarcli.gaussians.avatar import Avatar
from avatarcli.gaussians.losses import psnr
from avatarcli.multiview.pictures import MultiViewVideo
from avatarcli.pictures import to_bytes
from avatarcli.stages.artefacts import AVATAR_FILE
from avatarcli.stages.person import preprocess_folder
from avatarcli.weights.lpips import Lpips
from avatarcli.workspace import Subject, Workspace

GREY = 0.92  # of the background
HEADS, EXPRESSIONS = 8, 4  # pictures of a row: heads all around, and moments in which the face is shown
TILE = 192  # pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="*")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    workspace = Workspace(options.workspace)
    try:
        perceptual: Lpips | None = Lpips("alex")
    except AvatarError as error:
        print(f"no LPIPS: {error}")
        perceptual = None
    for name in options.subjects or [subject.name for subject in workspace.subjects()]:
        subject = workspace.subject(name)
        sheet, scores = compare(subject, perceptual)
        sheet.save(options.out / f"{name}.png")
        print(name, ", ".join(f"{kind} {text}" for kind, text in scores.items()))


def compare(subject: Subject, perceptual: Lpips | None) -> tuple[Image.Image, dict[str, str]]:
    """The sheet of one subject, and for heads, faces at rest and expressions the numbers as text."""
    video = MultiViewVideo.load(subject.whole("generate", "transforms.json").parent)
    avatar = Avatar.load(subject.whole("distill", AVATAR_FILE))
    rig, plan = avatar.rig(), video.plan
    heads = plan.views - plan.crops
    background = torch.full((3,), GREY)
    scores: dict[str, list[tuple[float, float]]] = {"heads": [], "faces": [], "expressions": []}
    columns: list[Tensor] = []
    for view, frame in plan.pictures:
        picture = video.read_frame(view, frame)
        wanted = picture[..., :3] + (1 - picture[..., 3:]) * background
        drawn = avatar.render(rig, plan.parameters[frame : frame + 1], plan.cameras[view], background).color.clamp(0, 1)
        kind = "expressions" if frame else "heads" if view < heads else "faces"
        scores[kind].append((psnr(drawn, wanted), float(perceptual(drawn, wanted)) if perceptual else 0.0))
        if (view < heads and view % -(-heads // HEADS) == 0) or (view >= heads and frame < EXPRESSIONS):
            columns.append(torch.cat([wanted, drawn]))
    sheet = _image(torch.cat(columns, dim=1))
    photo = Image.fromarray(to_bytes(Portrait.load(preprocess_folder(subject)).photo))
    whole = Image.new("RGB", (sheet.width + sheet.height, sheet.height), "white")
    whole.paste(photo.resize((sheet.height, sheet.height)), (0, 0))
    whole.paste(sheet, (sheet.height, 0))
    return whole, {kind: _mean(values) for kind, values in scores.items() if values}


def _image(pictures: Tensor) -> Image.Image:
    image = Image.fromarray(to_bytes(pictures))
    side = image.height // 2
    return image.resize((image.width * TILE // side, 2 * TILE), Image.Resampling.LANCZOS)


def _mean(values: list[tuple[float, float]]) -> str:
    decibels, distances = torch.tensor(values).mean(0).tolist()
    return f"{decibels:.2f} dB / {distances:.3f}"


if __name__ == "__main__":
    main()
