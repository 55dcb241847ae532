"""Colors of hair: what grows, what age makes of it, what people dye."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

Rgb = tuple[float, float, float]

# Linear RGB reflectance, from black to white; the order is that of `_LIGHTNESS` below.
NATURAL: dict[str, Rgb] = {
    "black": (0.010, 0.008, 0.007),
    "dark brown": (0.027, 0.016, 0.010),
    "brown": (0.062, 0.034, 0.019),
    "light brown": (0.125, 0.074, 0.041),
    "dark blonde": (0.210, 0.138, 0.076),
    "blonde": (0.360, 0.250, 0.138),
    "platinum": (0.600, 0.490, 0.350),
    "auburn": (0.085, 0.029, 0.014),
    "red": (0.180, 0.053, 0.019),
    "ginger": (0.300, 0.110, 0.036),
}
DYED: dict[str, Rgb] = {
    "burgundy": (0.085, 0.009, 0.018),
    "fire red": (0.330, 0.018, 0.012),
    "pink": (0.520, 0.130, 0.260),
    "violet": (0.130, 0.040, 0.230),
    "blue": (0.025, 0.070, 0.270),
    "teal": (0.020, 0.190, 0.200),
    "green": (0.060, 0.210, 0.050),
    "silver": (0.380, 0.390, 0.420),
    "bleached": (0.560, 0.440, 0.230),
    "orange": (0.440, 0.130, 0.020),
}
GREY: Rgb = (0.40, 0.39, 0.38)
WHITE: Rgb = (0.66, 0.64, 0.61)

_NAMES = tuple(NATURAL)
_DYED_SHARE = 0.07
_STREAKED_SHARE = 0.16


@dataclass(frozen=True)
class HairColor:
    """The color of one person's hair; all colors linear RGB.

    root: what grows (also of brows, beard, scalp); tip: what the lengths have, from `turn` (share of a strand) on;
    grey: share of strands that are `grey_color`; streak: share of strands that are `streak_color`; spread: how much
    strands differ in lightness.
    """

    name: str
    root: Rgb
    tip: Rgb
    turn: float
    grey: float
    grey_color: Rgb
    streak: float
    streak_color: Rgb
    spread: float

    @property
    def mean(self) -> Rgb:
        """The color seen from afar near the scalp: roots with their grey strands."""
        values = (1 - self.grey) * np.array(self.root) + self.grey * np.array(self.grey_color)
        return float(values[0]), float(values[1]), float(values[2])

    def natural(self) -> HairColor:
        """Without dye and streaks: of brows and beards."""
        return replace(self, tip=self.root, streak=0.0)


def draw_color(
    rng: np.random.Generator, *, years: float, african: float, asian: float, caucasian: float, natural: bool = False
) -> HairColor:
    """A plausible color for somebody of that age and descent (three shares); every color can happen to everybody.

    natural: without dyes in colors that hair never has, and without streaks.
    """
    fair = np.array([0.10, 0.17, 0.19, 0.16, 0.12, 0.10, 0.03, 0.05, 0.04, 0.04])
    dark = np.array([0.62, 0.24, 0.08, 0.02, 0.008, 0.006, 0.004, 0.012, 0.005, 0.005])
    weights = caucasian * fair + (african + asian) * dark + 0.01
    name = str(rng.choice(_NAMES, p=weights / weights.sum()))
    root = _jitter(rng, NATURAL[name], 0.18)
    # Half of all people are half grey at about fifty-five.
    half = rng.normal(55, 9)
    grey = float(1 / (1 + np.exp(-(years - half) / 4.5)))
    grey = grey if grey > 0.04 else 0.0
    grey_color = _jitter(rng, WHITE if rng.random() < 0.4 else GREY, 0.12)
    tip, turn, streak, streak_color = _jitter(rng, root, 0.10), 0.5, 0.0, root
    kind = 1.0 if natural else rng.random()
    if kind < _DYED_SHARE:
        name, dye = _pick(rng, DYED)
        tip, turn = _jitter(rng, dye, 0.2), float(rng.choice([-0.5, 0.12, 0.5]))
        if turn < 0:
            root, grey = tip, 0.0
    elif kind < _DYED_SHARE + _STREAKED_SHARE:
        lighter = np.array(root) * rng.uniform(1.6, 3.0) + 0.02
        streak_color = _clipped(np.minimum(lighter, 0.6))
        if rng.random() < 0.5:
            streak = float(rng.uniform(0.12, 0.5))
        else:
            tip, turn = streak_color, float(rng.uniform(0.35, 0.7))
    elif rng.random() < 0.3 and grey > 0.15:
        grey = 0.0  # dyed in the color of youth
    return HairColor(name, root, tip, turn, grey, grey_color, streak, streak_color, float(rng.uniform(0.12, 0.4)))


def _pick(rng: np.random.Generator, table: dict[str, Rgb]) -> tuple[str, Rgb]:
    name = str(rng.choice(list(table)))
    return name, table[name]


def _jitter(rng: np.random.Generator, color: Rgb, amount: float) -> Rgb:
    """Lighter or darker by some `amount` (a share), and a little warmer or cooler."""
    tone = np.array(color) * np.exp(rng.normal(0, amount))
    return _clipped(tone * np.exp(rng.normal(0, 0.05, 3)))


def _clipped(values: np.ndarray) -> Rgb:
    values = np.clip(values, 0.002, 0.85)
    return float(values[0]), float(values[1]), float(values[2])
