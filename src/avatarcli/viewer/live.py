"""The loop that keeps every open page showing the avatar as it is now."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import viser

from avatarcli.gaussians.avatar import Splats
from avatarcli.geometry.colors import Color
from avatarcli.head.parameters import HeadParameters
from avatarcli.viewer.painter import CLOUD_UNIT, Painter, View
from avatarcli.viewer.puppet import Puppet
from avatarcli.viewer.recording import Moment
from avatarcli.viewer.resolution import Resolution

# "server": pictures are drawn here, one for each page. "browser": pages get the Gaussians and draw them.
DrawnBy = Literal["server", "browser"]

# Frames. A page that gets its next picture before it has decoded the last one drops that one: a little room keeps it from
# dropping all of them.
_MOST_A_SECOND = 40.0
_AT_REST = 0.15  # seconds without change after which a page gets its sharp picture
_MOVING_QUALITY, _STILL_QUALITY = 85, 95  # of JPEG
_NARROWEST = 0.01  # radians of the field of view
_RATE_OVER = 2.0  # seconds that the frame rate is averaged over


@dataclass
class Watcher:
    """One open page."""

    client: viser.ClientHandle
    resolution: Resolution = field(default_factory=Resolution)
    shown: tuple[int, View, Color] | None = None  # what its picture shows: the pose's number, the view, the background
    sharp: bool = False

    def view(self) -> View:
        """Where the page looks from now."""
        camera = self.client.camera
        wxyz, position = (tuple(map(float, values)) for values in (camera.wxyz, camera.position))
        # A page that is hidden or just being laid out has no size.
        return View(
            wxyz, position, max(camera.fov, _NARROWEST), max(camera.image_width, 1), max(camera.image_height, 1)
        )


class LiveView:
    """Draws in a thread of its own, and only when something changed and somebody looks.

    failure: what ended the thread before `stop` did.
    """

    def __init__(
        self, server: viser.ViserServer, painter: Painter, *, drawn_by: DrawnBy, background: Color, puppet: Puppet
    ) -> None:
        self.painter = painter
        self.puppet = puppet
        self._server = server
        self._drawn_by: DrawnBy = drawn_by
        self._background = background
        self._watchers: dict[int, Watcher] = {}
        self._pose: HeadParameters | None = None
        self._splats: Splats | None = None
        self._number = 0  # of the pose that `_splats` shows
        # What browsers have, and the number of its pose.
        self._cloud: tuple[viser.GaussianSplatHandle, int] | None = None
        self._behind: Color | None = None  # the color that browsers have behind the cloud
        self._frames: deque[float] = deque(maxlen=int(_RATE_OVER * _MOST_A_SECOND))  # when the last frames were sent
        self.failure: Exception | None = None
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="live view", daemon=True)

    @property
    def drawn_by(self) -> DrawnBy:
        return self._drawn_by

    @drawn_by.setter
    def drawn_by(self, choice: DrawnBy) -> None:
        self._drawn_by = choice
        self.touch()

    @property
    def background(self) -> Color:
        return self._background

    @background.setter
    def background(self, color: Color) -> None:
        self._background = color
        self.touch()

    @property
    def watchers(self) -> int:
        """How many pages are open."""
        return len(self._watchers)

    @property
    def rate(self) -> float:
        """Frames a second that were sent to the page that got most of them, lately."""
        since = time.monotonic() - _RATE_OVER
        return sum(sent > since for sent in list(self._frames)) / _RATE_OVER

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._closing = True
        self._wake.set()
        self._thread.join()

    def touch(self) -> None:
        """Something changed."""
        self._wake.set()

    def joined(self, client: viser.ClientHandle) -> None:
        """A page was opened."""
        self._watchers[client.client_id] = Watcher(client)
        client.camera.on_update(lambda camera: self.touch())
        self.touch()

    def left(self, client: viser.ClientHandle) -> None:
        """A page was closed."""
        self._watchers.pop(client.client_id, None)
        self.touch()

    def shot(self, client: viser.ClientHandle) -> Moment | None:
        """What a page shows at this moment; None when it was closed."""
        watcher = self._watchers.get(client.client_id)
        return None if watcher is None else Moment(self.puppet.pose(), watcher.view(), self._background)

    def _run(self) -> None:
        try:
            self._keep_up()
        except Exception as error:  # whoever started us reports it
            self.failure = error

    def _keep_up(self) -> None:
        moving = rested = False
        while not self._closing:
            if not moving:
                sharpen = any(not watcher.sharp for watcher in list(self._watchers.values()))
                rested = not self._wake.wait(_AT_REST if sharpen else None)
            self._wake.clear()
            start = time.monotonic()
            watchers = list(self._watchers.values())
            # Asked before the pose is: the last frame of a clip is drawn too.
            moving = bool(watchers) and self.puppet.playing
            if watchers:
                self._frame(watchers, rested and not moving)
            else:
                self._pose = self._splats = None
            if moving:
                time.sleep(max(0.0, start + 1 / _MOST_A_SECOND - time.monotonic()))

    def _frame(self, watchers: list[Watcher], rested: bool) -> None:
        start = time.monotonic()
        pose = self.puppet.pose()
        if pose is not self._pose or self._splats is None:
            self._splats = self.painter.splats(pose)
            self._pose = pose
            self._number += 1
        posing = time.monotonic() - start
        if self._drawn_by == "browser":
            sent = self._send_cloud(self._splats)
            for watcher in watchers:
                watcher.shown, watcher.sharp = None, True
        else:
            got = [self._send_picture(watcher, self._splats, rested, posing) for watcher in watchers]
            sent = any(got)
            self._hide_cloud()  # not before there is something in its place
        if sent:
            self._frames.append(time.monotonic())

    def _send_picture(self, watcher: Watcher, splats: Splats, rested: bool, posing: float) -> bool:
        """Draw for one page if it shows something else; says whether it got a picture."""
        view = watcher.view()
        wanted = (self._number, view, self._background)
        moved = wanted != watcher.shown
        if not moved and (watcher.sharp or not rested):
            return False
        start = time.monotonic()
        size = watcher.resolution.moving(view) if moved else watcher.resolution.still(view)
        picture = self.painter.picture(splats, view.camera(*size), self._background)
        quality = _MOVING_QUALITY if moved else _STILL_QUALITY
        watcher.client.scene.set_background_image(picture, format="jpeg", jpeg_quality=quality)
        watcher.client.flush()
        if moved:
            watcher.resolution.took(posing + time.monotonic() - start)
        watcher.shown, watcher.sharp = wanted, not moved
        return True

    def _send_cloud(self, splats: Splats) -> bool:
        """Give all pages the Gaussians if they have others; says whether they got them."""
        if self._behind != self._background:
            solid = np.full((2, 2, 3), [round(255 * channel) for channel in self._background], np.uint8)
            self._server.scene.set_background_image(solid, format="png")
            self._behind = self._background
        if self._cloud is None:
            node = self._server.scene.add_gaussian_splats("/avatar", *self.painter.cloud(splats), scale=CLOUD_UNIT)
        elif self._cloud[1] != self._number:
            node = self._cloud[0]
            node.set_gaussians(*self.painter.cloud(splats))
        else:
            return False
        self._server.flush()
        self._cloud = node, self._number
        return True

    def _hide_cloud(self) -> None:
        if self._cloud is not None:
            self._cloud[0].remove()
            self._cloud = self._behind = None
