"""`avatar render`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avatarcli.cli import option_groups, options
from avatarcli.cli.streams import STDOUT, to_stdout
from avatarcli.config import DeviceName
from avatarcli.errors import UsageError
from avatarcli.export.formats import picture_format
from avatarcli.workspace import Subject

if TYPE_CHECKING:
    from avatarcli.stages.render_request import RenderRequest, RenderResult

# What -o means when it is left out. A still when an angle is given, else the video that shows most.
_FULL_TURN = 360.0


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: avatar render --orbit 360 -o orbit.mp4")(option_groups.flat(render))


def render(
    *,
    choice: option_groups.AvatarChoice,
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    orbit: Annotated[float | None, typer.Option(metavar="DEG", help="Circle the head by this angle.")] = None,
    swing: options.Swing = None,
    yaw: Annotated[
        list[float] | None,
        typer.Option(
            metavar="DEG",
            help="A still from this side (+: the subject's left); repeatable. With --orbit or --swing: where it starts.",
        ),
    ] = None,
    pitch: Annotated[float | None, typer.Option(metavar="DEG", help="A still from above (+) or below (-).")] = None,
    sheet: Annotated[bool, typer.Option("--sheet", help="A contact sheet: six views times four expressions.")] = False,
    expression: Annotated[
        str,
        typer.Option(metavar="E", help="neutral, smile, open-mouth, blink, or ARKit weights: jawOpen=0.6,mouthLeft=1"),
    ] = "neutral",
    look: option_groups.Drawing,
    device: options.Device = "auto",
    answer: option_groups.Answer,
) -> None:
    """Render the avatar: a video, stills or a contact sheet."""
    from avatarcli.stages.render_request import parse_expression

    turning = orbit is not None or swing is not None
    still = not turning and (yaw is not None or pitch is not None)
    if turning and pitch is not None:
        raise UsageError("--pitch is of stills: use --elevation with --orbit and --swing")
    if pitch is not None and look.elevation:
        raise UsageError("--pitch and --elevation say the same of a still: use one of them")
    if turning and len(yaw or ()) > 1:
        raise UsageError("--orbit and --swing start at one --yaw")
    if sheet and still:
        raise UsageError("--sheet has its own views: leave out --yaw and --pitch")
    if not still and not sheet and not turning and not (output is not None and _names_a_still(output)):
        orbit = _FULL_TURN
    request = replace(
        look.request(),
        orbit=orbit,
        swing=swing,
        views=tuple((angle, look.elevation if pitch is None else pitch) for angle in yaw or [0.0]),
        yaw=yaw[0] if yaw else 0.0,
        expression=parse_expression(expression),
        sheet=sheet,
    )
    if look.seconds is not None and not request.moving:
        raise UsageError("--seconds is how long a video lasts: add --orbit or --swing")
    target = choice.find()
    if output != STDOUT:
        out = output or _default_output(target, request)
        result = drawn(target, out, request, device, answer, overwrite=overwrite)
        say_drawn(target, result, answer)
        return
    if request.moving or len(request.views) > 1:
        raise UsageError("-o - writes one PNG: give a single --yaw or --sheet, or name a file or folder")
    with to_stdout(f"{target.name}.png", json=answer.json) as place:
        drawn(target, place, request, device, answer)


def drawn(
    subject: Subject,
    out: Path,
    request: RenderRequest,
    device: DeviceName,
    answer: option_groups.Answer,
    *,
    sound: Path | None = None,
    overwrite: bool = False,
) -> RenderResult:
    """Render, with a sound file under it if there is one."""
    from avatarcli.stages.rendering import render_subject

    return render_subject(
        subject, out, request, device=device, progress=answer.console, sound=sound, overwrite=overwrite
    )


def say_drawn(subject: Subject, result: RenderResult, answer: option_groups.Answer) -> None:
    """Say where a rendering is."""
    document = {
        "subject": subject.name,
        "path": str(result.path),
        "kind": result.kind,
        "frames": result.frames,
        "size": list(result.size),
        "fps": result.fps,
        "seconds": round(result.seconds, 3),
    }
    answer.give(document, str(result.path))


def _names_a_still(output: Path) -> bool:
    """Whether a result of this name is a picture, when nothing else was said."""
    return output == STDOUT or picture_format(output).still


def _default_output(subject: Subject, request: RenderRequest) -> Path:
    if request.sheet:
        return Path(f"{subject.name}-sheet.png")
    if request.moving:
        return Path(f"{subject.name}-orbit.{'webm' if request.background is None else 'mp4'}")
    return Path(f"{subject.name}.png") if len(request.views) == 1 else Path(f"{subject.name}-views")
