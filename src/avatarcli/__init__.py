"""avatarcli: one portrait photo in, an animatable 4D Gaussian head avatar out.

avatar = avatarcli.create("photo.jpg")
picture = avatarcli.render(avatar, yaw=30, expression={"mouthSmileLeft": 1.0})
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avatarcli.api import create, load, render

__all__ = ["__version__", "create", "load", "render"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Loads the library when it is first used: torch takes seconds, which `avatar --help` must not."""
    if name not in ("create", "load", "render"):
        raise AttributeError(f"module 'avatarcli' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module("avatarcli.api"), name)
