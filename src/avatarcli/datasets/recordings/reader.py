"""Samples from multi-view recordings: V cameras spread around the person, F consecutive frames, one fitted head."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatarcli.capture.landmarks import FaceLandmarks, detect_face
from avatarcli.capture.portrait import Portrait
from avatarcli.datasets.captured import (
    CapturedSamples,
    FittedPhoto,
    build_sample,
    check_size,
    covered_by_hair,
    cut_out,
    fit_reference,
    framing_of,
    joined,
    show,
    stacked,
)
from avatarcli.datasets.recordings import ava256, nersemble, renderme360, transforms
from avatarcli.datasets.recordings.fit import lay_head
from avatarcli.datasets.recordings.recording import Recording, Still
from avatarcli.diffusion.packing import latent_count
from avatarcli.errors import PhotoError, UsageError
from avatarcli.geometry.cameras import Camera
from avatarcli.head.model import HeadModel, PersonalHead, load_head_model
from avatarcli.multiview.framing import Window
from avatarcli.studio.sample import StudioSample

MultiViewLayout = Literal["nersemble", "renderme360", "ava256", "transforms"]
LAYOUTS: dict[MultiViewLayout, Callable[[Path], list[Recording]]] = {
    "nersemble": nersemble.find,
    "renderme360": renderme360.find,
    "ava256": ava256.find,
    "transforms": transforms.find,
}

_SEARCHED = 12  # cameras in which the face is looked for, spread around; then some beside the best
_BESIDE = 3
_FACES = 4  # cameras whose landmarks are triangulated: those that see the face most squarely
_FRONTAL = 35.0  # degrees of yaw beyond which a picture is no portrait
_ERROR = 0.008  # metres: a head that lies worse on its landmarks was fitted to something else


class MultiViewPeople(CapturedSamples):
    """Samples of all recordings below a folder.

    Raises:
        UsageError: a number cannot work, or the folder is none.
        PhotoError: there is no recording of that layout, or its calibration cannot be used.
    """

    def __init__(self, folder: Path, layout: MultiViewLayout, *, views: int, frames: int, size: int) -> None:
        check_size(size)
        try:
            latent_count(frames)
        except ValueError as error:
            raise UsageError(f"--frames {frames}: {error}") from error
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder of recordings")
        self._recordings = LAYOUTS[layout](folder)
        most = max(len(recording.cameras) for recording in self._recordings)
        if not 1 <= views <= most:
            raise UsageError(f"--views {views}: the recordings have up to {most} cameras")
        self.names = tuple(recording.name for recording in self._recordings)
        self.views = views
        self.settings = {"layout": layout, "size": size, "views": views, "frames": frames}
        self._frames, self._size = frames, size

    @cached_property
    def _model(self) -> HeadModel:
        return load_head_model()

    def read(self, index: int) -> StudioSample:
        recording = self._recordings[index]
        if len(recording.cameras) < self.views:
            raise PhotoError(f"it has {len(recording.cameras)} cameras, not {self.views}")
        count = recording.frame_count()
        if count < self._frames:
            raise PhotoError(f"it has {count} frames, not {self._frames}")
        start = (count - self._frames) // 2
        names = list(recording.cameras)
        every = stacked([recording.cameras[name] for name in names])
        faces = _find_face(recording, names, every, start)
        front = min(faces, key=lambda view: abs(faces[view].yaw) + abs(faces[view].pitch))
        if abs(faces[front].yaw) > _FRONTAL:
            raise PhotoError("no camera sees the face from the front")
        chosen = spread(every, self.views, first=front)
        # The face is followed by the cameras that see it best, whether or not they are among the views.
        watching = sorted(faces, key=lambda view: abs(faces[view].yaw))[:_FACES]
        shots = {view: recording.shots(names[view], start, self._frames) for view in {*chosen, *watching}}
        cameras = {view: _for_picture(recording.cameras[names[view]], shots[view][0]) for view in shots}
        first = shots[front][0]
        reference, track, _ = fit_reference(self._model, first.image, self._size, matte=first.matte)
        seen = [_faces_of({view: shots[view][frame] for view in watching}) for frame in range(self._frames)]
        order = sorted(shots)
        sizes = {view: (cameras[view].width, cameras[view].height) for view in order}
        if len(set(sizes.values())) > 1:
            raise PhotoError("its cameras have pictures of different sizes")
        places = {view: place for place, view in enumerate(order)}
        laid = lay_head(
            self._model,
            track.identity,
            track.residual,
            stacked([cameras[view] for view in order]),
            [{places[view]: face for view, face in found.items()} for found in seen],
        )
        if float(laid.error.nan_to_num(0.0).amax()) > _ERROR:
            raise PhotoError("the cameras' views of the face do not agree: is the calibration right?")
        head = PersonalHead.of(self._model, track)
        framing = framing_of(head, reference)
        pictures, covered, lenses = [], [], []
        for view in chosen:
            whole = laid.cameras[places[view]]
            window = Window.framing(framing, whole)
            camera = window.camera(whole, self._size)
            shown = torch.stack([show(_part(shot, window), self._size) for shot in shots[view]])
            hidden = [
                covered_by_hair(picture, head, laid.parameters[frame : frame + 1], camera)
                for frame, picture in enumerate(shown)
            ]
            pictures.append(shown)
            covered.append(torch.stack(hidden))
            lenses += [camera] * self._frames
        fit = FittedPhoto(head, reference, stacked(lenses), joined([laid.parameters] * len(chosen)))
        return build_sample(index, torch.stack(pictures), torch.stack(covered), [fit])


def spread(cameras: Camera, count: int, first: int) -> list[int]:
    """`count` of V cameras, spread as far around what they look at as can be, beginning with `first`."""
    directions = functional.normalize(cameras.centre - looked_at(cameras), dim=-1)
    chosen = [first]
    nearest = directions @ directions[first]
    while len(chosen) < count:
        nearest[chosen] = 2.0
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, directions @ directions[chosen[-1]])
    return chosen


def looked_at(cameras: Camera) -> Tensor:
    """The point [3] where the optical axes of V cameras come closest; for parallel ones a point between them."""
    axes, centre = cameras.world_to_camera[:, 2, :3].double(), cameras.centre.double()
    across = torch.eye(3, dtype=torch.float64) - axes[..., None] * axes[:, None]
    system = across.sum(0) + 1e-9 * torch.eye(3, dtype=torch.float64)
    middle = centre.mean(0)
    return (torch.linalg.solve(system, (across @ (centre - middle)[..., None]).sum(0))[:, 0] + middle).float()


def _find_face(recording: Recording, names: list[str], cameras: Camera, frame: int) -> dict[int, FaceLandmarks]:
    """The face in one frame of some cameras: several around the person, then those beside the one that sees it best."""

    def look(views: list[int]) -> None:
        for view in views:
            if view not in tried:
                tried.add(view)
                found.update(_faces_of({view: recording.shots(names[view], frame, 1)[0]}))

    tried: set[int] = set()
    found: dict[int, FaceLandmarks] = {}
    look(spread(cameras, min(_SEARCHED, len(names)), first=0))
    if not found:
        raise PhotoError("no camera sees a face")
    best = min(found, key=lambda view: abs(found[view].yaw))
    directions = functional.normalize(cameras.centre - looked_at(cameras), dim=-1)
    look((directions @ directions[best]).argsort(descending=True)[1 : 1 + _BESIDE].tolist())
    return found


def _faces_of(shots: dict[int, Still]) -> dict[int, FaceLandmarks]:
    found = {}
    for view, shot in shots.items():
        with suppress(PhotoError):
            found[view] = detect_face(shot.image)
    return found


def _for_picture(camera: Camera, shot: Still) -> Camera:
    """The camera for pictures that may be smaller than what it was calibrated for."""
    height, width = shot.image.shape[:2]
    return camera.resized(width, height)


def _part(shot: Still, window: Window) -> Portrait:
    image = np.ascontiguousarray(window.of(shot.image))
    if shot.matte is None:
        return Portrait.cut_out(image, np.ones(image.shape[:2], np.float32))
    return cut_out(image, np.ascontiguousarray(window.of(shot.matte)))
