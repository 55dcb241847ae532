"""The running viewer, over real HTTP and websockets."""

from __future__ import annotations

import gzip
import io
import math
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from avatarcli.errors import UsageError
from avatarcli.gaussians.avatar import Avatar
from avatarcli.head.expressions import EXPRESSION_INDEX
from avatarcli.head.parameters import HeadParameters
from avatarcli.stages.view import Viewer, ViewRequest
from avatarcli.viewer.webcam import no_camera

Opener = Callable[..., Any]
Eventually = Callable[[Callable[[], bool]], bool]


def picture(page: Any, corner: tuple[int, int, int]) -> NDArray[np.int64]:
    """A picture that a page got or gets, whose corner has about this color, in 64 × 64 pixels: motion is drawn smaller."""

    def fits(message: dict[str, Any]) -> bool:
        if message["type"] != "BackgroundImageMessage" or message["rgb_data"] is None:
            return False
        return bool(np.abs(decoded(message)[2, 2] - corner).max() < 12)

    return decoded(next(filter(fits, page.received), None) or page.wait(fits))


def decoded(message: dict[str, Any]) -> NDArray[np.int64]:
    with Image.open(io.BytesIO(message["rgb_data"])) as image:
        assert image.width == image.height
        return np.asarray(image.convert("RGB").resize((64, 64))).astype(np.int64)


