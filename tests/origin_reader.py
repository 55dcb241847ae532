"""Reading marks of origin back from every kind of file that carries one."""

from __future__ import annotations

import json
import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import cast, get_args

import av
from PIL import Image

from avatarcli.export.origin import SOURCE_TYPE_SCHEME, XMP_BOX, XMP_KEYWORD, Origin, SourceType

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC = "http://purl.org/dc/elements/1.1/"
_XMP = "http://ns.adobe.com/xap/1.0/"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_XMP_FIELDS = ((_XMP, "CreatorTool"), (_IPTC, "DigitalSourceType"), (_DC, "source"))


def read_origin(path: Path) -> Origin | None:
    """The mark of a PNG, JPEG, WebP, GIF, MP4, WebM or MOV; None if it bears none of ours."""
    if path.suffix.lower() == ".mp4":
        packet = _mp4_box(path)
        return None if packet is None else from_xmp(packet)
    if path.suffix.lower() == ".gif":
        return from_json(_gif_comment(path).decode(errors="replace"))
    if path.suffix.lower() in (".webm", ".mov"):
        with av.open(f"file:{path}") as container:
            return from_json({key.lower(): value for key, value in container.metadata.items()}.get("comment", ""))
    with Image.open(path) as image:
        packet = image.info.get(XMP_KEYWORD, image.info.get("xmp"))
    return None if packet is None else from_xmp(packet)


def from_json(text: str) -> Origin | None:
    """The inverse of `Origin.to_json`; None if the text is something else."""
    try:
        facts = json.loads(text)
    except ValueError:
        return None
    if not isinstance(facts, dict):
        return None
    return _from_facts(*(facts.get(key) for key in ("title", "tool", "digitalSourceType", "photo")))


def from_xmp(packet: str | bytes) -> Origin | None:
    """The inverse of `Origin.to_xmp`; None if the packet is another program's or broken."""
    try:
        root = ElementTree.fromstring(packet)
    except ElementTree.ParseError:
        return None
    title = root.find(f".//{{{_DC}}}title//{{{_RDF}}}li")
    found = [root.find(f".//{{{space}}}{name}") for space, name in _XMP_FIELDS]
    return _from_facts(*(None if element is None else element.text or "" for element in (title, *found)))


def _from_facts(title: object, tool: object, source_uri: object, photo: object) -> Origin | None:
    if not (isinstance(title, str) and isinstance(tool, str) and isinstance(source_uri, str)):
        return None
    name, _, version = tool.partition(" ")
    source = source_uri.removeprefix(SOURCE_TYPE_SCHEME)
    if name != "avatarcli" or source not in get_args(SourceType):
        return None
    photo_hash = photo.removeprefix("sha256:") if isinstance(photo, str) else None
    return Origin(title, version, cast(SourceType, source), photo_hash)


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


def _gif_comment(path: Path) -> bytes:
    """The comment at the end of the file, where ours is; empty if there is none."""
    data = path.read_bytes()
    position = data.rfind(b"\x21\xfe") + 2
    comment = b""
    while 2 <= position < len(data) and (length := data[position]):
        comment += data[position + 1 : position + 1 + length]
        position += 1 + length
    return comment
