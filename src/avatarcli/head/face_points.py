"""MediaPipe's points of a face, which the head model carries too: which of them are what."""

from __future__ import annotations

SURFACE_LANDMARKS = 468  # the last ten are the irises, which turn with the gaze
IRISES = (473, 468)  # middles of the left and the right one (the subject's)
FOREHEAD, CHIN, BELOW_NOSE = 10, 152, 2  # upper end of the forehead, tip of the chin, point below the tip of the nose
# The inner lips, pair by pair across the middle third of the mouth.
UPPER_INNER_LIP, LOWER_INNER_LIP = (81, 82, 13, 312, 311), (178, 87, 14, 317, 402)
# Along the edges of the upper lids, from the outer to the inner corner, without the corners.
UPPER_LIDS = {"eye_l": (466, 388, 387, 386, 385, 384, 398), "eye_r": (246, 161, 160, 159, 158, 157, 173)}
# Runs of MediaPipe's points along the features of a face; a run that ends where it starts is a loop.
FEATURE_LINES: dict[str, tuple[int, ...]] = {
    "outer lips": (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185, 61),
    "inner lips": (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191, 78),
    "right eye": (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246, 33),
    "left eye": (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466, 263),
    "right brow": (70, 63, 105, 66, 107),
    "left brow": (336, 296, 334, 293, 300),
    "nose ridge": (168, 6, 197, 195, 5, 4),
    "nose base": (98, 97, 2, 326, 327),
    "jaw line": (127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323,
                 454, 356),
}  # fmt: skip
