"""What can be chosen about a file of Gaussians, known before anything heavy is loaded."""

from __future__ import annotations

from typing import Literal

Up = Literal["y", "-y", "z"]  # the axis that points to the top of the head
SpzVersion = Literal[2, 3, 4]  # of the SPZ format
