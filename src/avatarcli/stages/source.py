"""What preprocessing makes a person of: photos, or frames of a film that stand for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatarcli.capture.photo import pictures_in, read_photo
from avatarcli.files import sha256_file


@dataclass(frozen=True)
class Source:
    """A picture of a person. Messages call it by its path or name, and a frame by its time, too.

    sha256: of the file; read: gives the picture, sRGB uint8 [H, W, 3], or raises PhotoError; time: seconds from a film's
    start, of a frame; profile: known to be one, so that no face need be looked for; pictures: how many the file shows one after
    the other, if it is a moving one whose first picture is taken.
    """

    path: Path
    sha256: str
    read: Callable[[], NDArray[np.uint8]] = field(compare=False, repr=False)
    time: float | None = None
    profile: bool = False
    pictures: int = 1

    @classmethod
    def photo(cls, path: Path) -> Source:
        """A photo's file. Raises PhotoError when it is none."""
        return cls(path, sha256_file(path), partial(read_photo, path), pictures=pictures_in(path))

    @property
    def name(self) -> str:
        return self.path.name + self._moment

    @property
    def key(self) -> str:
        """Tells it from others, wherever they lie and whatever they are called."""
        return self.sha256 + self._moment

    def __str__(self) -> str:
        return f"{self.path}{self._moment}"

    @property
    def _moment(self) -> str:
        return "" if self.time is None else f" at {self.time:.2f} s"
