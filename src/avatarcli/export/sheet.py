"""Contact sheets: a labelled grid of pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from avatarcli.export.images import Frame

BACKGROUND = (240, 240, 240)  # light neutral grey: neither dark hair nor a white shirt vanishes in it
INK = (60, 60, 60)


def contact_sheet(images: list[list[Frame]], row_labels: list[str], column_labels: list[str]) -> Frame:
    """One picture, uint8 [H, W, 3], of rows × columns pictures of one size, uint8 [h, w, 3] or [h, w, 4].

    Transparent parts show the sheet's background. Labels stand left of the rows and above the columns; their size
    follows that of the pictures.
    """
    if not images or not images[0] or len(images) != len(row_labels):
        raise ValueError(f"{len(images)} rows of pictures for {len(row_labels)} row labels")
    height, width = images[0][0].shape[:2]
    for row in images:
        if len(row) != len(column_labels) or any(cell.shape[:2] != (height, width) for cell in row):
            raise ValueError(f"every row wants {len(column_labels)} pictures of {width} × {height} pixels")

    font = ImageFont.load_default(size=max(10, round(height / 14)))
    gap = max(2, round(height / 64))
    boxes = [font.getbbox(label) for label in row_labels]
    left = round(max(box[2] - box[0] for box in boxes)) + 4 * gap
    top = round(font.getbbox("Ag")[3]) + 2 * gap
    size = (left + len(column_labels) * (width + gap), top + len(images) * (height + gap))

    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for column, label in enumerate(column_labels):
        draw.text((left + column * (width + gap) + width / 2, top / 2), label, fill=INK, font=font, anchor="mm")
    for index, (cells, label) in enumerate(zip(images, row_labels, strict=True)):
        y = top + index * (height + gap)
        draw.text((left - 2 * gap, y + height / 2), label, fill=INK, font=font, anchor="rm")
        for column, cell in enumerate(cells):
            sheet.paste(Image.fromarray(_opaque(cell)), (left + column * (width + gap), y))
    return np.asarray(sheet).copy()


def _opaque(cell: Frame) -> NDArray[np.uint8]:
    if cell.shape[2] == 3:
        return cell
    alpha = cell[..., 3:].astype(np.float32) / 255
    return np.rint(cell[..., :3] * alpha + np.array(BACKGROUND) * (1 - alpha)).astype(np.uint8)
