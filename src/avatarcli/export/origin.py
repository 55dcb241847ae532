"""Marks of origin: every exported picture and video says that it is synthetic, who made it, and of which photo.

The machine-readable mark is IPTC's digital source type, the one that platforms look for. PNG, JPEG, WebP and MP4 carry it in
an XMP packet at the place that the format reserves for it; GIF and WebM have no such place and carry the same facts as
JSON in their comment. Containers with tags get a plain sentence too.

Sources: IPTC Photo Metadata Standard 2023.1 (Digital Source Type); Adobe XMP specification part 3 (where packets go).
"""

from __future__ import annotations

import json
import struct
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args
from xml.sax.saxutils import escape

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from avatarcli.errors import ExportError

# trainedAlgorithmicMedia: a trained model made the pixels. compositeSynthetic: captured and synthetic parts together.
SourceType = Literal["trainedAlgorithmicMedia", "compositeSynthetic"]

SOURCE_TYPE_SCHEME = "http://cv.iptc.org/newscodes/digitalsourcetype/"
XMP_KEYWORD = "XML:com.adobe.xmp"  # PNG's iTXt keyword for XMP
XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # MP4's uuid box for XMP
_TOOL = "avatarcli"

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

    @classmethod
    def from_json(cls, text: str) -> Origin | None:
        """The inverse of `to_json`; None if the text is something else."""
        try:
            facts = json.loads(text)
        except ValueError:
            return None
        if not isinstance(facts, dict):
            return None
        return _from_facts(*(facts.get(key) for key in ("title", "tool", "digitalSourceType", "photo")))

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

    @classmethod
    def from_xmp(cls, packet: str | bytes) -> Origin | None:
        """The inverse of `to_xmp`; None if the packet is another program's or broken."""
        try:
            root = ElementTree.fromstring(packet)
        except ElementTree.ParseError:
            return None
        title = root.find(f".//{{{_DC}}}title//{{{_RDF}}}li")
        found = [root.find(f".//{{{space}}}{name}") for space, name in _XMP_FIELDS]
        return _from_facts(*(None if element is None else element.text or "" for element in (title, *found)))

    def tags(self) -> dict[str, str]:
        """Metadata tags of a video container."""
        return {"title": self.title, "description": self.statement(), "comment": self.to_json()}

    def png_info(self) -> PngInfo:
        """Text chunks of a PNG."""
        info = PngInfo()
        info.add_itxt(XMP_KEYWORD, self.to_xmp())
        info.add_itxt("Title", self.title)
        info.add_itxt("Software", self.tool)
        info.add_itxt("Description", self.statement())
        return info


_XMP_FIELDS = ((_XMP, "CreatorTool"), (_IPTC, "DigitalSourceType"), (_DC, "source"))


def _from_facts(title: object, tool: object, source_uri: object, photo: object) -> Origin | None:
    if not (isinstance(title, str) and isinstance(tool, str) and isinstance(source_uri, str)):
        return None
    name, _, version = tool.partition(" ")
    source = source_uri.removeprefix(SOURCE_TYPE_SCHEME)
    if name != _TOOL or source not in get_args(SourceType):
        return None
    photo_hash = photo.removeprefix("sha256:") if isinstance(photo, str) else None
    return Origin(title, version, cast(SourceType, source), photo_hash)


def embed_origin(path: Path, origin: Origin) -> None:
    """Put the mark into a finished MP4, WebP or GIF, in place. Raises OSError."""
    if path.suffix.lower() == ".mp4":
        _append_mp4_box(path, origin.to_xmp().encode())
    elif path.suffix.lower() == ".webp":
        _append_webp_chunk(path, origin.to_xmp().encode())
    elif path.suffix.lower() == ".gif":
        _append_gif_comment(path, origin.to_json().encode())


def read_origin(path: Path) -> Origin | None:
    """The mark of a PNG, JPEG, WebP, GIF, MP4 or WebM; None if it bears none of ours.

    Raises:
        ExportError: the file cannot be read.
    """
    try:
        if path.suffix.lower() == ".mp4":
            packet = _mp4_box(path)
            return None if packet is None else Origin.from_xmp(packet)
        if path.suffix.lower() == ".gif":
            return Origin.from_json(_gif_comment(path).decode(errors="replace"))
        if path.suffix.lower() == ".webm":
            return _read_webm(path)
        with Image.open(path) as image:
            packet = image.info.get(XMP_KEYWORD, image.info.get("xmp"))
        return None if packet is None else Origin.from_xmp(packet)
    except UnidentifiedImageError:
        raise ExportError(f"{path}: not a picture or video that can be read") from None
    except OSError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror or error})") from None


def _read_webm(path: Path) -> Origin | None:
    import av

    try:
        with av.open(f"file:{path}") as container:
            tags = {key.lower(): value for key, value in container.metadata.items()}
    except av.error.FFmpegError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror})") from None
    return Origin.from_json(tags.get("comment", ""))


def _append_mp4_box(path: Path, packet: bytes) -> None:
    # A box after the last one moves nothing, so the chunk offsets inside `moov` stay right.
    with path.open("ab") as file:
        file.write(struct.pack(">I", 8 + len(XMP_BOX) + len(packet)) + b"uuid" + XMP_BOX + packet)


def _mp4_box(path: Path) -> bytes | None:
    with path.open("rb") as file:
        while len(header := file.read(8)) == 8:
            size, kind = struct.unpack(">I4s", header)
            length = size - 8
            if size == 1:  # a 64-bit size follows
                length = int.from_bytes(file.read(8), "big") - 16
            if kind == b"uuid" and file.read(16) == XMP_BOX:
                return file.read(length - 16)
            if length < 0:  # 0 means "to the end of the file"; anything else is damage
                return None
            file.seek(length - (16 if kind == b"uuid" else 0), 1)
    return None


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


def _gif_comment(path: Path) -> bytes:
    """The comment at the end of the file, where ours is; empty if there is none."""
    data = path.read_bytes()
    position = data.rfind(b"\x21\xfe") + 2
    comment = b""
    while 2 <= position < len(data) and (length := data[position]):
        comment += data[position + 1 : position + 1 + length]
        position += 1 + length
    return comment
