"""Takes: what one viewer saw over time, drawn again at full quality and written as MP4 or PNG."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from avatarcli.export.images import Frame
from avatarcli.export.origin import Origin
from avatarcli.export.video import write_frames
from avatarcli.geometry.colors import Color
from avatarcli.head.parameters import HeadParameters
from avatarcli.viewer.painter import Painter, View

FPS = 30
LONGEST_TAKE = 300  # seconds: five minutes take about as long to draw on two CPU cores
_VIDEO_SIDE = 1080  # pixels of the longer side
_PICTURE_SIDE = 1600


class Moment(NamedTuple):
    """One moment: the pose, who looked from where, and the color behind."""

    pose: HeadParameters
    view: View
    background: Color


class ViewRecorder:
    """Collects shots at FPS until it is stopped or LONGEST_TAKE has passed, in a thread of its own.

    Poses are noted and drawn later, so that the video is smooth however slowly the screen was drawn.

    look: the shot of this moment, or None when there is nobody to look any more, which ends the take.
    ended: called once, from the take's thread, with the shots.
    """

    def __init__(self, look: Callable[[], Moment | None], ended: Callable[[list[Moment]], None]) -> None:
        self._look = look
        self._ended = ended
        self._stop = threading.Event()
        threading.Thread(target=self._run, name="take", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        shots: list[Moment] = []
        start = time.monotonic()
        while len(shots) < LONGEST_TAKE * FPS:
            shot = self._look()
            if shot is None:
                break
            shots.append(shot)
            if self._stop.wait(max(0.0, start + len(shots) / FPS - time.monotonic())):
                break
        self._ended(shots)


def draw_video(painter: Painter, shots: Sequence[Moment], keep_on: Callable[[float], bool]) -> bytes | None:
    """An MP4 of shots, all as large as the first. keep_on: told the share that is done, says whether to go on; None if it did not.

    Raises:
        ExportError: the disk is full, or cannot be written.
    """
    size = shots[0].view.fitted(_VIDEO_SIDE)
    done = 0

    def frames() -> Iterator[Frame]:
        nonlocal done
        for shot in shots:
            if not keep_on(done / len(shots)):
                return
            yield _draw(painter, shot, size)
            done += 1

    content = _written("video.mp4", frames(), painter)
    return content if done == len(shots) else None


def draw_picture(painter: Painter, shot: Moment) -> bytes:
    """A PNG of a shot. Raises ExportError."""
    return _written("picture.png", iter([_draw(painter, shot, shot.view.fitted(_PICTURE_SIDE))]), painter)


def _draw(painter: Painter, shot: Moment, size: tuple[int, int]) -> Frame:
    return painter.picture(painter.splats(shot.pose), shot.view.camera(*size), shot.background)


def _written(name: str, frames: Iterator[Frame], painter: Painter) -> bytes:
    origin = Origin.of_avatar(painter.avatar.provenance.get("photo_sha256"))
    with tempfile.TemporaryDirectory(prefix="avatar-view-") as folder:
        path = Path(folder) / name
        write_frames(path, frames, FPS, origin=origin)
        return path.read_bytes()
