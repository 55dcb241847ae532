"""Names for the arrays that many modules pass around."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Pixels = NDArray[np.uint8]  # sRGB
Mask = NDArray[np.bool_]
