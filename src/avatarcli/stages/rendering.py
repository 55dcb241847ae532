"""Renders a subject of the workspace to a file or folder, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from avatarcli.config import DeviceName
from avatarcli.devices import resolve_device
from avatarcli.errors import DeviceError
from avatarcli.export.formats import OutputKind, endings
from avatarcli.files import check_place, explain_io_error, finished_output
from avatarcli.progress import Progress
from avatarcli.stages.artefacts import AVATAR_FILE
from avatarcli.stages.render_request import RenderRequest, RenderResult, output_kind
from avatarcli.workspace import Subject

if TYPE_CHECKING:
    from avatarcli.export.origin import Origin


_FOLDER_MEND = "replace its frames with --overwrite, delete it or name another"


def check_render(
    subject: Subject, out: Path, request: RenderRequest, *, overwrite: bool = False
) -> tuple[OutputKind, Path]:
    """The format and the avatar's file of a rendering that can be made. Takes a moment. overwrite: as of `render_subject`.

    Raises:
        AvatarError: there is no whole avatar, the request does not fit the format, or something stands in the way.
    """
    from avatarcli.export.video import check_output

    if isinstance(request.background, Path):
        from avatarcli.capture.photo import check_photo

        check_photo(request.background)
    kind = output_kind(out, request)
    check_output(out, transparent=request.background is None, fps=request.fps)
    check_place(out, folder=kind == "frames", replaceable=_replaceable(overwrite), mend=_FOLDER_MEND)
    return kind, subject.whole("distill", AVATAR_FILE)


def render_subject(
    subject: Subject,
    out: Path,
    request: RenderRequest,
    *,
    device: DeviceName,
    progress: Progress,
    sound: Path | None = None,
    overwrite: bool = False,
) -> RenderResult:
    """Draw the subject's avatar as the request says, with the sound of a file under it where the format has room.

    overwrite: frames may take the place of a folder that holds frames of an earlier rendering, and nothing else.

    Raises:
        AvatarError: there is no whole avatar, the request does not fit the format, or the file cannot be written.
    """
    kind, avatar = check_render(subject, out, request, overwrite=overwrite)
    # The output comes first: what cannot be written is said before torch is loaded.
    with finished_output(out, folder=kind == "frames", replaceable=_replaceable(overwrite)) as place:
        computes_on = resolve_device(device, progress)
        from avatarcli.stages.render import render_avatar

        try:
            result = render_avatar(avatar, place, request, device=computes_on, progress=progress)
            if sound is not None:
                _put_under(place, sound, result.origin, progress)
        except Exception as error:
            if type(error).__name__ == "OutOfMemoryError":
                raise DeviceError("the GPU ran out of memory: use a smaller --size or --device cpu") from error
            raise
    return replace(result, path=out)


def _replaceable(overwrite: bool) -> Callable[[Path], bool] | None:
    """What of an output folder may be replaced; see `finished_output`."""
    if not overwrite:
        return None
    from avatarcli.export.images import is_frame

    return is_frame


def _put_under(video: Path, sound: Path, origin: Origin, progress: Progress) -> None:
    import av

    from avatarcli.export.sound import add_sound, has_room

    if not has_room(video):
        sounding = endings(lambda form: form.codec is not None and form.codec.sound is not None, last="and")
        progress.info(f"no sound: only {sounding} have room for it")
        return
    try:
        add_sound(video, sound, origin)
    except av.error.FFmpegError as error:
        if isinstance(error, OSError) and explain_io_error(error, video.parent) is not None:
            raise
        progress.warn(f"{sound} cannot be read ({error.strerror}); the video is silent")
