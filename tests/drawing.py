"""Where Gaussians are drawn, for tests of code that must draw on the device that it is given."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from avatarcli.gaussians.rasterize import Rasterized, rasterize


def drawn_on(patch: pytest.MonkeyPatch) -> list[str | None]:
    """The devices that are asked for from now on, None for that of the Gaussians. All is drawn where these are."""
    devices: list[str | None] = []

    def draw(*arguments: Any, device: str | None = None, **options: Any) -> Rasterized:
        devices.append(device)
        return rasterize(*arguments, **options)

    modules = [name for name in sys.modules if name.startswith("avatarcli.")]
    for name in modules:
        if vars(sys.modules[name]).get("rasterize") is rasterize:
            patch.setattr(sys.modules[name], "rasterize", draw)
    return devices
