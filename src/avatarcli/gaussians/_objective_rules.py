"""Weights of what a fit minimises, shared by the plain functions and the CPU kernels."""

from __future__ import annotations

import math

# Of the picture terms. They follow CAP4D (0.6 L1 + 0.4 (1 − SSIM), a perceptual term on top).
L1, SSIM, DETAIL, ALPHA = 0.6, 0.4, 1.0, 0.4
STRAY = 2e3  # per metre beyond its reach from where a Gaussian started
BIG, BIG_FREE = 2e3, 0.006  # per metre of scale beyond 6 mm: large Gaussians look like smears when the head turns
# Per e-fold by which the longest axis exceeds the middle one beyond three times its length: needles lie well in the picture that
# made them and stick out of all others.
NEEDLE, NEEDLE_FREE = 0.05, math.log(3.0)
CORRECTIVE = 30.0  # per metre of mean corrective offset
NUDGE, TINT = 50.0, 1.0  # on the per-picture table
DETAIL_LEVELS = 3  # of the pyramid whose details are compared
