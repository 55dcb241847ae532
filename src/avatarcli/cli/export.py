"""`avatar export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from avatarcli.cli import option_groups
from avatarcli.cli.streams import STDOUT, to_stdout
from avatarcli.clips.kinds import HELP as CLIP_HELP
from avatarcli.errors import UsageError
from avatarcli.export.formats import WITH_CLIP, WITH_FACE, WITH_SH, WITH_UP, ExportFormat, SpzVersion, Up
from avatarcli.files import check_place
from avatarcli.progress import Progress
from avatarcli.workspace import Subject

if TYPE_CHECKING:
    from avatarcli.stages.export_request import ExportRequest, ExportResult


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: avatar export --format html -o ada.html")(option_groups.flat(export))


def export(
    *,
    format: Annotated[
        ExportFormat,
        typer.Option("--format", "-f", help="html: a page that plays the avatar. glb: a mesh. The others: Gaussians."),
    ],
    choice: option_groups.AvatarChoice,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PATH", help="A file, a folder where the format is one, or - (stdout)."),
    ] = None,
    expression: Annotated[
        str,
        typer.Option(metavar="E", help=f"{WITH_FACE}: neutral, smile, open-mouth, blink, or weights: jawOpen=0.6"),
    ] = "neutral",
    expr: Annotated[
        Path | None,
        typer.Option("--expr", metavar="CLIP", help=f"{WITH_CLIP}: {CLIP_HELP}"),
    ] = None,
    fps: Annotated[float | None, typer.Option(metavar="N", help="Frames per second. Default: the clip's.")] = None,
    head_motion: Annotated[
        bool, typer.Option("--head-motion/--no-head-motion", help="Whether the clip also turns the head.")
    ] = True,
    up: Annotated[
        Up | None,
        typer.Option(
            help=f"{WITH_UP}: the axis that is up. -y for SuperSplat, z for Blender. Default: y; sog: -y.",
            show_default=False,
        ),
    ] = None,
    sh_degree: Annotated[
        int,
        typer.Option(metavar="N", help=f"{WITH_SH}: 0 to 3; 3 for importers that insist on f_rest (all zeros here)."),
    ] = 0,
    spz_version: Annotated[
        Literal["2", "3", "4"] | None,
        typer.Option(help="spz: 2 for the oldest readers, 4 for the newest. Default: 3.", show_default=False),
    ] = None,
    answer: option_groups.Answer,
) -> None:
    """Write the avatar in a format that other programs read."""
    from avatarcli.stages.artefacts import AVATAR_FILE
    from avatarcli.stages.driver import Driver
    from avatarcli.stages.export_request import ExportRequest
    from avatarcli.stages.render_request import parse_expression

    progress = answer.console
    driver = None if expr is None else Driver.load(expr, note=progress.info, warn=progress.warn)
    request = ExportRequest(
        format,
        parse_expression(expression),
        driver,
        fps,
        head_motion,
        up=up,
        sh_degree=sh_degree,
        spz_version=None if spz_version is None else cast(SpzVersion, int(spz_version)),
    )
    if output == STDOUT and request.folder:
        raise UsageError(f"-o -: {format} is a folder; name one")
    target = choice.find()
    out = request.default_output(target.name) if output is None or output == STDOUT else output
    request.check_output(out)
    # What cannot work is refused before anything slow begins.
    if output != STDOUT:
        check_place(out, folder=request.folder)
    target.whole("distill", AVATAR_FILE)
    if output == STDOUT:
        with to_stdout(out.name, json=answer.json) as place:
            _export(target, place, request, progress)
        return
    result = _export(target, out, request, progress)
    document = {
        "subject": target.name,
        "path": str(result.path),
        "format": result.format,
        "files": result.files,
        "bytes": result.bytes,
        "seconds": round(result.seconds, 3),
    }
    answer.give(document, str(result.path))


def _export(subject: Subject, out: Path, request: ExportRequest, progress: Progress) -> ExportResult:
    from avatarcli.stages.export import export_subject

    return export_subject(subject, out, request, progress=progress)
