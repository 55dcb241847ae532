"""Avatar → pictures and videos."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import torch

from avatarcli import __version__
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
from avatarcli.progress import Progress
from avatarcli.stages.render_request import Background, RenderRequest, RenderResult, output_kind

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

        origin = Origin(
            title="Synthetic head avatar",
            tool_version=__version__,
            source="compositeSynthetic",
            photo_sha256=person.provenance.get("photo_sha256"),
        )
        size = (request.size, request.size)
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
    )


def draw_frames(avatar: Avatar, request: RenderRequest) -> Iterator[Frame]:
    """The pictures of a request one after another, drawn on the device that the avatar is on; see `picture_bytes`."""
    return _film(avatar, *_script(avatar, request), request.background)


def _film(avatar: Avatar, parameters: HeadParameters, cameras: Camera, background: Background) -> Iterator[Frame]:
    backdrop = None if background is None else torch.tensor(background)
    for drawn in avatar.film(avatar.rig(), parameters, cameras, backdrop):
        yield picture_bytes(drawn, opaque=backdrop is not None)


def _script(avatar: Avatar, request: RenderRequest) -> tuple[HeadParameters, Camera]:
    """What every picture shows: head parameters and cameras, on the avatar's device."""
    device = avatar.means.device
    if request.sheet:
        yaws = [yaw for _ in NAMED_EXPRESSIONS for _, yaw in SHEET_VIEWS]
        faces = [expression_vector(weights) for weights in NAMED_EXPRESSIONS.values() for _ in SHEET_VIEWS]
        parameters = still_heads(torch.tensor(faces))
        angles = torch.tensor([[yaw, request.elevation] for yaw in yaws])
    elif request.moving:
        parameters = _motion(request)
        turn = torch.arange(len(parameters)) / len(parameters) * (request.orbit or 0.0)
        angles = torch.stack([turn, torch.full_like(turn, request.elevation)], dim=-1)
    else:
        angles = torch.tensor(request.views)
        parameters = still_heads(torch.tensor([expression_vector(request.expression)]).repeat(len(angles), 1))
    yaw, pitch = torch.deg2rad(angles).unbind(-1)
    return parameters.to(device), avatar.framing.cameras(yaw, pitch, request.size).to(device)


def _motion(request: RenderRequest) -> HeadParameters:
    """Head parameters of a moving picture: the clip's (repeated or cut to the wanted length), or one face held."""
    if request.clip is None:
        face = torch.tensor([expression_vector(request.expression)])
        return still_heads(face.repeat(request.frames(), 1))
    clip = request.clip.resample(request.fps)
    parameters = clip.parameters(request.head_motion)
    return parameters[torch.arange(request.frames(clip.duration)) % len(parameters)]


def _sheet(frames: list[Frame]) -> Frame:
    width = len(SHEET_VIEWS)
    rows = [frames[start : start + width] for start in range(0, len(frames), width)]
    return contact_sheet(rows, list(NAMED_EXPRESSIONS), [name for name, _ in SHEET_VIEWS])
