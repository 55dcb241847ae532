"""The controls that all pages share: face, head, motion, camera and background."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import viser

from avatarcli.head.expressions import EXPRESSION_NAMES, NAMED_EXPRESSIONS
from avatarcli.head.parameters import HeadParameters
from avatarcli.viewer.live import DrawnBy, LiveView
from avatarcli.viewer.puppet import Puppet
from avatarcli.viewer.webcam import Webcam, no_camera

GROUPS = {
    "Brows": r"brow",
    "Eyes": r"eye(Blink|Squint|Wide)",
    "Look": r"eyeLook",
    "Jaw": r"jaw",
    "Mouth": r"mouth",
    "Cheeks": r"cheek",
    "Nose": r"nose",
    "Tongue": r"tongue",
}
# The head's axes: name, component, degrees each way.
_TURNS = (("Nod", 0, 25.0), ("Turn", 1, 45.0), ("Tilt", 2, 25.0))
_PLACES = (("Sideways", 0), ("Up", 1), ("Ahead", 2))
_REACH = 10.0  # centimetres that the bust can be moved each way
_GAZES = (("Eyes sideways", 30.0), ("Eyes up", 21.0))  # degrees at ARKit's coefficient 1, see `gaze_from_expression`
_SPEEDS = (0.1, 2.0)
_DRAWN_BY: dict[str, DrawnBy] = {"the server": "server", "the browser": "browser"}
_REFRESH = 0.2  # seconds between two updates of sliders that follow a motion
_PLAY, _PAUSE = "Play", "Pause"
_DRIVE, _RELEASE = "Drive with the camera", "Stop the camera"


@dataclass
class _Slider:
    """A slider, and where its value comes from when something else moved the face.

    known: the pose's value when it was last shown. A slider that stands elsewhere was just moved by a hand.
    """

    handle: viser.GuiSliderHandle[float]
    read: Callable[[HeadParameters], float]
    known: float = 0.0


class Panel:
    """Builds the controls, and keeps them showing what the face does.

    camera: the number of the camera for driving, or a video file in its place.
    """

    def __init__(self, server: viser.ViserServer, live: LiveView, *, camera: int | str) -> None:
        self._gui = server.gui
        self._live = live
        self._puppet: Puppet = live.puppet
        self._camera = camera
        self._webcam: Webcam | None = None
        self._sliders: list[_Slider] = []
        self._lock = threading.Lock()  # one change of the controls at a time
        self._closing = threading.Event()
        tabs = self._gui.add_tab_group(order=1)
        with tabs.add_tab("Face"):
            self._add_face()
        with tabs.add_tab("Head"):
            self._add_head()
        with tabs.add_tab("Motion"):
            self._add_motion()
            self._add_camera()
        with tabs.add_tab("Picture"):
            self._add_picture()
        self._thread = threading.Thread(target=self._follow, name="panel", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._closing.set()
        self.release_camera()
        self._thread.join()

    def release_camera(self) -> None:
        """Stop driving with the camera, if it does."""
        webcam, self._webcam = self._webcam, None
        if webcam is not None:
            webcam.stop()

    def _add_face(self) -> None:
        faces = self._gui.add_button_group("Expression", list(NAMED_EXPRESSIONS))
        faces.on_click(lambda event: self._set(lambda: self._puppet.set_face(NAMED_EXPRESSIONS[event.target.value])))
        for title, pattern in GROUPS.items():
            with self._gui.add_folder(title, expand_by_default=False):
                for index, name in enumerate(EXPRESSION_NAMES):
                    if re.match(pattern, name):
                        self._add_weight(index, name)

    def _add_weight(self, index: int, name: str) -> None:
        self._add_slider(
            readable(name),
            (0.0, 1.0),
            lambda value: self._puppet.set_weight(index, value),
            lambda pose: float(pose.expression[0, index]),
        )

    def _add_head(self) -> None:
        for place, (label, limit) in enumerate(_GAZES):
            self._add_gaze(place, label, limit)
        for label, axis, limit in _TURNS:
            self._add_turn(label, axis, limit)
        with self._gui.add_folder("Place (cm)", expand_by_default=False):
            for label, axis in _PLACES:
                self._add_place(label, axis)

    def _add_gaze(self, place: int, label: str, limit: float) -> None:
        def look(value: float) -> None:
            gaze = list(self._puppet.gaze())
            gaze[place] = value / limit
            self._puppet.set_gaze(*gaze)

        self._add_slider(label, (-limit, limit), look, lambda pose: limit * self._puppet.gaze()[place])

    def _add_turn(self, label: str, axis: int, limit: float) -> None:
        self._add_slider(
            label,
            (-limit, limit),
            lambda value: self._puppet.set_neck(axis, math.radians(value)),
            lambda pose: math.degrees(float(pose.neck[0, axis])),
        )

    def _add_place(self, label: str, axis: int) -> None:
        self._add_slider(
            label,
            (-_REACH, _REACH),
            lambda value: self._puppet.set_place(axis, value / 100),
            lambda pose: 100 * float(pose.head_pose[0, axis, 3]),
        )

    def _add_slider(
        self,
        label: str,
        ends: tuple[float, float],
        write: Callable[[float], None],
        read: Callable[[HeadParameters], float],
    ) -> None:
        step = (ends[1] - ends[0]) / 100
        handle = self._gui.add_slider(label, min=ends[0], max=ends[1], step=step, initial_value=0.0)

        def moved(event: viser.GuiEvent[Any]) -> None:
            if event.client is not None:  # a hand, not ourselves
                value = handle.value
                self._set(lambda: write(value), keep=handle)

        handle.on_update(moved)
        self._sliders.append(_Slider(handle, read))

    def _add_motion(self) -> None:
        gui, puppet = self._gui, self._puppet
        clip = gui.add_dropdown("Clip", puppet.clips, initial_value=puppet.clip)
        self._play = gui.add_button(_PLAY)
        self._time = gui.add_slider("Time (s)", min=0.0, max=puppet.duration, step=0.01, initial_value=0.0)
        speed = gui.add_slider("Speed", min=_SPEEDS[0], max=_SPEEDS[1], step=0.1, initial_value=1.0)
        loop = gui.add_checkbox("Again and again", initial_value=True)
        head = gui.add_checkbox("Move the head", initial_value=True)

        def choose(event: viser.GuiEvent[Any]) -> None:
            with self._lock:
                puppet.choose(clip.value)
                _assign(self._time, 0.0)
                self._time.max = puppet.duration
                self._show()

        def play(event: viser.GuiEvent[Any]) -> None:
            self.release_camera()
            self._set(puppet.pause if puppet.playing else puppet.play)

        def seek(event: viser.GuiEvent[Any]) -> None:
            if event.client is not None:
                seconds = self._time.value
                self._set(lambda: puppet.seek(seconds), keep=self._time)

        clip.on_update(choose)
        self._play.on_click(play)
        self._time.on_update(seek)
        speed.on_update(lambda event: puppet.set_speed(speed.value))
        loop.on_update(lambda event: puppet.set_loop(loop.value))
        head.on_update(lambda event: puppet.set_head_motion(head.value))

    def _add_camera(self) -> None:
        gui = self._gui
        problem = no_camera() if isinstance(self._camera, int) else None
        self._drive = gui.add_button(
            _DRIVE, disabled=problem is not None, hint="The camera of the computer that runs this"
        )
        rest = gui.add_button("This is my resting face", visible=False)
        said = gui.add_markdown(f"No driving: {problem}." if problem else "")

        def ended(reason: str | None) -> None:
            self._webcam = None
            self._drive.label, rest.visible = _DRIVE, False
            said.content = f"The camera stopped: {reason}." if reason else ""

        def drive(event: viser.GuiEvent[Any]) -> None:
            if self._webcam is not None:
                self.release_camera()
                return
            said.content = "Look ahead at rest: the first face is the resting one."
            self._drive.label, rest.visible = _RELEASE, True
            self._webcam = Webcam(self._camera, self._puppet.hold, ended)

        def calibrate(event: viser.GuiEvent[Any]) -> None:
            if self._webcam is not None:
                self._webcam.calibrate()

        self._drive.on_click(drive)
        rest.on_click(calibrate)

    def _add_picture(self) -> None:
        gui, live = self._gui, self._live
        red, green, blue = (round(255 * channel) for channel in live.background)
        color = gui.add_rgb("Background", (red, green, blue))
        names = {value: name for name, value in _DRAWN_BY.items()}
        drawn = gui.add_dropdown("Drawn by", tuple(_DRAWN_BY), initial_value=names[live.drawn_by])
        self._state = gui.add_markdown("")

        def paint(event: viser.GuiEvent[Any]) -> None:
            r, g, b = (channel / 255 for channel in color.value)
            live.background = (r, g, b)

        def draw(event: viser.GuiEvent[Any]) -> None:
            live.drawn_by = _DRAWN_BY[drawn.value]

        color.on_update(paint)
        drawn.on_update(draw)

    def _set(self, act: Callable[[], None], keep: object = None) -> None:
        """Do what a hand asked for, and show what it changed everywhere but on the control that it holds."""
        with self._lock:
            act()
            self._show(keep)

    def _show(self, keep: object = None) -> None:
        pose = self._puppet.pose()
        for slider in self._sliders:
            value = slider.read(pose)
            if abs(value - slider.known) > slider.handle.step / 2:
                slider.known = value
                if slider.handle is not keep:
                    _assign(slider.handle, value)
        if self._time is not keep:
            _assign(self._time, self._puppet.position)
        label = _PAUSE if self._puppet.playing else _PLAY
        if self._play.label != label:
            self._play.label = label

    def _follow(self) -> None:
        """While a clip or the camera moves the face, so do the sliders."""
        moved = False
        while not self._closing.wait(_REFRESH):
            if not self._live.watchers:
                continue
            moves = self._puppet.playing or self._webcam is not None
            if moves or moved:
                with self._lock:
                    self._show()
            moved = moves
            state = f"{self._live.rate:.0f} frames/s, {self._live.painter.avatar.count:,} Gaussians"
            if self._state.content != state:
                self._state.content = state


def _assign(handle: viser.GuiSliderHandle[float], value: float) -> None:
    """Put a slider to a value, unless it shows that already."""
    shown = min(max(round(value / handle.step) * handle.step, handle.min), handle.max)
    if abs(shown - handle.value) > handle.step / 2:
        handle.value = shown  # type: ignore[misc]  # mypy does not find viser's setter


def readable(name: str) -> str:
    """mouthSmileLeft -> mouth smile left."""
    return re.sub(r"[A-Z]", lambda letter: f" {letter[0].lower()}", name)