def status(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def websocket_status(url: str, origin: str | None = None) -> int:
    try:
        with connect(url.replace("http://", "ws://"), origin=origin):  # type: ignore[arg-type]
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def test_only_our_own_page_gets_in(viewer: Viewer) -> None:
    place = urlsplit(viewer.url).netloc
    assert viewer.url.startswith("http://127.0.0.1:")
    assert status(viewer.url) == websocket_status(viewer.url) - 101 + 200 == 200
    assert websocket_status(viewer.url, f"http://{place}") == 101
    assert websocket_status(viewer.url, "http://evil.example") == 403
    assert status(viewer.url, Host="evil.example") == 403


def test_other_addresses_need_the_token(toy: Avatar) -> None:
    viewer = Viewer(toy, "toy", ViewRequest(host="0.0.0.0", port=0))
    try:
        parts = urlsplit(viewer.url)
        token = parts.path.strip("/")
        base = f"http://127.0.0.1:{parts.port}"
        for path in ("", "/", "/index.html", f"/{token[:-1]}/", f"/x{token}/", f"/?token={token}"):
            assert (status(base + path), websocket_status(base + path)) == (403, 403), path
        for path in (f"/{token}", f"/{token}/"):
            assert (status(base + path), websocket_status(base + path)) == (200, 101), path
        # A proxy may take its prefix off the path or leave it there, and give any name and origin.
        assert status(f"{base}/prefix/{token}/", Host="proxy.example") == 200
        assert websocket_status(f"{base}/prefix/{token}", "https://proxy.example") == 101
        assert status(f"{base}/{token}/secret.txt") == 404
        with urllib.request.urlopen(f"{base}/{token}/") as answer:
            assert answer.headers["Referrer-Policy"] == "no-referrer"
    finally:
        viewer.stop()


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_the_page_has_our_title(viewer: Viewer, encoding: str) -> None:
    asked = urllib.request.Request(viewer.url, headers={"Accept-Encoding": encoding})
    with urllib.request.urlopen(asked) as answer:
        body = answer.read()
        assert answer.headers["Content-Length"] == str(len(body))
        assert answer.headers["Content-Encoding"] == encoding
    page = gzip.decompress(body) if encoding == "gzip" else body
    assert "<title>toy · avatarcli</title>".encode() in page
    assert b"<title>Viser</title>" not in page
    assert page.index(b"itemSize === 2") < page.index(b"<body")  # before viser's own program starts
    assert page.rstrip().endswith(b"</html>")


def test_browsers_get_gaussians_that_follow_the_sliders(viewer: Viewer, open_page: Opener) -> None:
    page = open_page()
    cloud = next((m for m in page.received if m["type"] == "GaussianSplatsMessage"), None)
    if cloud is None:
        page.wait(lambda m: m["type"] == "GaussianSplatsMessage")
    page.set("GuiSliderMessage", "jaw open", 0.75)
    page.wait(lambda m: m["type"] == "SceneNodeUpdateMessage" and "buffer" in m["updates"])
    assert float(viewer.puppet.pose().expression[0, EXPRESSION_INDEX["jawOpen"]]) == 0.75


def test_every_page_has_a_camera_of_its_own(viewer: Viewer, open_page: Opener) -> None:
    viewer.live.drawn_by = "server"
    pages = open_page(), open_page(180.0)
    front, back = (picture(page, (0, 0, 255)) for page in pages)
    assert np.abs(front - back).mean() > 5
    viewer.live.background = (1.0, 0.0, 0.0)
    red_front, red_back = (picture(page, (255, 0, 0)) for page in pages)
    assert np.abs(red_front - red_back).mean() > 5
    middle = slice(28, 36)
    assert np.abs(red_front - front)[middle, middle].mean() < 8  # only what is behind the head changed


def test_controls_show_what_others_did(viewer: Viewer, open_page: Opener, eventually: Eventually) -> None:
    one, other = open_page(), open_page()
    one.send("GuiUpdateMessage", uuid=one.control("GuiButtonGroupMessage", "Expression"), updates={"value": "smile"})
    smile = other.control("GuiSliderMessage", "mouth smile left")
    told = other.wait(lambda m: m["type"] == "GuiUpdateMessage" and m["uuid"] == smile)
    assert told["updates"]["value"] == pytest.approx(0.8)
    one.set("GuiSliderMessage", "Turn", 20.0)
    turn = other.control("GuiSliderMessage", "Turn")
    told = other.wait(lambda m: m["type"] == "GuiUpdateMessage" and m["uuid"] == turn)
    assert told["updates"]["value"] == pytest.approx(20.0)
    # Viser tells the other pages before it tells us.
    assert eventually(lambda: float(viewer.puppet.pose().neck[0, 1]) == pytest.approx(math.radians(20)))


def test_a_clip_plays_and_its_timeline_moves(viewer: Viewer, open_page: Opener, eventually: Eventually) -> None:
    page = open_page()
    page.set("GuiButtonMessage", "Play", True)
    assert eventually(lambda: viewer.puppet.playing)
    line = page.control("GuiSliderMessage", "Time (s)")
    page.wait(lambda m: m["type"] == "GuiUpdateMessage" and m["uuid"] == line and m["updates"].get("value", 0) > 0.3)
    page.set("GuiSliderMessage", "jaw open", 0.5)
    assert eventually(lambda: not viewer.puppet.playing)


def test_a_camera_drives_and_lets_go(toy: Avatar, nodding: Path, eventually: Eventually, page_of: Opener) -> None:
    viewer = Viewer(toy, "toy", ViewRequest(port=0, camera=str(nodding)))
    page = page_of(viewer)
    try:
        page.set("GuiButtonMessage", "Drive with the camera", True)
        assert eventually(lambda: float(viewer.puppet.pose().neck[0, 2]) > math.radians(12))
        page.wait(lambda m: m["type"] == "GuiUpdateMessage" and "sends no more" in str(m["updates"].get("_markdown")))
        assert eventually(lambda: not any(thread.name == "webcam" for thread in threading.enumerate()))
    finally:
        page.close()
        viewer.stop()


def test_without_a_camera_the_button_says_so(open_page: Opener) -> None:
    button = next(
        m
        for m in open_page().received
        if m["type"] == "GuiButtonMessage" and m["props"]["label"] == "Drive with the camera"
    )
    assert button["props"]["disabled"] == (no_camera() is not None)


def test_a_recording_comes_as_a_download(viewer: Viewer, open_page: Opener) -> None:
    page = open_page()
    page.set("GuiButtonMessage", "Record a video", True)
    button = page.control("GuiButtonMessage", "Record a video")
    page.wait(lambda m: m["type"] == "GuiUpdateMessage" and m["uuid"] == button)
    page.set("GuiButtonMessage", "Record a video", True)
    start = page.wait(lambda m: m["type"] == "FileTransferStartDownload")
    assert start["filename"].endswith(".mp4")
    parts = [m for m in page.received if m["type"] == "FileTransferPart"]
    while len(parts) < start["part_count"]:
        parts.append(page.wait(lambda m: m["type"] == "FileTransferPart"))
    content = b"".join(part["content"] for part in parts)
    assert len(content) == start["size_bytes"]
    assert content[4:8] == b"ftyp"


def test_a_closed_page_leaves_nothing_behind(viewer: Viewer, open_page: Opener, eventually: Eventually) -> None:
    page = open_page()
    page.set("GuiButtonMessage", "Record a video", True)
    assert eventually(lambda: any(thread.name == "take" for thread in threading.enumerate()))
    page.close()
    assert eventually(lambda: viewer.live.watchers == 0)
    assert eventually(lambda: not any(thread.name == "take" for thread in threading.enumerate()))


def test_a_failure_is_handed_on_and_ends_the_drawing(viewer: Viewer, open_page: Opener, eventually: Eventually) -> None:
    page = open_page()
    assert eventually(lambda: viewer.live.rate > 0)
    viewer.puppet.hold(HeadParameters(*(torch.zeros(0) for _ in range(4))))  # no frame at all
    assert eventually(lambda: viewer.live.failure is not None)
    assert eventually(lambda: not any(thread.name == "live view" for thread in threading.enumerate()))
    page.close()


def test_a_page_without_a_size_or_an_angle_is_no_failure(viewer: Viewer, open_page: Opener) -> None:
    viewer.live.drawn_by = "server"
    page = open_page()
    page.look(0.0, side=0, fov=0.0)
    viewer.puppet.set_weight(3, 1.0)
    page.look(0.0)
    picture(page, (0, 0, 255))
    assert viewer.live.failure is None


def test_stopping_ends_every_thread_and_frees_the_port(toy: Avatar, eventually: Eventually) -> None:
    before = set(threading.enumerate())
    viewer = Viewer(toy, "toy", ViewRequest(port=0))
    port = urlsplit(viewer.url).port
    assert {thread.name for thread in set(threading.enumerate()) - before} >= {"live view", "panel"}
    viewer.stop()
    assert eventually(lambda: not set(threading.enumerate()) - before)
    again = Viewer(toy, "toy", ViewRequest(port=port))
    assert urlsplit(again.url).port == port
    again.stop()


def test_a_port_in_use(toy: Avatar) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"--port {port} is in use"):
            Viewer(toy, "toy", ViewRequest(port=port))


def test_without_a_port_the_next_free_one(toy: Avatar) -> None:
    one, other = (Viewer(toy, "toy", ViewRequest()) for _ in range(2))
    try:
        assert urlsplit(one.url).port != urlsplit(other.url).port
        assert status(other.url) == 200
    finally:
        one.stop()
        other.stop()


@pytest.mark.parametrize("host", ["192.0.2.77", "no.such.host.invalid"])
def test_an_address_that_is_not_ours(toy: Avatar, host: str) -> None:
    with pytest.raises(UsageError, match=f"--host {host}"):
        Viewer(toy, "toy", ViewRequest(host=host, port=0))
