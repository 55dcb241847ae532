"""SPZ: Niantic's compressed Gaussians, a quarter of the size of PLY.

A header and quantised attributes; the format's own axes are ours (x right, y up, z back). Three versions of the format are
written (github.com/nianticlabs/spz, MIT):

2  everything gzipped, rotations of 3 bytes: what the oldest readers know
3  rotations of 4 bytes, four times as exact: what today's readers know
4  every attribute compressed apart with Zstandard, after a plain header: the newest readers

The format has no field for a mark of origin. It stands where readers skip: in gzip's header comment, or between the header
and the table of contents of version 4.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zstandard

from avatarcli.arrays import Bytes
from avatarcli.export.formats import SpzVersion
from avatarcli.export.origin import Origin
from avatarcli.gaussians.avatar import SH_C0, Splats

_MAGIC = 0x5053474E
# Positions are 24-bit integers of 2^-20 m: steps of a thousandth of a millimetre, out to 8 m. (12 bits, the usual
# choice for streets and rooms, would be a quarter of a millimetre: coarser than an eyelid's Gaussians.)
_FRACTIONAL_BITS = 20
_COLOR_SCALE = 0.15  # bytes of a color coefficient: (0.15 c + 0.5) · 255
_SCALE_OFFSET, _SCALE_STEPS = 10.0, 16.0  # bytes of a log scale: (s + 10) · 16
_GZIP_COMMENT = 0x10  # flag in gzip's header


def write_spz(path: Path, splats: Splats, origin: Origin, version: SpzVersion = 3) -> None:
    """Write Gaussians in the world (metres, y up). Raises OSError."""
    means, quaternions, scales, opacities, colors = (t.detach().double().cpu().numpy() for t in splats)
    limit = (1 << 23) - 1
    positions = np.rint(means * (1 << _FRACTIONAL_BITS)).clip(-limit, limit).astype("<i4")
    rotations = _three_components(quaternions) if version == 2 else pack_rotations(quaternions)
    attributes = [
        positions.view(np.uint8).reshape(-1, 4)[:, :3].tobytes(),
        _byte(opacities * 255).tobytes(),
        _byte(((colors - 0.5) / SH_C0 * _COLOR_SCALE + 0.5) * 255).tobytes(),
        _byte((np.log(scales) + _SCALE_OFFSET) * _SCALE_STEPS).tobytes(),
        rotations.tobytes(),
    ]
    # The last byte counts the streams that follow; what is gzipped is one.
    streams = len(attributes) if version == 4 else 0
    header = struct.pack("<IIIBBBB", _MAGIC, version, len(means), 0, _FRACTIONAL_BITS, 0, streams)
    mark = origin.to_json().encode("ascii")
    if version == 4:
        path.write_bytes(_streams(header, attributes, mark))
    else:
        path.write_bytes(_gzip(header + b"".join(attributes), mark))


def pack_rotations(quaternions: npt.NDArray[np.float64]) -> npt.NDArray[np.uint32]:
    """Quaternions [G, 4] (wxyz, any positive length) as words [G].

    Which of x, y, z, w is largest (2 bits), then the other three (a sign and 9 bits each) as shares of √½, the most
    that they can be.
    """
    unit = quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)
    xyzw = np.roll(unit, -1, axis=1)
    largest = np.abs(xyzw).argmax(1)
    rows = np.arange(len(xyzw))
    xyzw = xyzw * np.where(xyzw[rows, largest] < 0, -1.0, 1.0)[:, None]
    magnitude = np.rint(np.abs(xyzw) * np.sqrt(2) * 511).clip(0, 511).astype(np.uint32)
    words = largest.astype(np.uint32)
    for component in range(4):
        shifted = (words << 10) | ((xyzw[:, component] < 0).astype(np.uint32) << 9) | magnitude[:, component]
        words = np.where(largest == component, words, shifted)
    packed: npt.NDArray[np.uint32] = words.astype("<u4")
    return packed


def _three_components(quaternions: npt.NDArray[np.float64]) -> Bytes:
    """Quaternions [G, 4] (wxyz, any positive length) as x, y, z in bytes [G, 3]: 127.5 is zero, w is positive."""
    unit = quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)
    return _byte((unit[:, 1:] * np.where(unit[:, :1] < 0, -1.0, 1.0) + 1) * 127.5)


def _byte(values: npt.NDArray[np.float64]) -> Bytes:
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _gzip(content: bytes, comment: bytes) -> bytes:
    """A gzip member (RFC 1952) with a comment, which Python's gzip module cannot write. Same in, same out: no time."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = deflate.compress(content) + deflate.flush()
    header = struct.pack("<BBBBIBB", 0x1F, 0x8B, 8, _GZIP_COMMENT, 0, 2, 255) + comment + b"\0"
    return header + packed + struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)


def _streams(header: bytes, attributes: list[bytes], mark: bytes) -> bytes:
    """Version 4's layout: the header of 32 bytes, here the mark, the table of contents, one Zstandard frame an attribute."""
    mark += b" " * (-len(mark) % 8)
    packed = [zstandard.ZstdCompressor(level=19).compress(content) for content in attributes]
    contents = b"".join(struct.pack("<QQ", len(p), len(a)) for p, a in zip(packed, attributes, strict=True))
    return header + struct.pack("<I12x", 32 + len(mark)) + mark + contents + b"".join(packed)
