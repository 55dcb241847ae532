"""Shows a subject's avatar live on a page, until it is interrupted."""

from __future__ import annotations

import time
import webbrowser
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import viser

from avatarcli.clips.clip import Clip
from avatarcli.clips.files import load_clip, shipped_clips
from avatarcli.config import DeviceName
from avatarcli.devices import resolve_device
from avatarcli.errors import DeviceError
from avatarcli.gaussians.avatar import Avatar
from avatarcli.geometry.colors import Color
from avatarcli.progress import Progress
from avatarcli.stages.artefacts import AVATAR_FILE
from avatarcli.viewer.address import page_address
from avatarcli.viewer.gate import Gate
from avatarcli.viewer.live import LiveView
from avatarcli.viewer.painter import Painter, field_of_view, viewpoint
from avatarcli.viewer.panel import Panel
from avatarcli.viewer.personal import PersonalPanel
from avatarcli.viewer.puppet import Puppet
from avatarcli.viewer.server import open_server
from avatarcli.workspace import Subject

_LOOK_AFTER = 0.5  # seconds between two looks at whether all is well


@dataclass(frozen=True)
class ViewRequest:
    """How to show an avatar.

    host: the address to listen on; anything but this computer's own needs the token in the URL, which `token` asks for there too.
    port: None: the first free one.
    clips: by their names, beside the shipped examples. camera: number of the camera that may drive the face, or a video
    file in its place.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    background: Color = (1.0, 1.0, 1.0)
    clips: Mapping[str, Clip] = field(default_factory=dict)
    camera: int | str = 0
    open_browser: bool = True
    token: bool = False


def view_subject(
    subject: Subject, request: ViewRequest, *, device: DeviceName, progress: Progress, ready: Callable[[str, str], None]
) -> None:
    """Serve the subject's avatar until Ctrl-C. ready: called with the page's URL and the device when it can be opened.

    Raises:
        AvatarError: there is no whole avatar, the address or port cannot be had, or the GPU's memory is full.
    """
    path = subject.whole("distill", AVATAR_FILE)
    computes_on = resolve_device(device, progress)
    # Posing is many small steps: a second thread gains a sixth on an idle machine, and where a browser works beside it waits at
    # every one of them. The rasteriser has threads of its own.
    torch.set_num_threads(1)
    viewer = Viewer(Avatar.load(path).to(computes_on), subject.name, request)
    try:
        ready(viewer.url, computes_on)
        if request.open_browser:
            webbrowser.open(viewer.url)
        while viewer.live.failure is None:
            time.sleep(_LOOK_AFTER)
    except KeyboardInterrupt:
        pass  # how it is meant to end
    finally:
        viewer.stop()
    if type(viewer.live.failure).__name__ == "OutOfMemoryError":
        raise DeviceError("the GPU ran out of memory: use --device cpu") from viewer.live.failure
    if viewer.live.failure is not None:
        raise viewer.live.failure


class Viewer:
    """A server that shows one avatar: running from its making to `stop`.

    Everybody shares the avatar, its face and its clip; everybody has a camera, screenshots and recordings of their own.
    """

    def __init__(self, avatar: Avatar, name: str, request: ViewRequest) -> None:
        self._name = name
        self._personal: dict[int, PersonalPanel] = {}
        clips = {**request.clips, **{name: load_clip(path) for name, path in shipped_clips().items()}}
        gate = Gate.for_host(request.host, token=request.token)
        self._server = open_server(request.host, request.port, gate, name)
        self.url = page_address(request.host, self._server.get_port(), gate)
        self.puppet = Puppet(clips, changed=lambda: self.live.touch())
        self.live = LiveView(
            self._server,
            Painter(avatar),
            # Without a GPU here the one of the browser draws better than our processor.
            drawn_by="server" if avatar.means.is_cuda else "browser",
            background=request.background,
            puppet=self.puppet,
        )
        self._set_up_scene(avatar)
        self._panel = Panel(self._server, self.live, camera=request.camera)
        self._server.on_client_connect(self._joined)
        self._server.on_client_disconnect(self._left)
        self.live.start()

    def stop(self) -> None:
        """Close every page's connection and end every thread."""
        for personal in list(self._personal.values()):
            personal.close()
        self._panel.stop()
        self.live.stop()
        self._server.stop()

    def _set_up_scene(self, avatar: Avatar) -> None:
        server, framing = self._server, avatar.framing
        server.scene.set_up_direction("+y")
        server.initial_camera.position = viewpoint(framing, 0.0)
        server.initial_camera.look_at = framing.target
        server.initial_camera.fov = field_of_view(framing)
        server.gui.main_panel.dock_right()
        server.gui.configure_theme(show_logo=False, show_share_button=False)

    def _joined(self, client: viser.ClientHandle) -> None:
        self._personal[client.client_id] = PersonalPanel(client, self.live, self._name)
        self.live.joined(client)

    def _left(self, client: viser.ClientHandle) -> None:
        self.live.left(client)
        personal = self._personal.pop(client.client_id, None)
        if personal is not None:
            personal.close()
        if not self._personal:  # nobody looks: let go of the camera
            self._panel.release_camera()
