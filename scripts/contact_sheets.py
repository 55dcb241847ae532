"""Makes avatars of photos and puts each photo beside its contact sheet, to be looked at.

python scripts/contact_sheets.py PHOTO... --out sheets/ [--workspace FOLDER] [--preset standard] [--device auto]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageOps

from avatarcli.stages.naming import name_subjects
from avatarcli.workspace import Workspace

TILE = 224  # pixels: side of a picture of the sheet


def avatar(*arguments: str) -> bool:
    return subprocess.run([sys.executable, "-m", "avatarcli", *arguments]).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workspace", type=Path, default=Path("out/sheets"))
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    place = ("--workspace", str(options.workspace), "--device", options.device)
    failed = []
    for photo, subject in name_subjects(Workspace(options.workspace), options.photos).items():
        sheet = options.out / f"{subject}.png"
        made = avatar("create", str(photo), "--subject", subject, "--preset", options.preset, *place) and avatar(
            "render", "--subject", subject, "--sheet", "--size", str(TILE), "-o", str(sheet), *place
        )
        if not made:
            failed.append(str(photo))
            continue
        with Image.open(sheet) as right, Image.open(photo) as original:
            left = ImageOps.contain(ImageOps.exif_transpose(original).convert("RGB"), (right.height, right.height))
            both = Image.new("RGB", (left.width + right.width, right.height), "white")
            both.paste(left, (0, (right.height - left.height) // 2))
            both.paste(right, (left.width, 0))
        both.save(sheet)
        print(sheet)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
