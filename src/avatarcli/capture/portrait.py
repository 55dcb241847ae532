"""The cropped photo with its matte, as the stages pass it on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

_FILES = ("photo.png", "foreground.png", "matte.png", "inside.png")


@dataclass(frozen=True)
class Portrait:
    """A head-centred square crop, all in [0, 1].

    photo [S, S, 3]: the pixels as taken; foreground [S, S, 3]: the person's own colours, free of background where hair lets it
    through; matte [S, S]: how much of a pixel is the person; inside [S, S]: 1 where the crop shows the photo, 0 where padded.
    """

    photo: Tensor
    foreground: Tensor
    matte: Tensor
    inside: Tensor

    @property
    def size(self) -> int:
        return self.matte.shape[0]

    @classmethod
    def cut_out(cls, image: npt.NDArray[np.uint8], inside: npt.NDArray[np.float32]) -> Portrait:
        """Matte the person of a crop [S, S, 3]; inside [S, S] as above."""
        # Imported here: who only loads a portrait does not need the network.
        from avatarcli.capture.matte import foreground_colors, person_matte

        matte = person_matte(image) * inside
        return cls(
            photo=torch.tensor(image).float() / 255,
            foreground=torch.tensor(foreground_colors(image, matte)).float() / 255,
            matte=torch.tensor(matte),
            inside=torch.tensor(inside),
        )

    def save(self, folder: Path) -> None:
        for name, picture in zip(_FILES, (self.photo, self.foreground, self.matte, self.inside), strict=True):
            Image.fromarray((picture.clamp(0, 1) * 255).round().byte().numpy()).save(folder / name)

    @classmethod
    def load(cls, folder: Path) -> Portrait:
        return cls(*(_read(folder / name) for name in _FILES))

    def resized(self, size: int) -> Portrait:
        """The same crop at another resolution; averaged when it shrinks."""
        if size == self.size:
            return self
        # Straight colours are averaged as they are: around the person the foreground continues them beyond the edge.
        return Portrait(*(_resize(picture, size) for picture in (self.photo, self.foreground, self.matte, self.inside)))


def _read(path: Path) -> Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image)).float() / 255


def _resize(picture: Tensor, size: int) -> Tensor:
    batch = picture.view(*picture.shape[:2], -1).permute(2, 0, 1)[None]
    smaller = functional.interpolate(batch, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return smaller[0].permute(1, 2, 0).reshape(size, size, *picture.shape[2:])
