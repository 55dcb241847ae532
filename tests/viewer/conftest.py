"""A small avatar, and a page without a browser: it speaks viser's protocol over a real websocket."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import viser
import zstandard
from PIL import Image
from websockets.sync.client import connect

from avatarcli.export.origin import Origin
from avatarcli.export.video import write_frames
from avatarcli.gaussians.avatar import Avatar
from avatarcli.stages.view import Viewer, ViewRequest
from avatarcli.viewer.painter import View, field_of_view, viewpoint
from example_photo import PHOTO

SIDE = 64  # pixels of a page
PATIENCE = 60.0  # seconds for something to happen on a busy machine


@pytest.fixture(scope="session")
def toy(make_avatar: Callable[..., Avatar]) -> Avatar:
    return make_avatar(400, corrective=0.002)


@pytest.fixture
def viewer(toy: Avatar) -> Iterator[Viewer]:
    """A running viewer on a free port."""
    running = Viewer(toy, "toy", ViewRequest(port=0, background=(0.0, 0.0, 1.0)))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def nodding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video in place of a camera: the example photo, tilted counter-clockwise by 15 degrees on the way."""
    with Image.open(PHOTO) as image:
        upright = image.convert("RGB").resize((320, 320))
    frames = [np.asarray(upright.rotate(angle, fillcolor=(128, 128, 128))) for angle in (0, 0, 5, 10, 15, 15, 15, 15)]
    path = tmp_path_factory.mktemp("camera") / "camera.mp4"
    write_frames(path, frames, 10, origin=Origin("Test", "0", "compositeSynthetic", None))
    return path


@pytest.fixture(scope="session")
def front(toy: Avatar) -> Callable[[int, int], View]:
    """The view of a page of some width and height from the front: the camera's axes are the world's, half a turn about x."""

    def view(width: int, height: int) -> View:
        place = viewpoint(toy.framing, 0.0)
        return View((0.0, 1.0, 0.0, 0.0), place, field_of_view(toy.framing), width, height)

    return view


class FakePage:
    """What a browser's page is to the server. `received`: every message so far, as dictionaries."""

    def __init__(self, viewer: Viewer, yaw: float = 0.0, origin: str | None = None) -> None:
        version = f"viser-v{viser.__version__}"
        url = viewer.url.replace("http://", "ws://")
        self._socket = connect(url, subprotocols=[version], origin=origin, max_size=None, compression=None)  # type: ignore[arg-type]
        self._unpack = zstandard.ZstdDecompressor()
        self._viewer = viewer
        self.received: list[dict[str, Any]] = []
        self.look(yaw)

    def look(self, yaw: float, side: int = SIDE, fov: float | None = None) -> None:
        """Turn the camera around the head. 0 and 180 degrees suffice for a test."""
        framing = self._viewer.live.painter.avatar.framing
        self.send(
            "ViewerCameraMessage",
            wxyz=(0.0, 1.0, 0.0, 0.0) if yaw == 0 else (0.0, 0.0, 0.0, 1.0),
            position=viewpoint(framing, yaw),
            fov=field_of_view(framing) if fov is None else fov,
            near=0.01,
            far=100.0,
            image_height=side,
            image_width=side,
            look_at=framing.target,
            up_direction=(0.0, 1.0, 0.0),
        )

    def send(self, kind: str, **content: Any) -> None:
        self._socket.send(msgspec.msgpack.encode({"type": kind, **content}))

    def wait(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next message that is wanted; fails after PATIENCE."""
        end = time.monotonic() + PATIENCE
        while True:
            raw = self._socket.recv(timeout=end - time.monotonic())
            assert isinstance(raw, bytes)
            length = int.from_bytes(raw[8:16], "little")
            content = msgspec.msgpack.decode(self._unpack.decompress(raw[16 : 16 + length]))
            self.received += content["messages"]
            for message in content["messages"]:
                if wanted(message):
                    return dict(message)

    def control(self, kind: str, label: str) -> str:
        """The identity of a control, by its kind and label, among what was received."""
        for message in self.received:
            if message["type"] == kind and message["props"]["label"] == label:
                return str(message["uuid"])
        raise AssertionError(f"no {kind} '{label}'")

    def set(self, kind: str, label: str, value: Any) -> None:
        self.send("GuiUpdateMessage", uuid=self.control(kind, label), updates={"value": value})

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], bool]:
    """Whether a condition becomes true within PATIENCE."""
    return _eventually


def _eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def page_of() -> Callable[[Viewer], FakePage]:
    """Opens a page on any viewer, and waits until its own controls are there, which come last."""
    return _opened


def _opened(viewer: Viewer, yaw: float = 0.0) -> FakePage:
    page = FakePage(viewer, yaw)
    page.wait(lambda m: m["type"] == "GuiButtonMessage" and m["props"]["label"] == "Record a video")
    return page


@pytest.fixture
def open_page(viewer: Viewer) -> Iterator[Callable[..., FakePage]]:
    """Opens pages on the viewer; they are closed in the end."""
    pages: list[FakePage] = []

    def open_one(yaw: float = 0.0) -> FakePage:
        pages.append(_opened(viewer, yaw))
        assert _eventually(lambda: viewer.live.watchers == len(pages))
        return pages[-1]

    yield open_one
    for page in pages:
        page.close()
