"""The library's few entry points, `avatarcli.create`, `load` and `render`: what scripts need of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avatarcli.config import DeviceName, PresetName, resolve
from avatarcli.gaussians.avatar import Avatar
from avatarcli.progress import Progress, SilentProgress
from avatarcli.settings import Layer
from avatarcli.stages.artefacts import AVATAR_FILE
from avatarcli.stages.naming import name_subjects
from avatarcli.stages.pipeline import RunOptions, run_pipeline
from avatarcli.stages.render import draw_frames
from avatarcli.stages.render_request import WHITE, Background, RenderRequest, check_expression
from avatarcli.workspace import Workspace


def create(
    photo: str | Path,
    *,
    subject: str | None = None,
    workspace: str | Path | None = None,
    preset: PresetName = "standard",
    settings: Mapping[str, Any] | None = None,
    device: DeviceName = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> Avatar:
    """The avatar of a photo, as `avatar create` makes it; what is up to date in the workspace is not made again.

    photo: or a film of somebody turning. subject: its name; None: the photo's. workspace: None is `$AVATAR_WORKSPACE`, else
    `./avatars`. settings: over those of the preset, such as `{"distill": {"gaussians": 60_000}}`. progress: told what
    happens; None says nothing.

    Raises:
        AvatarError: one line that says what is wrong with the photo, the name, the settings or the workspace.
    """
    photo, progress = Path(photo), progress or SilentProgress()
    place = _workspace(workspace)
    name = subject or name_subjects(place, [photo], progress=progress)[photo]
    config = resolve(preset, [Layer("settings", settings or {}), Layer("seed", {"seed": seed})])
    result = run_pipeline(place.new_subject(name), photo, config, RunOptions(device, progress))
    return Avatar.load(result.subject.whole("distill", AVATAR_FILE))


def load(avatar: str | Path | None = None, *, workspace: str | Path | None = None) -> Avatar:
    """An avatar that was made before: the path of its `avatar.safetensors`, or its name in the workspace.

    None is the last one made. workspace: as of `create`.

    Raises:
        AvatarError: there is none, or it is damaged.
    """
    if avatar is not None and Path(avatar).is_file():
        return Avatar.load(Path(avatar))
    name = None if avatar is None else str(avatar)
    return Avatar.load(_workspace(workspace).subject(name).whole("distill", AVATAR_FILE))


def render(
    avatar: Avatar,
    *,
    yaw: float = 0.0,
    pitch: float = 0.0,
    expression: Mapping[str, float] | None = None,
    size: int = 512,
    background: Background = WHITE,
) -> NDArray[np.uint8]:
    """A picture [size, size, 3] of an avatar, or [size, size, 4] with straight alpha where `background` is None.

    yaw, pitch: degrees, positive where the subject's left side and the top of the head come into view. expression: weights
    in [0, 1] by ARKit's names. background: sRGB in [0, 1]. It is drawn on the device that the avatar is on.

    Raises:
        UsageError: the size, an angle or an expression is out of range, or has no such name.
    """
    faces = dict(expression or {})
    check_expression(faces)
    request = RenderRequest(views=((yaw, pitch),), size=size, expression=faces, background=background)
    with torch.inference_mode():
        return next(draw_frames(avatar, request))


def _workspace(root: str | Path | None) -> Workspace:
    return Workspace(None if root is None else Path(root))
