"""glTF 2.0 documents as one binary file (GLB): the container, and the buffer that accessors point into.

Source: glTF 2.0 specification (Khronos). Written here, for it is short and no library that writes glTF writes sparse morph
targets or attributes of extensions.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from avatarcli.export.origin import Origin

VERTICES, INDICES = 34962, 34963  # glTF's kinds of buffers
_FLOAT, _UBYTE, _USHORT, _UINT = 5126, 5121, 5123, 5125  # its component types
_COMPONENTS = {np.dtype("<f4"): _FLOAT, np.dtype("u1"): _UBYTE, np.dtype("<u2"): _USHORT, np.dtype("<u4"): _UINT}
_LEAST_MOVE = 1e-6  # metres: smaller offsets are not stored

Array = npt.NDArray[Any]


@dataclass
class GlbBuffer:
    """A binary buffer that grows, and what points into it."""

    content: bytearray = field(default_factory=bytearray)
    views: list[dict[str, Any]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)

    def accessor(self, values: Array, shape: str, target: int = VERTICES, *, normalized: bool = False) -> int:
        """Store values [N] or [N, C] (uint8: normalised to [0, 1] if wanted; uint32; else float32); its number."""
        dtype = values.dtype.newbyteorder("<") if values.dtype in (np.uint8, np.uint32) else np.dtype("<f4")
        flat = values.astype(dtype).reshape(len(values), -1)
        entry = {
            "bufferView": self.view(flat.tobytes(), target),
            "componentType": _COMPONENTS[dtype],
            "count": len(values),
            "type": shape,
            "min": flat.min(0).tolist(),
            "max": flat.max(0).tolist(),
        }
        if normalized:
            entry["normalized"] = True
        self.accessors.append(entry)
        return len(self.accessors) - 1

    def sparse(self, offsets: Tensor) -> int:
        """Store offsets [N, 3] that are zero except for a few; the accessor's number."""
        moved = (offsets.abs().amax(-1) > _LEAST_MOVE).nonzero()[:, 0]
        values = offsets[moved].numpy().astype("<f4")
        reach = np.concatenate([values, np.zeros((1, 3), np.float32)])
        index = moved.numpy().astype("<u2" if len(offsets) <= 1 << 16 else "<u4")
        self.accessors.append(
            {
                "componentType": _FLOAT,
                "count": len(offsets),
                "type": "VEC3",
                "min": reach.min(0).tolist(),
                "max": reach.max(0).tolist(),
                "sparse": {
                    "count": len(moved),
                    "indices": {
                        "bufferView": self.view(index.tobytes()),
                        "componentType": _COMPONENTS[index.dtype],
                    },
                    "values": {"bufferView": self.view(values.tobytes())},
                },
            }
        )
        return len(self.accessors) - 1

    def view(self, content: bytes, target: int | None = None) -> int:
        """Store bytes; the number of their buffer view."""
        view = {"buffer": 0, "byteOffset": len(self.content), "byteLength": len(content)}
        if target is not None:
            view["target"] = target
        self.views.append(view)
        self.content += content + b"\0" * (-len(content) % 4)
        return len(self.views) - 1

    def file(self, origin: Origin, document: dict[str, Any]) -> bytes:
        """The whole GLB of a document that lacks only its asset and the buffer."""
        whole = {
            "asset": {
                "version": "2.0",
                "generator": origin.tool,
                "copyright": origin.statement(),
                "extras": json.loads(origin.to_json()),
            },
            **document,
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": len(self.content)}],
        }
        text = json.dumps(whole, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        size = 12 + 8 + len(text) + 8 + len(self.content)
        header = struct.pack("<4sII", b"glTF", 2, size) + struct.pack("<I4s", len(text), b"JSON")
        return header + text + struct.pack("<I4s", len(self.content), b"BIN\0") + bytes(self.content)
