"""Marks of origin: every exported picture and video says that it is synthetic, who made it, and of which photo.

The machine-readable mark is IPTC's digital source type, the one that platforms look for. PNG, JPEG, WebP and MP4 carry it in
an XMP packet at the place that the format reserves for it; GIF, WebM and MOV carry the same facts as
JSON in their comment. Containers with tags get a plain sentence too.

Sources: IPTC Photo Metadata Standard 2023.1 (Digital Source Type); Adobe XMP specification part 3 (where packets go).
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from avatarcli import __version__

# trainedAlgorithmicMedia: a trained model made the pixels. compositeSynthetic: captured and synthetic parts together.
SourceType = Literal["trainedAlgorithmicMedia", "compositeSynthetic"]

SOURCE_TYPE_SCHEME = "http://cv.iptc.org/newscodes/digitalsourcetype/"
XMP_KEYWORD = "XML:com.adobe.xmp"  # PNG's iTXt keyword for XMP
XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # MP4's uuid box for XMP
_TOOL = "avatarcli"
_SOFTWARE = "Software"  # PNG's keyword for the program that wrote it

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC = "http://purl.org/dc/elements/1.1/"
_XMP = "http://ns.adobe.com/xap/1.0/"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"


@dataclass(frozen=True)
class Origin:
    """What an output says about itself. `photo_sha256`: hexadecimal hash of the photo's file, None without one."""

    title: str
    tool_version: str
    source: SourceType
    photo_sha256: str | None

    @classmethod
    def of_avatar(cls, photo_sha256: str | None) -> Origin:
        """What a picture, video or file of an avatar says: this version made it, partly from a photo."""
        return cls("Synthetic head avatar", __version__, "compositeSynthetic", photo_sha256)

    @property
    def source_uri(self) -> str:
        return SOURCE_TYPE_SCHEME + self.source

    @property
    def tool(self) -> str:
        return f"{_TOOL} {self.tool_version}"

    def statement(self) -> str:
        """One sentence for people."""
        return f"Synthetic media: rendered by {self.tool} from an avatar of a photographed person."

    def to_json(self) -> str:
        """The facts for formats without XMP."""
        facts = {"title": self.title, "tool": self.tool, "digitalSourceType": self.source_uri}
        if self.photo_sha256 is not None:
            facts["photo"] = f"sha256:{self.photo_sha256}"
        return json.dumps(facts)

    def to_xmp(self) -> str:
        """An XMP packet."""
        photo = f"<dc:source>sha256:{self.photo_sha256}</dc:source>" if self.photo_sha256 else ""
        return (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
            f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">'
            f'<rdf:Description rdf:about="" xmlns:dc="{_DC}" xmlns:xmp="{_XMP}" xmlns:Iptc4xmpExt="{_IPTC}">'
            f'<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{escape(self.title)}</rdf:li></rdf:Alt></dc:title>'
            f"<xmp:CreatorTool>{escape(self.tool)}</xmp:CreatorTool>"
            f"<Iptc4xmpExt:DigitalSourceType>{self.source_uri}</Iptc4xmpExt:DigitalSourceType>{photo}"
            '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
        )

    def tags(self) -> dict[str, str]:
        """Metadata tags of a video container."""
        return {"title": self.title, "description": self.statement(), "comment": self.to_json()}

    def png_info(self) -> PngInfo:
        """Text chunks of a PNG."""
        info = PngInfo()
        info.add_itxt(XMP_KEYWORD, self.to_xmp())
        info.add_itxt("Title", self.title)
        info.add_itxt(_SOFTWARE, self.tool)
        info.add_itxt("Description", self.statement())
        return info


def made_here(png: Image.Image) -> bool:
    """Whether an opened PNG has the mark of `Origin.png_info`."""
    return str(png.info.get(_SOFTWARE, "")).startswith(f"{_TOOL} ")


def embed_origin(path: Path, origin: Origin) -> None:
    """Put the mark into a finished MP4, WebP or GIF, in place. Raises OSError."""
    if path.suffix.lower() == ".mp4":
        _append_mp4_box(path, origin.to_xmp().encode())
    elif path.suffix.lower() == ".webp":
        _append_webp_chunk(path, origin.to_xmp().encode())
    elif path.suffix.lower() == ".gif":
        _append_gif_comment(path, origin.to_json().encode())


def _append_mp4_box(path: Path, packet: bytes) -> None:
    # A box after the last one moves nothing, so the chunk offsets inside `moov` stay right.
    with path.open("ab") as file:
        file.write(struct.pack(">I", 8 + len(XMP_BOX) + len(packet)) + b"uuid" + XMP_BOX + packet)


def _append_webp_chunk(path: Path, packet: bytes) -> None:
    data = bytearray(path.read_bytes())
    if data[12:16] != b"VP8X":  # a still has no extended header yet, which is what announces XMP
        with Image.open(path) as image:
            size = b"".join((side - 1).to_bytes(3, "little") for side in image.size)
            flags = 0x10 if image.mode == "RGBA" else 0
        data[12:12] = b"VP8X" + struct.pack("<I", 10) + bytes([flags, 0, 0, 0]) + size
    data[20] |= 0x04  # the flag for XMP
    data += b"XMP " + struct.pack("<I", len(packet)) + packet + b"\0" * (len(packet) % 2)
    data[4:8] = struct.pack("<I", len(data) - 8)
    path.write_bytes(data)


def _append_gif_comment(path: Path, comment: bytes) -> None:
    blocks = b"".join(bytes([len(part)]) + part for part in _parts(comment))
    with path.open("r+b") as file:
        file.seek(-1, 2)  # over the trailer
        file.write(b"\x21\xfe" + blocks + b"\0\x3b")


def _parts(data: bytes) -> list[bytes]:
    return [data[start : start + 255] for start in range(0, len(data), 255)]  # a sub-block's length is one byte
