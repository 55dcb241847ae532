"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatarcli.config import DeviceName, GeneratorName, PresetName

Subject = Annotated[
    str | None, typer.Option("--subject", "-s", metavar="NAME", help="Whose avatar. Default: the last one made.")
]
Workspace = Annotated[
    Path | None,
    typer.Option(
        "--workspace", "-w", metavar="FOLDER", help="Where avatars live. Default: $AVATAR_WORKSPACE or ./avatars."
    ),
]
Preset = Annotated[
    PresetName | None, typer.Option(help="How much work to put in. Default: what the subject was made with.")
]
Generator = Annotated[
    GeneratorName | None, typer.Option(help="What imagines the unseen views. Default: what the subject was made with.")
]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Seed of everything random. Default: the subject's.")]
Device = Annotated[DeviceName, typer.Option(help="auto takes the GPU when it can be used.")]
Force = Annotated[bool, typer.Option("--force", help="Redo the work even if it is up to date.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Fail when another avatar command works on the subject.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only warnings and errors.")]

Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="PATH", help="An .mp4, .gif, .webp, .webm or .png file, or a folder of PNGs."
    ),
]
Size = Annotated[int, typer.Option(metavar="PIXELS", help="Side of the picture.")]
Fps = Annotated[float, typer.Option(metavar="N", help="Frames a second.")]
Seconds = Annotated[float | None, typer.Option(metavar="S", help="Length of the video. Default: the clip's, or 6.")]
Elevation = Annotated[float, typer.Option(metavar="DEG", help="Camera above (+) or below (-) the head.")]
BackgroundColour = Annotated[
    str, typer.Option("--background", metavar="COLOUR", help="A name, a hex colour or transparent.")
]
