"""The ear that a profile shows: found in its picture, and fitted to."""

from __future__ import annotations

from dataclasses import dataclass

from avatarcli.arrays import Float64


@dataclass(frozen=True)
class NearEar:
    """side: +1 for the person's left ear, −1 for the right one; place [2]: pixels of its tragion."""

    side: int
    place: Float64

    def scaled(self, ratio: float) -> NearEar:
        """In the same picture at `ratio` times the size."""
        return NearEar(self.side, self.place * ratio)
