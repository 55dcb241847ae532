"""The cropped photo with its matte, as the stages pass it on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from avatarcli.capture.photo import photo_window
from avatarcli.geometry.fill import resized
from avatarcli.pictures import read_picture, write_png

_FILES = ("photo.png", "foreground.png", "matte.png", "inside.png")
_LABELS_FILE = "labels.png"


class Label(IntEnum):
    """What a pixel of the portrait shows for the most part; the values of `labels.png`.

    SKIN includes beards, brows, eyes and glasses, which move as skin does. HAIR is that of the head; a close dark cap may
    pass for it. HAT is what else covers the head above the brows, CLOTHES what covers the person elsewhere.
    """

    BACKGROUND = 0
    SKIN = 1
    HAIR = 2
    HAT = 3
    CLOTHES = 4


# Red, green and blue of each label, for people who open the file.
_PALETTE = ((0, 0, 0), (230, 180, 150), (130, 60, 20), (60, 110, 220), (90, 160, 80))


@dataclass(frozen=True)
class Portrait:
    """A head-centred square crop, all in [0, 1].

    photo [S, S, 3]: the pixels as taken; foreground [S, S, 3]: the person's own colors, free of background where hair lets it
    through; matte [S, S]: how much of a pixel is the person; inside [S, S]: 1 where the crop shows the photo, 0 where padded;
    labels uint8 [S, S]: a `Label` a pixel, or None where they are not known (older workspaces).
    """

    photo: Tensor
    foreground: Tensor
    matte: Tensor
    inside: Tensor
    labels: Tensor | None = None

    @property
    def size(self) -> int:
        return self.matte.shape[0]

    @classmethod
    def cut_out(
        cls,
        image: npt.NDArray[np.uint8],
        inside: npt.NDArray[np.float32],
        hair: npt.NDArray[np.float32] | None = None,
    ) -> Portrait:
        """Matte the person of a crop [S, S, 3]; inside [S, S] as above; hair [S, S]: what `find_hair` says, if it was asked."""
        # Imported here: who only loads a portrait does not need the network.
        from avatarcli.capture.matte import foreground_colors, person_matte

        window = photo_window(inside)
        matte = np.zeros_like(inside)
        matte[window] = person_matte(np.ascontiguousarray(image[window]), None if hair is None else hair[window])
        matte *= inside
        return cls(
            photo=torch.tensor(image).float() / 255,
            foreground=torch.tensor(foreground_colors(image, matte)).float() / 255,
            matte=torch.tensor(matte),
            inside=torch.tensor(inside),
        )

    def rgba(self) -> Tensor:
        """The person [S, S, 4], premultiplied."""
        return torch.cat([self.foreground * self.matte[..., None], self.matte[..., None]], dim=-1)

    def region(self, *labels: Label) -> Tensor | None:
        """1 [S, S] where the portrait shows one of `labels`, else 0; None when its labels are not known."""
        if self.labels is None:
            return None
        return torch.isin(self.labels, torch.tensor(labels, dtype=torch.uint8)).to(self.matte)

    def save(self, folder: Path) -> None:
        """Write PNG files into a folder: 8 bits a channel, labels as indices of a palette. Raises OSError."""
        for name, picture in zip(_FILES, (self.photo, self.foreground, self.matte, self.inside), strict=True):
            write_png(folder / name, picture)
        if self.labels is not None:
            indexed = Image.fromarray(self.labels.numpy()).convert("P")
            indexed.putpalette([value for color in _PALETTE for value in color])
            indexed.save(folder / _LABELS_FILE)

    @classmethod
    def load(cls, folder: Path) -> Portrait:
        """Read what `save` wrote; without labels where an older version wrote none. Raises OSError when a file is missing."""
        portrait = cls(*(read_picture(folder / name) for name in _FILES))
        if not (folder / _LABELS_FILE).is_file():
            return portrait
        with Image.open(folder / _LABELS_FILE) as image:
            return replace(portrait, labels=torch.from_numpy(np.array(image)))

    def resized(self, size: int) -> Portrait:
        """The same crop at another resolution; averaged when it shrinks, labels taken from the nearest pixel."""
        if size == self.size:
            return self
        # Straight colors are averaged as they are: around the person the foreground continues them beyond the edge.
        pictures = (self.photo, self.foreground, self.matte, self.inside)
        portrait = Portrait(*(resized(picture, size, size) for picture in pictures))
        if self.labels is None:
            return portrait
        nearest = functional.interpolate(self.labels[None, None].float(), (size, size), mode="nearest-exact")
        return replace(portrait, labels=nearest[0, 0].to(torch.uint8))


def find_hair(image: npt.NDArray[np.uint8], inside: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """How likely each pixel [S, S] of a crop [S, S, 3] shows hair, 0 where padded; inside [S, S] as in `Portrait`."""
    from avatarcli.capture.hair_net import hair_probability

    window = photo_window(inside)
    hair = np.zeros_like(inside)
    part = np.ascontiguousarray(image[window])
    hair[window] = hair_probability(part, *part.shape[:2])
    return hair * inside
