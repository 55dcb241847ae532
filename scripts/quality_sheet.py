"""What the quality gate says of photos, as one picture to look at: passed (green), warned (yellow), refused (red).

python scripts/quality_sheet.py PHOTO... --out sheet.png [--spoil 2] [--json measures.json]

`--spoil N` adds spoiled copies of the first N photos: dark, dim, blurred, cut off, lying on the side, small.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from avatarcli.capture.landmarks import FaceLandmarks, measure_face
from avatarcli.capture.photo import read_photo
from avatarcli.capture.quality import QUALITY_FILE
from avatarcli.config import PreprocessConfig
from avatarcli.errors import PhotoError
from avatarcli.files import read_json
from avatarcli.progress import SilentProgress
from avatarcli.stages.preprocess import preprocess_photo
from avatarcli.stages.source import Source

TILE, TEXT, COLUMNS = 224, 44, 8  # pixels: side of a picture, height of what is written below it
COLORS = {"good": "#9be29b", "warn": "#ffd966", "refuse": "#f4978e"}
Pixels = NDArray[np.uint8]
Spoiling = Callable[[Pixels, FaceLandmarks], Pixels]


def _row(landmark: int, share: float) -> Spoiling:
    """Cut off what is above a landmark, moved down by a share of the distance between the eyes."""
    return lambda image, face: image[max(0, round(float(face.points[landmark, 1]) + share * face.interocular)) :]


def _blur(share: float) -> Spoiling:
    return lambda image, face: np.asarray(
        Image.fromarray(image).filter(ImageFilter.GaussianBlur(share * face.interocular))
    )


def _turned(image: Pixels, face: FaceLandmarks) -> Pixels:
    return np.asarray(Image.fromarray(image).rotate(75, expand=True, fillcolor="grey"))


def _small(image: Pixels, face: FaceLandmarks) -> Pixels:
    return np.asarray(ImageOps.scale(Image.fromarray(image), max(32 / face.interocular, 130 / min(image.shape[:2]))))


SPOILINGS: dict[str, Spoiling] = {
    "x 0.04": lambda image, face: np.round(image * 0.04).astype(np.uint8),
    "x 0.3": lambda image, face: np.round(image * 0.3).astype(np.uint8),
    "x 3": lambda image, face: np.clip(image * 3.0, 0, 255).astype(np.uint8),
    "blur 4 %": _blur(0.04),
    "blur 9 %": _blur(0.09),
    "cut at eyes": _row(168, 0.2),
    "cut at hairline": _row(10, 0.0),
    "cut in the hair": _row(10, -0.6),
    "cut at the side": lambda image, face: image[:, max(0, round(float(face.points[234, 0]) + face.interocular / 4)) :],
    "lying": _turned,
    "small": _small,
}


def judge(photo: Path) -> tuple[str, str, dict[str, Any] | None]:
    """The level of a photo, what was said, and all that was measured."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            preprocess_photo(Source.photo(photo), Path(folder), PreprocessConfig(), SilentProgress(), force=True)
        except PhotoError as error:
            return "refuse", str(error).removeprefix(f"{photo}: "), None
        quality = read_json(Path(folder) / QUALITY_FILE)
    assert quality is not None
    levels = {measure["level"] for measure in quality["measures"]}
    level = "refuse" if "refuse" in levels else "warn" if quality["warnings"] else "good"
    return level, "; ".join(text.split(":")[0] for text in quality["warnings"]), quality


def tile(photo: Path, level: str, said: str) -> Image.Image:
    canvas = Image.new("RGB", (TILE, TILE + TEXT), COLORS[level])
    shown = ImageOps.contain(Image.fromarray(read_photo(photo)), (TILE - 8, TILE - 8))
    canvas.paste(shown, ((TILE - shown.width) // 2, 4))
    words = f"{photo.stem}: {said}"
    lines = [words[start : start + 36] for start in range(0, len(words), 36)][:4]
    ImageDraw.Draw(canvas).multiline_text((3, TILE - 2), "\n".join(lines), fill="black", spacing=0)
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--spoil", type=int, default=0, metavar="N")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = list(options.photos)
        for photo in options.photos[: options.spoil]:
            image = read_photo(photo)
            face = measure_face(image)
            for name, spoil in SPOILINGS.items():
                photos.append(Path(folder) / f"{photo.stem} {name}.png")
                Image.fromarray(spoil(image, face)).save(photos[-1])
        judged = [(photo, *judge(photo)) for photo in photos]
        tiles = [tile(photo, level, said) for photo, level, said, _ in judged]
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + TEXT)), "white")
    for place, picture in enumerate(tiles):
        sheet.paste(picture, (place % COLUMNS * TILE, place // COLUMNS * (TILE + TEXT)))
    sheet.save(options.out)
    if options.json:
        document = [
            {"photo": photo.name, "level": level, "said": said, "quality": all_of_it}
            for photo, level, said, all_of_it in judged
        ]
        options.json.write_text(json.dumps(document, indent=1, ensure_ascii=False))
    counts = Counter(level for _, level, _, _ in judged)
    print(f"{len(judged)} photos: " + ", ".join(f"{counts[level]} {level}" for level in COLORS))


if __name__ == "__main__":
    main()
