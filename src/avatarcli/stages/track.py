"""Video → motion clip: read, follow the face, fit, and keep the sound; whole or not at all."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from avatarcli import __version__
from avatarcli.arrays import Pixels
from avatarcli.capture.face_sequence import FaceSequence, detect_faces
from avatarcli.capture.video import WEBCAM_SECONDS, VideoInfo, probe_video, read_frames, record_webcam
from avatarcli.clips.files import save_clip
from avatarcli.errors import ClipError, UsageError, VideoError
from avatarcli.export.origin import Origin
from avatarcli.export.sound import add_sound, has_room, save_sound, sound_path
from avatarcli.export.video import write_frames
from avatarcli.files import explain_io_error, finished_output, sha256_file
from avatarcli.head.model import load_head_model
from avatarcli.progress import Progress
from avatarcli.records import fingerprint_of
from avatarcli.stages.driver import Driver
from avatarcli.stages.track_request import TrackRequest
from avatarcli.tracking.overlay_frame import draw_frame
from avatarcli.tracking.video import UNTRACKED, VideoTrack, fit_video
from avatarcli.weights import shipped as weights
from avatarcli.workspace import Workspace

VERSION = 3  # of the tracker: raise it when the same video gives another clip
_WEIGHTS = ("head/head.safetensors", "mediapipe/face_landmarker.task")
_CACHE = ".tracks"
_CACHED_CLIP = "clip.npz"
# Seconds about the moment that the user calls the resting face.
_REST_SPAN = 0.2


@dataclass(frozen=True)
class TrackResult:
    """What tracking made."""

    path: Path
    frames: int
    fps: float
    gaps: tuple[tuple[float, float], ...]  # seconds from, to: where no face was seen, and motion was put in
    sound: Path | None
    preview: Path | None
    seconds: float  # spent on it
    untracked: tuple[str, ...] = UNTRACKED  # actions that pictures do not show well enough: 0 in the clip


def track_video(request: TrackRequest, out: Path, *, preview: Path | None, progress: Progress) -> TrackResult:
    """Write the motion of the video's face to `out` (.npz), its sound beside it, and the mesh over the video.

    Raises:
        AvatarError: the video cannot be read or shows no face, or an output cannot be written.
    """
    start = time.perf_counter()
    request.check_output(out)
    # Outputs are opened first: what cannot be written is said before the work.
    with finished_output(out, folder=False) as place, _video(request, place.parent, progress) as info:
        if preview is not None:
            request.check_preview(preview, info.fps)
        sequence, track = _tracked(request, info, progress)
        save_clip(place, track.clip)
        duration = len(sequence) / sequence.fps
        sound = _sound(info, place.parent / "sound.m4a", duration, progress)
        if preview is not None:
            _preview(preview, info, track, sound, progress)
        kept = sound_path(out)
        if sound is None:
            kept.unlink(missing_ok=True)  # of an older clip of this name
        else:
            os.replace(sound, kept)
    return TrackResult(
        path=out,
        frames=len(sequence),
        fps=sequence.fps,
        gaps=gaps(sequence),
        sound=None if sound is None else kept,
        preview=preview,
        seconds=time.perf_counter() - start,
    )


@contextmanager
def cached_track(request: TrackRequest, workspace: Workspace, *, progress: Progress) -> Iterator[Driver]:
    """The clip of a video file with its sound, tracked once and kept in the workspace.

    Where the workspace cannot be written, the sound is there only for as long as the block runs.

    Raises:
        AvatarError: as `track_video`.
    """
    request.check_file()
    probe_video(request.video)  # names what is wrong with the file before it is hashed
    key = fingerprint_of(
        {
            "video": sha256_file(request.video),
            "version": VERSION,
            "settings": [request.seconds, request.fps, request.rest],
            "weights": [weights.fingerprint(name) for name in _WEIGHTS],
        }
    )
    clip = workspace.root / _CACHE / key[:32] / _CACHED_CLIP
    try:
        driver = Driver.load(clip)
        progress.info(f"{request.video} has been tracked already: {clip}")
    except ClipError:
        if not workspace.writable():
            progress.info(f"{workspace.root} is read-only: the clip of {request.video} is not kept")
            with tempfile.TemporaryDirectory(prefix="avatar-track-") as folder:
                clip = Path(folder) / _CACHED_CLIP
                track_video(request, clip, preview=None, progress=progress)
                yield Driver.load(clip)
            return
        track_video(request, clip, preview=None, progress=progress)
        driver = Driver.load(clip)
    yield driver


def gaps(sequence: FaceSequence) -> tuple[tuple[float, float], ...]:
    """Times (from, to; seconds) without a face."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], sequence.seen, [True]]).astype(int)))
    return tuple((float(a) / sequence.fps, float(b) / sequence.fps) for a, b in edges.reshape(-1, 2))


