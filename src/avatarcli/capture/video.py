"""Reading videos: frames upright and of workable size, with their times. Streams: memory does not grow with length."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from avatarcli.arrays import Pixels
from avatarcli.capture._mediapipe import quiet_stderr
from avatarcli.capture.photo import is_animation
from avatarcli.clips.frame_rates import nearest_rate
from avatarcli.clips.kinds import VIDEOS
from avatarcli.errors import PhotoError, VideoError
from avatarcli.files import why_not_a_file

Times = NDArray[np.float64]

# Longest side of a frame that leaves this module: a face that fills it is still larger than the landmark network's input.
MAX_SIDE = 1280
# Faces move at most some 15 times a second; more frames than this cost time and show nothing new.
MAX_FPS = 60.0
_CAMERA_TICK = Fraction(1, 1000)  # seconds: cameras keep no exact rate, so every frame gets its own time
_HDR_TRANSFERS = (16, 18)  # PQ and HLG, as ITU-T H.273 numbers them
WEBCAM_SECONDS = 10.0  # of recording, unless the caller says how long
_READABLE = "MP4, MOV, WebM or MKV"
# FFmpeg's names of what films come in. It takes text files for films, too.
_FILMS = {"mov", "mp4", "matroska", "webm", "gif", "avi", "mpegts", "mpeg", "asf", "flv", "ogg"}


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before it is decoded.

    times [T]: seconds of the frames after the first one, ascending; key_times [K]: those of them that are decoded without
    others; start: the file's own time of the first, seconds; fps: the constant rate that its frames stand for; has_audio:
    whether it has sound; hdr: whether its colors are HDR's, which are taken as if they were not.
    """

    path: Path
    times: Times
    key_times: Times
    start: float
    fps: float
    has_audio: bool
    hdr: bool = False

    @property
    def duration(self) -> float:
        """Seconds, the last frame's share included."""
        return float(self.times[-1]) + 1.0 / self.fps


def is_film(path: Path) -> bool:
    """Whether a file's content is moving pictures.

    Raises:
        VideoError: it has the name of a film, but is neither that nor a picture.
    """
    try:
        return is_animation(path)
    except PhotoError:
        if not path.is_file():
            return False
    try:
        with _opened(path) as (container, _):
            return bool(_FILMS & set(container.format.name.split(",")))
    except VideoError:
        if path.suffix.lower() in VIDEOS:
            raise
    return False


def probe_video(path: Path) -> VideoInfo:
    """Read a video's table of contents: its packets, but not their pictures.

    Raises:
        VideoError: no such file, not a video, a codec that cannot be decoded, or no frames.
    """
    if (problem := why_not_a_file(path, "video")) is not None:
        raise VideoError(problem)
    with _opened(path) as (container, stream):
        seen: dict[int, bool] = {}
        for packet in container.demux(stream):
            if packet.pts is not None and packet.size > 0:
                seen[packet.pts] = seen.get(packet.pts, False) or packet.is_keyframe
        if not seen:
            raise VideoError(f"{path} has no frames; copy or export the video again")
        seconds = np.array(sorted(seen), dtype=np.float64) * float(stream.time_base)
        keys = np.array(sorted(moment for moment, key in seen.items() if key), dtype=np.float64)
        return VideoInfo(
            path=path,
            times=seconds - seconds[0],
            key_times=keys * float(stream.time_base) - seconds[0],
            start=float(seconds[0]),
            fps=frame_rate(seconds),
            has_audio=len(container.streams.audio) > 0,
            hdr=stream.codec_context.color_trc in _HDR_TRANSFERS,
        )


def frame_rate(times: Times) -> float:
    """The constant rate that frames at `times` [T] (seconds, ascending) stand for: of variable rates, the usual one."""
    if len(times) < 2:
        return 30.0  # a still says nothing of a rate
    intervals = np.diff(times)
    usual = float(np.median(intervals))
    # Containers with times in milliseconds round each interval; over many that evens out. Dropped frames do not count.
    fps = 1.0 / float(intervals[np.abs(intervals - usual) < 0.3 * usual].mean())
    return min(nearest_rate(fps), MAX_FPS)


def read_frames(info: VideoInfo, *, seconds: float | None = None) -> Iterator[tuple[float, Pixels]]:
    """Times (seconds after the first frame) and frames, uint8 sRGB [H, W, 3], upright, with square pixels.

    Frames that come faster than `MAX_FPS` are left out, and so are damaged ones. `seconds` ends it earlier.

    Raises:
        VideoError: nothing can be decoded.
    """
    due, given = 0.0, False
    with _opened(info.path) as (container, stream):
        stream.thread_type = "AUTO"
        for frame in _decoded(container, stream):
            if frame.pts is None:
                continue
            moment = float(frame.pts * stream.time_base) - info.start
            if seconds is not None and moment >= seconds:
                break
            # Some slack: times are rounded to the container's ticks.
            if moment < due - 0.25 / MAX_FPS:
                continue
            due = max(due + 1.0 / MAX_FPS, moment)
            given = True
            yield moment, upright(frame, stream.sample_aspect_ratio)
    if not given:
        raise VideoError(f"{info.path}: no frame can be decoded; convert it to H.264 in an MP4 file")


