"""`avatar animate`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avatarcli.cli import options
from avatarcli.cli.console import Console
from avatarcli.cli.render import draw
from avatarcli.cli.streams import STDOUT
from avatarcli.clips.kinds import HELP as CLIP_HELP
from avatarcli.errors import UsageError
from avatarcli.export.formats import endings
from avatarcli.workspace import Subject

if TYPE_CHECKING:
    from avatarcli.stages.speech_request import SpeechRequest


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: avatar animate --expr speech -o talking.mp4, or --video me.mp4, or --audio voice.wav")(
        animate
    )


def animate(
    expr: Annotated[
        Path | None,
        typer.Option(
            "--expr",
            metavar="CLIP",
            help=f"{CLIP_HELP}, tour, look_around",
        ),
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option(
            metavar="VIDEO", help="Instead of a clip: a video of a face. It is tracked first; its sound is kept."
        ),
    ] = None,
    audio: Annotated[
        Path | None,
        typer.Option(metavar="SOUND", help="Instead of a clip: a recorded voice, which the mouth follows."),
    ] = None,
    text: options.SpokenText = None,
    language: options.SpokenLanguage = "english",
    seed: options.SpeechSeed = 0,
    subject: options.Subject = None,
    workspace: options.Workspace = None,
    output: options.Output = None,
    head_motion: Annotated[
        bool, typer.Option("--head-motion/--no-head-motion", help="Whether the clip also turns the head.")
    ] = True,
    orbit: Annotated[
        float | None, typer.Option(metavar="DEG", help="Circle the head by this angle during the clip.")
    ] = None,
    size: options.Size = 512,
    fps: options.Fps = 30.0,
    seconds: options.Seconds = None,
    elevation: options.Elevation = 0.0,
    background: options.BackgroundColour = "white",
    device: options.Device = "auto",
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Animate the avatar with a clip, a video of a face, or a voice."""
    from avatarcli.stages.render_request import RenderRequest, parse_background
    from avatarcli.stages.rendering import check_render
    from avatarcli.stages.speech_request import SpeechRequest
    from avatarcli.stages.track_request import TrackRequest

    if sum(driver is not None for driver in (expr, video, audio)) != 1:
        raise UsageError("give one of --expr CLIP, --video VIDEO and --audio SOUND")
    if audio is None and (text is not None or language != "english" or seed):
        raise UsageError("--text, --language and --seed go with --audio SOUND")
    if output == STDOUT:
        raise UsageError(f"-o -: a video needs a file; name one in {endings(lambda form: form.codec is not None)}")
    if video is not None:
        TrackRequest(video).check_file()
    voice = None if audio is None else SpeechRequest(audio, text=text, language=language, seed=seed)
    target = options.chosen_subject(workspace, subject)
    source = audio or _checked(expr, video, Console(quiet=quiet))
    request = RenderRequest(
        orbit=orbit,
        seconds=seconds,
        fps=fps,
        size=size,
        elevation=elevation,
        background=parse_background(background),
        clip=source,
        head_motion=head_motion,
    )
    out = output or Path(f"{target.name}-{source.stem}.{'webm' if request.background is None else 'mp4'}")
    check_render(target, out, request)  # before the video is tracked
    with _motion(source, video, voice, target, quiet=quiet) as clip:
        from avatarcli.export.sound import sound_path

        sound = sound_path(clip)
        request = replace(request, clip=clip)
        draw(target, out, request, device=device, json=json, quiet=quiet, sound=sound if sound.exists() else None)


def _checked(expr: Path | None, video: Path | None, console: Console) -> Path:
    """The clip or video, which can be read. Raises ClipError or VideoError, before anything slow begins."""
    if expr is not None:
        from avatarcli.clips.files import clip_path, load_clip

        clip = clip_path(expr)
        load_clip(clip, note=console.info, warn=console.warn)
        return clip
    from avatarcli.capture.video import probe_video

    assert video is not None
    probe_video(video)
    return video


def _motion(
    clip: Path, video: Path | None, voice: SpeechRequest | None, subject: Subject, *, quiet: bool
) -> AbstractContextManager[Path]:
    """The clip, or what is made of a video or a voice."""
    console = Console(quiet=quiet)
    if voice is not None:
        from avatarcli.stages.speech import spoken_clip

        return spoken_clip(voice, progress=console)
    if video is not None:
        from avatarcli.stages.track import cached_track
        from avatarcli.stages.track_request import TrackRequest

        return cached_track(TrackRequest(video), subject.workspace, progress=console)
    return nullcontext(clip)
