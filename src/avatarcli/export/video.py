"""Writing frames as video, animation or pictures, whichever the file name asks for. Streams: memory stays bounded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.reformatter import ColorRange, Colorspace

from avatarcli.errors import ExportError, UsageError
from avatarcli.export.images import PICTURES, Frame, write_picture, write_png_folder
from avatarcli.export.origin import Origin, embed_origin
from avatarcli.files import explain_io_error, finished_output

GIF_MAX_FPS = 50  # delays are hundredths of a second, and browsers slow down anything below two of them


@dataclass(frozen=True)
class _Codec:
    """How one suffix is encoded. `alpha_pixels` is None where the format has no transparency."""

    encoder: str
    pixels: str
    alpha_pixels: str | None
    options: Mapping[str, str]
    container_options: Mapping[str, str]


_CODECS = {
    # CRF 18 is where most people stop seeing a difference; yuv420p is what every player and browser decodes.
    ".mp4": _Codec("libx264", "yuv420p", None, {"crf": "18", "preset": "medium"}, {"movflags": "+faststart"}),
    # Alternative reference frames do not work with VP9's alpha plane. Speed 4 costs little quality and saves minutes.
    ".webm": _Codec(
        "libvpx-vp9",
        "yuv420p",
        "yuva420p",
        {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1", "auto-alt-ref": "0"},
        {},
    ),
    ".webp": _Codec("libwebp_anim", "bgra", "bgra", {"quality": "85", "compression_level": "4"}, {"loop": "0"}),
}


def write_frames(path: str | Path, frames: Iterable[Frame], fps: float, *, origin: Origin) -> None:
    """Write frames, uint8 [H, W, 3] or [H, W, 4] (straight alpha, sRGB), all of one shape.

    The suffix chooses: `.mp4` (H.264), `.webm` (VP9, with alpha), `.gif`, `.webp` (animated, with alpha), `.png` (one
    frame), `.jpg` (one opaque frame), no suffix (a folder of PNG). MP4 pads odd sizes by repeating the last row or column. Parents
    are created; the output appears whole or not at all, with its marks of origin.

    Raises:
        UsageError: the suffix is unknown, or the format cannot hold these frames.
        ExportError: the output cannot be written.
    """
    path = Path(path)
    writer = _writer(path)
    stream = _checked(frames)
    first = next(stream, None)
    if first is None:
        raise UsageError(f"{path}: there are no frames to write")
    check_output(path, transparent=first.shape[2] == 4, fps=fps)
    try:
        writer(path, chain([first], stream), fps, origin)
    except (OSError, av.error.FFmpegError) as error:
        raise ExportError(f"cannot write {path}: {explain_io_error(error) or error.strerror or error}") from None


def written_size(path: Path, size: tuple[int, int]) -> tuple[int, int]:
    """The size (width, height) in pixels that frames of a size have in the file `path`: MP4 makes it even."""
    width, height = size
    return (width + width % 2, height + height % 2) if path.suffix.lower() == ".mp4" else size


def check_output(path: str | Path, *, transparent: bool, fps: float) -> None:
    """Find out before the work whether `write_frames` could take such frames. Raises UsageError."""
    path = Path(path)
    _writer(path)
    codec = _CODECS.get(path.suffix.lower())
    opaque = path.suffix.lower() in (".jpg", ".jpeg") or (codec is not None and codec.alpha_pixels is None)
    if transparent and opaque:
        raise UsageError(
            f"{path}: {path.suffix} has no transparency; use .webm, .webp, .gif or .png, or set a background"
        )
    if not 0 < fps <= 240:
        raise UsageError(f"{fps:g} frames a second: want a number above 0 and at most 240")
    if path.suffix.lower() == ".gif" and fps > GIF_MAX_FPS:
        raise UsageError(f"{path}: a GIF plays at most {GIF_MAX_FPS} frames a second; lower the rate or use .webp")


_Writer = Callable[[Path, Iterator[Frame], float, Origin], None]


def _writer(path: Path) -> _Writer:
    suffix = path.suffix.lower()
    if suffix in _CODECS:
        return _write_encoded
    if suffix == ".gif":
        return _write_gif
    if suffix in PICTURES:
        return lambda target, frames, fps, origin: write_picture(target, frames, origin)
    if not suffix:
        return lambda target, frames, fps, origin: write_png_folder(target, frames, origin)
    known = ", ".join((*_CODECS, ".gif", *PICTURES))
    raise UsageError(f"{path}: cannot write {suffix} files; use {known}, or no suffix for a folder of PNG")


def _checked(frames: Iterable[Frame]) -> Iterator[Frame]:
    shape: tuple[int, ...] | None = None
    for frame in frames:
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] not in (3, 4):
            raise ValueError(f"frames are uint8 [H, W, 3] or [H, W, 4], got {frame.dtype} {list(frame.shape)}")
        if shape is not None and frame.shape != shape:
            raise ValueError(f"frames change shape from {list(shape)} to {list(frame.shape)}")
        shape = frame.shape
        yield np.ascontiguousarray(frame)


def _write_encoded(path: Path, frames: Iterator[Frame], fps: float, origin: Origin) -> None:
    suffix = path.suffix.lower()
    codec = _CODECS[suffix]
    if suffix == ".mp4":
        frames = map(_pad_to_even, frames)
    first = next(frames)
    pixels = codec.alpha_pixels if codec.alpha_pixels and first.shape[2] == 4 else codec.pixels
    pictures = (_picture(frame) for frame in chain([first], frames))
    with finished_output(path, folder=False) as temporary:
        _encode(temporary, pictures, first.shape, fps, pixels, codec, origin)


def _encode(
    path: Path,
    pictures: Iterator[av.VideoFrame],
    shape: tuple[int, ...],
    fps: float,
    pixels: str,
    codec: _Codec,
    origin: Origin,
) -> None:
    is_yuv = pixels.startswith("yuv")
    # "file:" keeps ffmpeg from taking a colon in the name for a protocol.
    with av.open(f"file:{path}", "w", container_options=dict(codec.container_options)) as container:
        container.metadata.update(origin.tags())
        stream = cast(av.VideoStream, container.add_stream(codec.encoder, rate=_rate(fps), options=dict(codec.options)))
        stream.height, stream.width, stream.pix_fmt = shape[0], shape[1], pixels
        if pixels == "yuva420p":
            stream.metadata["alpha_mode"] = "1"  # without it WebM players show the picture as opaque
        if is_yuv:
            # Players guess BT.601 or BT.709 by size when the file does not say, and skin changes its tint.
            context = stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = Colorspace.ITU709
            context.color_range = ColorRange.MPEG
        for index, picture in enumerate(pictures):
            if is_yuv:
                picture = picture.reformat(format=pixels, dst_colorspace=Colorspace.ITU709)
            elif picture.format.name != pixels:
                picture = picture.reformat(format=pixels)
            picture.pts, picture.time_base = index, 1 / _rate(fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    embed_origin(path, origin)


_GIF = _Codec("gif", "pal8", "pal8", {}, {"loop": "0"})


def _write_gif(path: Path, frames: Iterator[Frame], fps: float, origin: Origin) -> None:
    """Two passes with one palette for all frames, so that still parts do not flicker and are not stored again.

    The first pass counts colours and lays the raw frames down in a temporary file, so that memory stays bounded.
    """
    first = next(frames)
    shape = first.shape
    with finished_output(path, folder=False) as temporary, tempfile.TemporaryFile(dir=temporary.parent) as spool:

        def spooled() -> Iterator[av.VideoFrame]:
            for frame in chain([first], frames):
                spool.write(frame.tobytes())
                yield _picture(frame)

        palette = _make_palette(spooled(), shape)

        def replayed() -> Iterator[av.VideoFrame]:
            spool.seek(0)
            while data := spool.read(first.nbytes):
                yield _picture(np.frombuffer(data, np.uint8).reshape(shape))

        _encode(temporary, _apply_palette(replayed(), palette, shape), shape, fps, "pal8", _GIF, origin)


def _make_palette(pictures: Iterator[av.VideoFrame], shape: tuple[int, ...]) -> av.VideoFrame:
    graph = Graph()
    source = _source(graph, shape)
    generate = graph.add("palettegen", "stats_mode=full:reserve_transparent=1")
    sink = graph.add("buffersink")
    source.link_to(generate)
    generate.link_to(sink)
    graph.configure()
    for index, picture in enumerate(pictures):
        picture.pts = index
        source.push(picture)
    source.push(None)
    return graph.vpull()


def _apply_palette(
    pictures: Iterator[av.VideoFrame], palette: av.VideoFrame, shape: tuple[int, ...]
) -> Iterator[av.VideoFrame]:
    graph = Graph()
    source = _source(graph, shape)
    colours = graph.add_buffer(width=palette.width, height=palette.height, format=palette.format, time_base=Fraction(1))
    # Ordered dither keeps its pattern from frame to frame: error diffusion would crawl over still parts
    # and compress badly.
    quantise = graph.add("paletteuse", "dither=bayer:bayer_scale=3:diff_mode=rectangle:alpha_threshold=128")
    sink = graph.add("buffersink")
    source.link_to(quantise, 0, 0)
    colours.link_to(quantise, 0, 1)
    quantise.link_to(sink)
    graph.configure()
    palette.pts = 0
    colours.push(palette)
    colours.push(None)
    for index, picture in enumerate(pictures):
        picture.pts = index
        source.push(picture)
        yield from _pull_all(graph)
    source.push(None)
    yield from _pull_all(graph)


def _source(graph: Graph, shape: tuple[int, ...]) -> FilterContext:
    pixels = av.VideoFormat("rgba" if shape[2] == 4 else "rgb24")
    return graph.add_buffer(width=shape[1], height=shape[0], format=pixels, time_base=Fraction(1))


def _pull_all(graph: Graph) -> Iterator[av.VideoFrame]:
    with suppress(av.error.BlockingIOError, av.error.EOFError):  # it wants more input, or has given its last
        while True:
            yield graph.vpull()


def _picture(frame: Frame) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(frame, format="rgba" if frame.shape[2] == 4 else "rgb24")


def _pad_to_even(frame: Frame) -> Frame:
    """H.264 with 4:2:0 colour wants even sides: the last row or column is repeated."""
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _rate(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(1001)  # exact for 30000/1001 and its kin