def read_key_frames(info: VideoInfo, moments: Times) -> Iterator[tuple[float, Pixels]]:
    """As `read_frames`, of some `key_times` alone: what lies between them is neither decoded nor read."""
    with _opened(info.path) as (container, stream):
        for moment in moments:
            with suppress(av.error.FFmpegError, StopIteration):
                _seek(container, stream, info, float(moment))
                packet = next(packet for packet in container.demux(stream) if packet.is_keyframe and packet.size > 0)
                frames = packet.decode() or stream.codec_context.decode(None)
                for frame in frames[:1]:
                    at = float(frame.pts * stream.time_base) - info.start
                    yield at, upright(frame, stream.sample_aspect_ratio)


def frame_at(info: VideoInfo, moment: float, *, longest: int = MAX_SIDE) -> Pixels:
    """The frame at one of `info.times` (seconds), as `read_frames` gives it, but up to `longest` pixels long.

    Raises:
        VideoError: it cannot be decoded.
    """
    slack = 0.25 / MAX_FPS
    for seeking in (True, False):  # an index may be wrong: then all frames before are decoded
        with _opened(info.path) as (container, stream):
            if seeking:
                with suppress(av.error.FFmpegError):  # some formats cannot be sought in
                    _seek(container, stream, info, moment)
            for frame in _decoded(container, stream):
                at = moment if frame.pts is None else float(frame.pts * stream.time_base) - info.start
                if at > moment + slack:
                    break
                if at >= moment - slack:
                    return upright(frame, stream.sample_aspect_ratio, longest)
    raise VideoError(f"{info.path}: the frame at {moment:.2f} s cannot be decoded; convert it to H.264 in an MP4 file")


def _seek(container: Any, stream: Any, info: VideoInfo, moment: float) -> None:
    """Go on with the last key frame that is not after a moment."""
    container.seek(round((moment + info.start) / stream.time_base), stream=stream)


def upright(frame: av.VideoFrame, pixel_aspect: Any, longest: int = MAX_SIDE) -> Pixels:
    """A decoded frame as uint8 [H, W, 3]: turned as its display matrix says, pixels square, at most `longest` pixels long."""
    aspect = float(pixel_aspect) if pixel_aspect else 1.0
    width, height = frame.width * aspect, float(frame.height)
    scale = min(1.0, longest / max(width, height))
    small = frame.reformat(width=max(1, round(width * scale)), height=max(1, round(height * scale)), format="rgb24")
    picture = small.to_ndarray()
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns))


def record_webcam(index: int, out: Path, seconds: float, advance: Callable[[int], None]) -> None:
    """Record camera `index` for some seconds into the video `out`; `advance` hears of every whole second.

    Raises:
        VideoError: there is no such camera, or it gives no pictures.
    """
    import cv2  # only cameras need it

    with quiet_stderr():  # it reports missing cameras by itself
        camera = cv2.VideoCapture(index)
    try:
        if not camera.isOpened():
            raise VideoError(f"camera {index} cannot be opened; is it connected, and not in use by another program?")
        with av.open(f"file:{out}", "w", format="matroska") as container:
            _record(camera, container, seconds, advance, f"camera {index}")
    finally:
        camera.release()


def _record(camera: Any, container: Any, seconds: float, advance: Callable[[int], None], name: str) -> None:
    stream = container.add_stream("libx264", rate=30, options={"crf": "16", "preset": "ultrafast"})
    begin, last, told = time.monotonic(), -1, 0
    while (now := time.monotonic() - begin) < seconds:
        ok, picture = camera.read()
        if not ok:
            raise VideoError(f"{name} stopped giving pictures")
        picture = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]  # H.264 wants even sides
        if last < 0:
            stream.height, stream.width, stream.pix_fmt = picture.shape[0], picture.shape[1], "yuv420p"
            stream.codec_context.time_base = stream.time_base = _CAMERA_TICK
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24")
        last = frame.pts = max(last + 1, round(now / _CAMERA_TICK))
        frame.time_base = _CAMERA_TICK
        container.mux(stream.encode(frame))
        advance(int(now) - told)
        told = int(now)
    container.mux(stream.encode(None))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its video stream. What ffmpeg refuses becomes one line."""
    try:
        # "file:" keeps ffmpeg from taking a colon in the name for a protocol.
        container = av.open(f"file:{path}", metadata_errors="ignore")
    except PermissionError as error:
        raise VideoError(f"{path} cannot be opened ({error.strerror}); check its permissions") from None
    except (av.error.FFmpegError, OSError, ValueError):
        raise VideoError(f"{path} is not a video that can be read; give an {_READABLE} file") from None
    with container:
        pictures = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not pictures:
            raise VideoError(f"{path} has no video in it; give an {_READABLE} file")
        stream = pictures[0]
        if stream.codec_context is None:
            raise VideoError(f"{path}: its video codec is unknown here; convert it to H.264 in an MP4 file")
        yield container, stream


def _is_cover(stream: Any) -> bool:
    """Whether a stream is a picture attached to a sound file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _decoded(container: Any, stream: Any) -> Iterator[av.VideoFrame]:
    """All frames that can be decoded: a damaged packet costs its own frames only."""
    packets = container.demux(stream)
    while (packet := _next_packet(packets)) is not None:
        with suppress(av.error.InvalidDataError, av.error.EOFError):
            yield from packet.decode()


def _next_packet(packets: Iterator[Any]) -> Any | None:
    """None at the end, and where a file that was cut short ends."""
    try:
        return next(packets, None)
    except av.error.FFmpegError:
        return None
