"""`avatar animate`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avatarcli.cli import option_groups, options
from avatarcli.cli.render import drawn, say_drawn
from avatarcli.cli.streams import STDOUT, to_stdout
from avatarcli.clips.kinds import HELP as CLIP_HELP
from avatarcli.errors import UsageError
from avatarcli.export.formats import endings
from avatarcli.progress import Progress
from avatarcli.workspace import Subject

if TYPE_CHECKING:
    from avatarcli.stages.driver import Driver
    from avatarcli.stages.render_request import RenderRequest
    from avatarcli.stages.speech_request import SpeechRequest


@dataclass(frozen=True)
class _Drawing(option_groups.Drawing):
    seconds: Annotated[float | None, typer.Option(metavar="S", help="Length of the video. Default: the clip's.")] = None


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: avatar animate --expr speech -o talking.mp4, or --video me.mp4, or --audio voice.wav")(
        option_groups.flat(animate)
    )


def animate(
    *,
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
    speaking: option_groups.Speaking,
    choice: option_groups.AvatarChoice,
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    head_motion: Annotated[
        bool, typer.Option("--head-motion/--no-head-motion", help="Whether the clip also turns the head.")
    ] = True,
    yaw: Annotated[
        float, typer.Option(metavar="DEG", help="See the head from this side (+: the subject's left).")
    ] = 0.0,
    orbit: Annotated[
        float | None, typer.Option(metavar="DEG", help="Circle the head by this angle during the clip.")
    ] = None,
    swing: options.Swing = None,
    at: Annotated[
        float | None, typer.Option(metavar="S", help="Only the picture at this moment of the clip, as a .png or .jpg.")
    ] = None,
    look: _Drawing,
    device: options.Device = "auto",
    answer: option_groups.Answer,
) -> None:
    """Animate the avatar with a clip, a video of a face, or a voice."""
    from avatarcli.stages.rendering import check_render
    from avatarcli.stages.track_request import TrackRequest

    if sum(driver is not None for driver in (expr, video, audio)) != 1:
        raise UsageError("give one of --expr CLIP, --video VIDEO and --audio SOUND")
    if audio is None and speaking.given:
        raise UsageError("--text, --language and --seed go with --audio SOUND")
    if output == STDOUT and at is None:
        videos = endings(lambda form: form.codec is not None)
        raise UsageError(f"-o -: a video needs a file; name one in {videos}, or take one picture with --at")
    if video is not None:
        TrackRequest(video).check_file()
    voice = None if audio is None else speaking.request(audio)
    target = choice.find()
    clip = _clip(expr, video, answer.console)
    request = replace(
        look.request(),
        # It moves, even while there is no clip.
        orbit=0.0 if (orbit, swing, at) == (None, None, None) else orbit,
        swing=swing,
        yaw=yaw,
        head_motion=head_motion,
        at=at,
    )
    source = clip.name if clip is not None else str((video or audio or Path()).stem)
    out = output or _default_output(target, source, request)
    with nullcontext(out) if out != STDOUT else to_stdout(f"{target.name}.png", json=answer.json) as place:
        check_render(target, place, request, overwrite=overwrite)  # before the video is tracked
        with _driver(clip, video, voice, target, answer.console) as driver:
            request = replace(request, clip=driver.clip)
            sound = driver.sound if request.moving else None
            result = drawn(target, place, request, device, answer, sound=sound, overwrite=overwrite)
    if out != STDOUT:
        say_drawn(target, result, answer)


def _default_output(subject: Subject, source: str, request: RenderRequest) -> Path:
    ending = "png" if not request.moving else "webm" if request.background is None else "mp4"
    return Path(f"{subject.name}-{source}.{ending}")


def _clip(expr: Path | None, video: Path | None, progress: Progress) -> Driver | None:
    """The clip, if one is given. Raises ClipError or VideoError before anything slow begins."""
    if expr is not None:
        from avatarcli.stages.driver import Driver

        return Driver.load(expr, note=progress.info, warn=progress.warn)
    if video is not None:
        from avatarcli.capture.video import probe_video

        probe_video(video)
    return None


def _driver(
    clip: Driver | None, video: Path | None, voice: SpeechRequest | None, subject: Subject, progress: Progress
) -> AbstractContextManager[Driver]:
    """The clip, or what is made of a video or a voice."""
    if clip is not None:
        return nullcontext(clip)
    if voice is not None:
        from avatarcli.stages.speech import spoken_clip

        return spoken_clip(voice, progress=progress)
    from avatarcli.stages.track import cached_track
    from avatarcli.stages.track_request import TrackRequest

    assert video is not None  # one of the three is given
    return cached_track(TrackRequest(video), subject.workspace, progress=progress)
