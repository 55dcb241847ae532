"""Writing frames as video, animation or pictures, whichever the file name asks for. Streams: memory stays bounded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
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
from avatarcli.export.formats import Codec, endings, picture_format
from avatarcli.export.images import Frame, write_picture, write_png_folder
from avatarcli.export.origin import Origin, embed_origin
from avatarcli.files import explain_io_error, finished_output


def write_frames(path: str | Path, frames: Iterable[Frame], fps: float, *, origin: Origin) -> None:
    """Write frames, uint8 [H, W, 3] or [H, W, 4] (straight alpha, sRGB), all of one shape.

    The suffix chooses: `.mp4` (H.264), `.webm` (VP9, with alpha), `.mov` (ProRes, with alpha), `.gif`, `.webp` (animated, with
    alpha), `.png` (one frame), `.jpg` (one opaque frame), no suffix (a folder of PNG). MP4 pads odd sizes by repeating the last
    row or column. Parents are created; the output appears whole or not at all, with its marks of origin.

    Raises:
        UsageError: the suffix is unknown, or the format cannot hold these frames.
        ExportError: the output cannot be written.
    """
    path = Path(path)
    form = picture_format(path)
    stream = _checked(frames)
    first = next(stream, None)
    if first is None:
        raise UsageError(f"{path}: there are no frames to write")
    check_output(path, transparent=first.shape[2] == 4, fps=fps)
    try:
        everything = chain([first], stream)
        if form.codec is not None and form.kind == "gif":
            _write_gif(path, everything, fps, origin, form.codec)
        elif form.codec is not None:
            _write_encoded(path, everything, fps, origin, form.codec)
        elif form.still:
            write_picture(path, everything, origin)
        else:
            write_png_folder(path, everything, origin)
    except (OSError, av.error.FFmpegError) as error:
        raise ExportError(f"cannot write {path}: {explain_io_error(error) or error.strerror or error}") from None


def written_size(path: Path, size: tuple[int, int]) -> tuple[int, int]:
    """The size (width, height) in pixels that frames of a size have in the file `path`: MP4 makes it even."""
    width, height = size
    codec = picture_format(path).codec
    return (width + width % 2, height + height % 2) if codec is not None and codec.even else size


def check_output(path: str | Path, *, transparent: bool, fps: float) -> None:
    """Find out before the work whether `write_frames` could take such frames. Raises UsageError."""
    path = Path(path)
    form = picture_format(path)
    if transparent and form.transparency == "none":
        others = endings(lambda other: other.transparency != "none")
        raise UsageError(f"{path}: {path.suffix} has no transparency; use {others}, or set a background")
    if not 0 < fps <= 240:
        raise UsageError(f"{fps:g} frames per second: want a number above 0 and at most 240")
    if fps > form.most_fps:
        kind = form.kind.upper()
        raise UsageError(
            f"{path}: a {kind} plays at most {form.most_fps:g} frames per second; lower the rate or use .webp"
        )


def _checked(frames: Iterable[Frame]) -> Iterator[Frame]:
    shape: tuple[int, ...] | None = None
    for frame in frames:
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] not in (3, 4):
            raise ValueError(f"frames are uint8 [H, W, 3] or [H, W, 4], got {frame.dtype} {list(frame.shape)}")
        if shape is not None and frame.shape != shape:
            raise ValueError(f"frames change shape from {list(shape)} to {list(frame.shape)}")
        shape = frame.shape
        yield np.ascontiguousarray(frame)


def _write_encoded(path: Path, frames: Iterator[Frame], fps: float, origin: Origin, codec: Codec) -> None:
    if codec.even:
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
    codec: Codec,
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


def _write_gif(path: Path, frames: Iterator[Frame], fps: float, origin: Origin, codec: Codec) -> None:
    """Two passes with one palette for all frames, so that still parts do not flicker and are not stored again.

    The first pass counts colors and lays the raw frames down in a temporary file, so that memory stays bounded.
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

        _encode(temporary, _apply_palette(replayed(), palette, shape), shape, fps, codec.pixels, codec, origin)


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
    colors = graph.add_buffer(width=palette.width, height=palette.height, format=palette.format, time_base=Fraction(1))
    # Ordered dither keeps its pattern from frame to frame: error diffusion would crawl over still parts
    # and compress badly.
    quantise = graph.add("paletteuse", "dither=bayer:bayer_scale=3:diff_mode=rectangle:alpha_threshold=128")
    sink = graph.add("buffersink")
    source.link_to(quantise, 0, 0)
    colors.link_to(quantise, 0, 1)
    quantise.link_to(sink)
    graph.configure()
    palette.pts = 0
    colors.push(palette)
    colors.push(None)
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
    """H.264 with 4:2:0 color wants even sides: the last row or column is repeated."""
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _rate(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(1001)  # exact for 30000/1001 and its kin
