"""What the face does now, and who moves it: the sliders, a clip on its timeline, or a camera."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from avatarcli.clips.clip import Clip
from avatarcli.head.expressions import EXPRESSION_INDEX, expression_vector
from avatarcli.head.model import gaze_from_expression
from avatarcli.head.parameters import HeadParameters
from avatarcli.viewer.timeline import Timeline

# Who turns which way when both eyes look to the subject's left or up: (adds, takes away) by coefficient.
_SIDEWAYS = (("eyeLookOutLeft", "eyeLookInRight"), ("eyeLookInLeft", "eyeLookOutRight"))
_UPWARD = (("eyeLookUpLeft", "eyeLookUpRight"), ("eyeLookDownLeft", "eyeLookDownRight"))


class Puppet:
    """The pose that all who watch share. Every method may be called from any thread.

    A pose is a single frame of HeadParameters. It is held still, as sliders or a camera left it, or it is the clip's at the
    timeline's position. Touching a slider takes the pose over from the clip as it is at that moment.

    clips: by name, at least one. changed: called after every change, from the thread that made it.
    """

    def __init__(
        self,
        clips: Mapping[str, Clip],
        *,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clips = dict(clips)
        self._changed = changed
        self._clock = clock
        self._lock = threading.RLock()
        self._head_motion = True
        self._held: HeadParameters | None = HeadParameters.at_rest()
        self._clip = next(iter(clips))
        self._frames = self._clips[self._clip].parameters()
        self._timeline = Timeline(self._clips[self._clip].duration)

    @property
    def clips(self) -> tuple[str, ...]:
        return tuple(self._clips)

    @property
    def clip(self) -> str:
        """The name of the clip on the timeline."""
        return self._clip

    def pose(self) -> HeadParameters:
        """What the face does now."""
        with self._lock:
            if self._held is not None:
                return self._held
            return between(self._frames, self._timeline.position(self._clock()) * self._clips[self._clip].fps)

    @property
    def playing(self) -> bool:
        """Whether the clip moves the face now."""
        with self._lock:
            return self._held is None and self._timeline.playing(self._clock())

    @property
    def position(self) -> float:
        """Seconds into the clip."""
        with self._lock:
            return self._timeline.position(self._clock())

    @property
    def duration(self) -> float:
        """Seconds of the clip."""
        return self._timeline.duration

    def hold(self, pose: HeadParameters) -> None:
        """Take a pose and stay there."""
        with self._lock:
            self._timeline = self._timeline.pause(self._clock())
            self._held = pose
        self._changed()

    def set_weight(self, index: int, weight: float) -> None:
        """One expression coefficient, by its place in EXPRESSION_NAMES."""
        self._set_weights({index: weight})

    def set_face(self, weights: Mapping[str, float]) -> None:
        """All coefficients: those named, zero for the rest. Head and neck stay as they are."""
        expression = torch.tensor([expression_vector(weights)])
        with self._lock:
            self.hold(replace(self.pose(), expression=expression, gaze=gaze_from_expression(expression)))

    def set_gaze(self, sideways: float, upward: float) -> None:
        """Both eyes look to the subject's left and up, each in [-1, 1] of what ARKit's coefficients reach; lids follow."""
        weights = {}
        for amount, (adds, takes) in ((sideways, _SIDEWAYS), (upward, _UPWARD)):
            weights.update({EXPRESSION_INDEX[name]: max(amount, 0.0) for name in adds})
            weights.update({EXPRESSION_INDEX[name]: max(-amount, 0.0) for name in takes})
        self._set_weights(weights)

    def gaze(self) -> tuple[float, float]:
        """Where both eyes look together, in the units of `set_gaze`."""
        expression = self.pose().expression[0]

        def mean(names: tuple[str, ...]) -> float:
            return sum(float(expression[EXPRESSION_INDEX[name]]) for name in names) / len(names)

        return mean(_SIDEWAYS[0]) - mean(_SIDEWAYS[1]), mean(_UPWARD[0]) - mean(_UPWARD[1])

    def set_neck(self, axis: int, radians: float) -> None:
        """One component of the neck's rotation vector: 0 nods, 1 turns, 2 tilts."""
        with self._lock:
            pose = self.pose()
            neck = pose.neck.clone()
            neck[0, axis] = radians
            self.hold(replace(pose, neck=neck))

    def set_place(self, axis: int, metres: float) -> None:
        """Where the bust stands: 0 to the subject's left, 1 up, 2 ahead."""
        with self._lock:
            pose = self.pose()
            head_pose = pose.head_pose.clone()
            head_pose[0, axis, 3] = metres
            self.hold(replace(pose, head_pose=head_pose))

    def choose(self, name: str) -> None:
        """Put a clip on the timeline, at its beginning, playing if the last one was."""
        with self._lock:
            now, old = self._clock(), self._timeline
            playing = self._held is None and old.playing(now)
            self._clip = name
            self._frames = self._clips[name].parameters(self._head_motion)
            self._timeline = replace(
                old, duration=self._clips[name].duration, start=0.0, since=now if playing else None
            )
        self._changed()

    def play(self) -> None:
        """Let the clip go on from where it stands, in place of a face that is held."""
        with self._lock:
            self._held = None
            self._timeline = self._timeline.play(self._clock())
        self._changed()

    def pause(self) -> None:
        self.hold(self.pose())

    def seek(self, seconds: float) -> None:
        """Show the clip at that moment."""
        with self._lock:
            if self._held is not None:
                self._timeline = self._timeline.pause(self._clock())
            self._held = None
            self._timeline = self._timeline.seek(seconds, self._clock())
        self._changed()

    def set_speed(self, speed: float) -> None:
        with self._lock:
            self._timeline = self._timeline.at_speed(speed, self._clock())

    def set_loop(self, loop: bool) -> None:
        with self._lock:
            self._timeline = self._timeline.looping(loop, self._clock())
        self._changed()

    def set_head_motion(self, head_motion: bool) -> None:
        """Whether clips also turn and move the head."""
        with self._lock:
            self._head_motion = head_motion
            self._frames = self._clips[self._clip].parameters(head_motion)
        self._changed()

    def _set_weights(self, weights: Mapping[int, float]) -> None:
        with self._lock:
            pose = self.pose()
            expression = pose.expression.clone()
            for index, weight in weights.items():
                expression[0, index] = weight
            # What the eyes do beyond their coefficients, as a clip may have it, stays.
            gaze = pose.gaze + gaze_from_expression(expression) - gaze_from_expression(pose.expression)
            self.hold(replace(pose, expression=expression, gaze=gaze))


def between(frames: HeadParameters, place: float) -> HeadParameters:
    """The pose at a place between frames, counted in frames; the last one is held. Linear, which serves for the small turns
    between two frames."""
    first = min(int(place), len(frames) - 1)
    second = min(first + 1, len(frames) - 1)
    share = min(place - first, 1.0)

    def mix(values: Tensor) -> Tensor:
        return torch.lerp(values[first : first + 1], values[second : second + 1], share)

    return HeadParameters(mix(frames.expression), mix(frames.gaze), mix(frames.neck), mix(frames.head_pose))
