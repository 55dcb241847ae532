"""`avatar track`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatarcli.cli import option_groups
from avatarcli.export.formats import endings
from avatarcli.files import check_place

_VIDEOS = endings(lambda form: form.codec is not None)


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: avatar track me.mp4 -o me.npz && avatar animate --expr me.npz")(
        option_groups.flat(track)
    )


def track(
    *,
    video: Annotated[
        Path, typer.Argument(readable=False, metavar="VIDEO", help="A video of one face, or the number of a camera: 0.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="CLIP", help="The .npz to write. Default: the video's name."),
    ] = None,
    preview: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help=f"Also write the video with the mesh over it ({_VIDEOS})."),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", help="Only so much from the start. Of a camera: how long, default 10.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(metavar="N", help="Frames a second of the clip. Default: the video's, at most 60.")
    ] = None,
    rest: Annotated[
        float | None,
        typer.Option(metavar="S", help="A moment at which the face rests, in seconds. Default: found by itself."),
    ] = None,
    answer: option_groups.Answer,
) -> None:
    """Turn a video of a face into a motion clip for any avatar.

    Motion is measured against that face at rest, so it fits other faces too.
    cheekPuff and noseSneer stay 0: pictures do not show them well enough.
    """
    from avatarcli.capture.video import probe_video
    from avatarcli.stages.track_request import TrackRequest

    request = TrackRequest(video, seconds=seconds, fps=fps, rest=rest)
    name = f"camera{request.camera}" if request.camera is not None else video.stem
    out = output or Path(f"{name}.npz")
    # Known before anything slow is loaded.
    info = probe_video(video) if request.camera is None else None
    request.check_output(out)
    check_place(out, folder=False)
    if preview is not None:
        request.check_preview(preview, info.fps if info else 30.0)
    from avatarcli.stages.track import track_video

    result = track_video(request, out, preview=preview, progress=answer.console)
    document = {
        "path": str(result.path),
        "frames": result.frames,
        "fps": round(result.fps, 3),
        "gaps": [[round(a, 3), round(b, 3)] for a, b in result.gaps],
        "untracked": list(result.untracked),
        "sound": None if result.sound is None else str(result.sound),
        "preview": None if result.preview is None else str(result.preview),
        "seconds": round(result.seconds, 3),
    }
    answer.give(document, str(result.path))
