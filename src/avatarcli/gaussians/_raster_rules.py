"""The numbers that decide which Gaussian touches which pixel; every rasteriser must use the same ones.

They are those of gsplat 1.5.3 (`rasterization` with its default arguments), so that an avatar distilled on CUDA looks
the same on a CPU. Only NEAR_PLANE and EPS_2D are handed to gsplat; the others are compiled into it.
"""

from __future__ import annotations

# Gaussians whose centre is nearer than this to the camera plane are not drawn. Metres.
NEAR_PLANE = 0.01
# Added to both diagonal entries of the projected covariance: no splat is narrower than about half a pixel. Pixels².
EPS_2D = 0.3
# Largest opacity of one splat in one pixel; keeps 1 - alpha away from zero, which the gradients divide by.
ALPHA_MAX = 0.999
# A splat is skipped in pixels where its opacity is below one step of an 8-bit picture.
ALPHA_MIN = 1.0 / 255.0
# A pixel is finished before the splat that would leave it this much transmittance or less.
TRANSMITTANCE_MIN = 1e-4
# The slope of the projection is taken at most this far outside the picture, as a share of half the field of view.
FIELD_OF_VIEW_MARGIN = 0.3
