"""Colors as numbers: sRGB's curve, and logarithms, in which light that is twice as strong is a step of the same size everywhere.

Source of the curve: IEC 61966-2-1.
"""

from __future__ import annotations

import torch
from torch import Tensor

Color = tuple[float, float, float]  # red, green, blue

COLOR_FLOOR = 0.04  # added before logarithms are taken, so that neither black nor its noise decides


def log_colors(colors: Tensor) -> Tensor:
    """Logarithms of colors in [0, 1], black not far below dark."""
    return (colors.clamp(min=0) + COLOR_FLOOR).log()


def from_log_colors(logs: Tensor) -> Tensor:
    """Colors in [0, 1] of their `log_colors`."""
    return (logs.exp() - COLOR_FLOOR).clamp(0, 1)


def linear(encoded: Tensor) -> Tensor:
    """Linear light of sRGB-encoded values in [0, 1], any shape."""
    return torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055).clamp(min=0) ** 2.4)


def encoded(light: Tensor) -> Tensor:
    """sRGB-encoded values of linear light, any shape; light is clipped to [0, 1]."""
    light = light.clamp(0, 1)
    # Below the curve's straight piece no power is taken: its slope at zero is infinite.
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp(min=1e-4) ** (1 / 2.4) - 0.055)


def without_light(logs: Tensor) -> Tensor:
    """`log_colors` [..., 3] without how light they are: what a surface keeps in any light."""
    return logs - logs.mean(-1, keepdim=True)
