"""The controls that each page has for itself: where it looks from, its screenshots and recordings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import viser

from avatarcli.errors import AvatarError
from avatarcli.viewer.live import LiveView
from avatarcli.viewer.painter import field_of_view, viewpoint
from avatarcli.viewer.recording import Moment, ViewRecorder, draw_picture, draw_video

# Degrees; "left" shows the subject's left side.
_SIDES = {"front": 0.0, "left": 90.0, "right": -90.0, "back": 180.0}
_RECORD, _SAVE = "Record a video", "Stop and save"
_REPORT = 0.5  # seconds between two reports of how far a video is


class PersonalPanel:
    """One page's own controls.

    name: what downloads are called.
    """

    def __init__(self, client: viser.ClientHandle, live: LiveView, name: str) -> None:
        self._client = client
        self._live = live
        self._name = name
        self._take: ViewRecorder | None = None
        self._gone = threading.Event()
        gui = client.gui
        with gui.add_folder("My view", order=0):
            sides = gui.add_button_group("From", list(_SIDES))
            picture = gui.add_button("Screenshot")
            self._record = gui.add_button(_RECORD)
            self._said = gui.add_markdown("")
        sides.on_click(lambda event: self._look_from(_SIDES[event.target.value]))
        picture.on_click(lambda event: self._save_picture())
        self._record.on_click(lambda event: self._toggle_take())

    def close(self) -> None:
        """The page was closed: what it was recording is dropped."""
        self._gone.set()
        if self._take is not None:
            self._take.stop()

    def _look_from(self, yaw: float) -> None:
        framing = self._live.painter.avatar.framing
        camera = self._client.camera
        with self._client.atomic():
            camera.position = viewpoint(framing, yaw)
            camera.look_at = framing.target
            camera.up_direction = (0.0, 1.0, 0.0)
            camera.fov = field_of_view(framing)

    def _save_picture(self) -> None:
        shot = self._live.shot(self._client)
        if shot is not None:
            self._deliver("png", lambda: draw_picture(self._live.painter, shot))

    def _toggle_take(self) -> None:
        if self._take is not None:
            self._take.stop()
            return
        self._record.label = _SAVE
        self._take = ViewRecorder(lambda: self._live.shot(self._client), self._taken)

    def _taken(self, shots: list[Moment]) -> None:
        """A take ended; this is its thread."""
        self._take = None
        if self._gone.is_set() or not shots:
            return
        self._record.label, self._record.disabled = _RECORD, True
        self._deliver("mp4", lambda: draw_video(self._live.painter, shots, self._reporter(len(shots))))
        if not self._gone.is_set():
            self._record.disabled, self._said.content = False, ""

    def _reporter(self, frames: int) -> Callable[[float], bool]:
        said = 0.0

        def report(share: float) -> bool:
            nonlocal said
            if time.monotonic() - said > _REPORT and not self._gone.is_set():
                said = time.monotonic()
                self._said.content = f"Drawing {frames} frames: {100 * share:.0f} %"
            return not self._gone.is_set()

        return report

    def _deliver(self, suffix: str, make: Callable[[], bytes | None]) -> None:
        """Make a file and hand it to the page as a download."""
        try:
            content = make()
        except AvatarError as error:
            self._client.add_notification("Not saved", str(error), color="red")
            return
        if content is not None and not self._gone.is_set():
            stamp = time.strftime("%Y%m%d-%H%M%S")
            self._client.send_file_download(f"{self._name}-{stamp}.{suffix}", content, save_immediately=True)