@contextmanager
def _video(request: TrackRequest, place: Path, progress: Progress) -> Iterator[VideoInfo]:
    """The video to read; a camera is recorded to a temporary file first."""
    if request.camera is None:
        info = probe_video(request.video)
        if len(info.times) < 2:
            raise VideoError(
                f"{request.video} is a single picture: motion is measured against the face at rest, so give a video"
            )
        yield info
        return
    seconds = request.seconds or WEBCAM_SECONDS
    with tempfile.TemporaryDirectory(dir=place) as folder:
        recording = Path(folder) / "camera.mkv"
        with progress.task("record", round(seconds)) as advance:
            record_webcam(request.camera, recording, seconds, advance)
        yield probe_video(recording)


def _tracked(request: TrackRequest, info: VideoInfo, progress: Progress) -> tuple[FaceSequence, VideoTrack]:
    fps = request.fps or info.fps
    with progress.task("find the face", len(info.times)) as advance:
        sequence = detect_faces(info, fps, seconds=request.seconds, advance=advance)
    if sequence.several:
        progress.warn(f"{info.path.name}: several faces; following the largest one that is seen longest")
    missing = gaps(sequence)
    if missing:
        longest = ", ".join(f"{a:.1f}-{b:.1f} s" for a, b in sorted(missing, key=lambda gap: gap[0] - gap[1])[:3])
        share = 100 * (~sequence.seen).mean()
        progress.warn(
            f"{info.path.name}: no face in {share:.0f} % of the frames ({longest}); the motion there is interpolated"
        )
    with progress.task("track", int(sequence.seen.sum())) as advance:
        track = fit_video(
            load_head_model(),
            sequence.points,
            sequence.scores,
            sequence.seen,
            (sequence.width, sequence.height),
            fps,
            rest=_rest(request, sequence),
            advance=advance,
        )
    return sequence, track


def _rest(request: TrackRequest, sequence: FaceSequence) -> np.ndarray | None:
    if request.rest is None:
        return None
    moments = np.arange(len(sequence)) / sequence.fps
    chosen = np.abs(moments - request.rest) <= _REST_SPAN
    if not (chosen & sequence.seen).any():
        raise UsageError(f"--rest {request.rest:g}: no face is seen there; choose another moment of the video")
    return chosen


def _sound(info: VideoInfo, out: Path, seconds: float, progress: Progress) -> Path | None:
    if not info.has_audio:
        return None
    try:
        save_sound(info.path, out, start=info.start, seconds=seconds)
    except av.error.FFmpegError as error:
        if explain_io_error(error, out.parent) is not None:
            raise
        progress.warn(f"{info.path.name}: its sound cannot be decoded ({error.strerror}) and is left out")
        return None
    return out


def _preview(out: Path, info: VideoInfo, track: VideoTrack, sound: Path | None, progress: Progress) -> None:
    """The mesh over the video, with its sound where the format has room for it."""
    origin = Origin("Tracked head model over a video", __version__, "compositeSynthetic", None)
    clip = track.clip
    with finished_output(out, folder=not out.suffix) as place:
        with progress.task("preview", len(clip)) as advance:

            def frames() -> Iterator[Pixels]:
                for index, picture in enumerate(_at_rate(info, len(clip), clip.fps)):
                    yield draw_frame(picture, track, index)
                    advance(1)

            write_frames(place, frames(), clip.fps, origin=origin)
        if sound is not None and has_room(place):
            add_sound(place, sound, origin)


def _at_rate(info: VideoInfo, count: int, fps: float) -> Iterator[Pixels]:
    """The video's frames at a constant rate: of each moment the one that is shown then."""
    given, last = 0, None
    for moment, picture in read_frames(info):
        while last is not None and given < count and given / fps < moment - 0.5 / fps:
            yield last
            given += 1
        last = picture
    while last is not None and given < count:
        yield last
        given += 1
