"""`avatar animate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatarcli.cli import options
from avatarcli.cli.console import Console
from avatarcli.cli.render import draw
from avatarcli.errors import UsageError
from avatarcli.workspace import Workspace


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: avatar animate --expr speech -o talking.mp4, or --video me.mp4")(animate)


def animate(
    expr: Annotated[
        Path | None,
        typer.Option(
            "--expr",
            metavar="CLIP",
            help="A clip.npz, a Live Link Face .csv, or one of ours: tour, speech, look_around",
        ),
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option(
            metavar="VIDEO", help="Instead of a clip: a video of a face, which is tracked first, and its sound."
        ),
    ] = None,
    subject: options.Subject = None,
    workspace: options.Workspace = None,
    output: options.Output = None,
    head_motion: Annotated[
        bool, typer.Option("--head-motion/--no-head-motion", help="Whether the clip also turns the head.")
    ] = True,
    orbit: Annotated[float | None, typer.Option(metavar="DEG", help="Circle the head by this angle meanwhile.")] = None,
    size: options.Size = 512,
    fps: options.Fps = 30.0,
    seconds: options.Seconds = None,
    elevation: options.Elevation = 0.0,
    background: options.BackgroundColour = "white",
    device: options.Device = "auto",
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Drive the avatar with a motion clip, or with a video of a face."""
    from avatarcli.stages.render_request import RenderRequest, parse_background

    if (expr is None) == (video is None):
        raise UsageError("give either --expr CLIP or --video VIDEO")
    place = Workspace(workspace)
    target = place.subject(subject)
    from avatarcli.head.clips import clip_path, load_clip

    if video is not None:
        from avatarcli.stages.track import TrackRequest, cached_track

        clip = cached_track(TrackRequest(video), place, progress=Console(quiet=quiet))
    else:
        assert expr is not None
        clip = clip_path(expr)
        load_clip(clip)  # a bad clip is refused before anything slow begins
    request = RenderRequest(
        orbit=orbit,
        seconds=seconds,
        fps=fps,
        size=size,
        elevation=elevation,
        background=parse_background(background),
        clip=clip,
        head_motion=head_motion,
    )
    ending = "webm" if request.background is None else "mp4"
    out = output or Path(f"{target.name}-{(video or clip).stem}.{ending}")
    from avatarcli.export.sound import sound_path

    sound = sound_path(clip)
    draw(target, out, request, device=device, json=json, quiet=quiet, sound=sound if sound.exists() else None)
