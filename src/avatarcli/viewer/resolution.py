"""How large to draw so that motion stays smooth: smaller while things move, sharp when they rest."""

from __future__ import annotations

from dataclasses import dataclass

from avatarcli.viewer.painter import View

_BUDGET = 1 / 32  # seconds for one frame in motion: a little better than 30 a second
_SHARPEST = 1600  # pixels of the longer side: beyond it JPEG and the network cost more than eyes gain
_STEP = 0.125  # scales are multiples of it, so that the picture's grain does not breathe
_SLOW = 1.1  # share of the budget above which the next frame is drawn smaller
_FAST = 0.7  # share below which it is drawn larger, wide enough apart not to swing


@dataclass
class Resolution:
    """One viewer's size of pictures in motion, learned from how long the last ones took."""

    scale: float = 1.0

    def moving(self, view: View) -> tuple[int, int]:
        """(width, height) of the next picture in motion."""
        return view.fitted(max(16, round(self._longest(view) * self.scale)))

    def still(self, view: View) -> tuple[int, int]:
        """(width, height) of a picture at rest."""
        return view.fitted(self._longest(view))

    def took(self, seconds: float) -> None:
        """A picture in motion took so long."""
        if seconds > _SLOW * _BUDGET:
            # Drawing takes time by its area; a step at a time keeps one slow frame from ruining the next ones.
            self.scale = max(2 * _STEP, self.scale - _STEP)
        elif seconds < _FAST * _BUDGET:
            self.scale = min(1.0, self.scale + _STEP)

    def _longest(self, view: View) -> int:
        return min(_SHARPEST, max(view.width, view.height))
