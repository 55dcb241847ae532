"""Avatar → pictures and videos."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from avatarcli.capture.photo import read_picture
from avatarcli.errors import UsageError
from avatarcli.export.images import Frame
from avatarcli.export.origin import Origin
from avatarcli.export.sheet import contact_sheet
from avatarcli.export.video import write_frames, written_size
from avatarcli.gaussians.avatar import Avatar
from avatarcli.gaussians.rasterize import picture_bytes
from avatarcli.geometry.cameras import Camera
from avatarcli.head.expressions import NAMED_EXPRESSIONS, expression_vector
from avatarcli.head.model import still_heads
from avatarcli.head.parameters import HeadParameters
from avatarcli.multiview.framing import Framing
from avatarcli.progress import Progress
from avatarcli.stages.render_request import SWING_SECONDS, Backdrop, RenderRequest, RenderResult, output_kind

# The contact sheet's columns: name, yaw in degrees (positive: the subject's left side comes into view).
SHEET_VIEWS = (("front", 0.0), ("45°", 45.0), ("-45°", -45.0), ("90°", 90.0), ("-90°", -90.0), ("back", 180.0))


def render_avatar(avatar: Path, out: Path, request: RenderRequest, *, device: str, progress: Progress) -> RenderResult:
    """Draw the request of an avatar file into the file or folder `out`."""
    person = Avatar.load(avatar).to(device)
    start = time.perf_counter()
    parameters, cameras = _script(person, request)
    count = len(parameters)
    with progress.task("render", count) as advance, torch.inference_mode():

        def frames() -> Iterator[Frame]:
            for frame in _film(person, parameters, cameras, request.background):
                yield frame
                advance(1)

        origin = Origin.of_avatar(person.provenance.get("photo_sha256"))
        size = request.width_height
        if request.sheet:
            sheet = _sheet(list(frames()))
            size = (sheet.shape[1], sheet.shape[0])
            write_frames(out, [sheet], request.fps, origin=origin)
        else:
            write_frames(out, frames(), request.fps, origin=origin)
        if written_size(out, size) != size:
            size = written_size(out, size)
            progress.info(f"the video has {size[0]} × {size[1]} pixels: MP4 wants even sides, the edge is repeated")
    return RenderResult(
        path=out,
        kind=output_kind(out, request),
        frames=1 if request.sheet else count,
        size=size,
        fps=request.fps if request.moving else None,
        seconds=time.perf_counter() - start,
        origin=origin,
    )


def draw_frames(avatar: Avatar, request: RenderRequest) -> Iterator[Frame]:
    """The pictures of a request one after another, drawn on the device that the avatar is on; see `picture_bytes`."""
    return _film(avatar, *_script(avatar, request), request.background)


def _film(avatar: Avatar, parameters: HeadParameters, cameras: Camera, background: Backdrop) -> Iterator[Frame]:
    color = torch.tensor(background) if isinstance(background, tuple) else None
    picture = _cut_to_fit(background, cameras) if isinstance(background, Path) else None
    for drawn in avatar.film(avatar.rig(), parameters, cameras, color):
        frame = picture_bytes(drawn, opaque=color is not None)
        yield frame if picture is None else _over(frame, picture)


def _cut_to_fit(picture: Path, cameras: Camera) -> Frame:
    """The middle of a picture, as large as fits, in the size that cameras take. Raises PhotoError."""
    fitted = ImageOps.fit(Image.fromarray(read_picture(picture)), (cameras.width, cameras.height))
    return np.asarray(fitted)


def _over(frame: Frame, picture: Frame) -> Frame:
    """A frame [H, W, 4] with straight alpha over an opaque picture [H, W, 3]."""
    alpha = frame[..., 3:].astype(np.float32) / 255
    mixed: Frame = (frame[..., :3] * alpha + picture * (1 - alpha)).round().astype(np.uint8)
    return mixed


def _script(avatar: Avatar, request: RenderRequest) -> tuple[HeadParameters, Camera]:
    """What every picture shows: head parameters and cameras, on the avatar's device."""
    device = avatar.means.device
    if request.sheet:
        columns = [yaw for _ in NAMED_EXPRESSIONS for _, yaw in SHEET_VIEWS]
        faces = [expression_vector(weights) for weights in NAMED_EXPRESSIONS.values() for _ in SHEET_VIEWS]
        parameters = still_heads(torch.tensor(faces))
        angles = torch.tensor([[yaw, request.elevation] for yaw in columns])
    elif request.moving or request.at is not None:
        parameters = _motion(request)
        yaws = _turning(request, len(parameters))
        angles = torch.stack([yaws, torch.full_like(yaws, request.elevation)], dim=-1)
    else:
        angles = torch.tensor(request.views)
        parameters = still_heads(torch.tensor([expression_vector(request.expression)]).repeat(len(angles), 1))
    yaw, pitch = torch.deg2rad(angles).unbind(-1)
    return parameters.to(device), _cameras(avatar.framing.closer(request.zoom), yaw, pitch, request).to(device)


def _cameras(framing: Framing, yaw: Tensor, pitch: Tensor, request: RenderRequest) -> Camera:
    """Cameras at yaw, pitch [T] (radians). In a picture that is no square the bust fills the shorter side and stands on the
    lower edge, where it ends."""
    width, height = request.width_height
    side = min(width, height)
    return framing.cameras(yaw, pitch, side).cropped((side - width) / 2, side - height, width, height)


def _turning(request: RenderRequest, count: int) -> Tensor:
    """Where a moving camera is in each of `count` frames: degrees to the subject's left [T]."""
    passed = torch.arange(count) / count
    if request.swing is None:
        return request.yaw + passed * (request.orbit or 0.0)
    times = max(1, round(count / request.fps / SWING_SECONDS))
    return request.yaw + request.swing * torch.sin(2 * math.pi * times * passed)


def _motion(request: RenderRequest) -> HeadParameters:
    """Head parameters of a moving picture: the clip's (repeated or cut to the wanted length), or one face held."""
    if request.clip is None:
        face = torch.tensor([expression_vector(request.expression)])
        return still_heads(face.repeat(request.frames(), 1))
    clip = request.clip.resample(request.fps)
    parameters = clip.parameters(request.head_motion)
    if request.at is not None:
        if not 0 <= request.at <= clip.duration:
            raise UsageError(f"--at {request.at:g}: the clip lasts {clip.duration:.2f} s")
        return parameters[torch.tensor([min(round(request.at * request.fps), len(parameters) - 1)])]
    return parameters[torch.arange(request.frames(clip.duration)) % len(parameters)]


def _sheet(frames: list[Frame]) -> Frame:
    width = len(SHEET_VIEWS)
    rows = [frames[start : start + width] for start in range(0, len(frames), width)]
    return contact_sheet(rows, list(NAMED_EXPRESSIONS), [name for name, _ in SHEET_VIEWS])
