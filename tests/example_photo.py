"""The photo that comes with the program, NASA's portrait of Eileen Collins."""

from __future__ import annotations

from pathlib import Path

PHOTO = Path(__file__).resolve().parents[1] / "examples" / "astronaut.png"
