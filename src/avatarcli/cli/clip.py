"""`avatar clip`: info, convert, trim, retime, mix, speech and flame-map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarcli.cli import option_groups, options
from avatarcli.cli.console import print_json, print_table
from avatarcli.clips.kinds import HELP as CLIP_HELP
from avatarcli.clips.kinds import NPZ
from avatarcli.errors import ClipError, UsageError

if TYPE_CHECKING:
    from avatarcli.clips.clip import Clip
    from avatarcli.clips.edit import Range

_Input = Annotated[Path, typer.Argument(readable=False, metavar="CLIP", help=CLIP_HELP)]
_Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The .npz to write.")]
_MAX_SPEED = 100.0


def register(app: typer.Typer) -> None:
    group = options.command_group(
        "Inspect, convert, make, cut, retime and mix motion clips.",
        example="avatar clip convert take.csv -o take.npz",
    )
    group.command(epilog="Example: avatar clip info speech")(option_groups.flat(info))
    group.command(epilog="Example: avatar clip convert take.csv -o take.npz")(option_groups.flat(convert))
    group.command(epilog="Example: avatar clip trim take.npz --from 1.5 --to 90f -o short.npz")(
        option_groups.flat(trim)
    )
    group.command(epilog="Example: avatar clip retime take.npz --speed 0.5 -o slow.npz")(option_groups.flat(retime))
    group.command(epilog="Example: avatar clip mix speech smile.npz --region cheeks -o happy.npz")(
        option_groups.flat(mix)
    )
    group.command(epilog='Example: avatar clip speech voice.wav --text "Hello there." -o hello.npz')(
        option_groups.flat(speech)
    )
    group.command("flame-map", epilog="Example: avatar clip flame-map flame2023.pkl")(option_groups.flat(flame_map))
    app.add_typer(group, name="clip")


def info(*, clip: _Input, answer: option_groups.Answer) -> None:
    """Say how long a clip is and what moves in it, and how far."""
    from dataclasses import asdict

    from avatarcli.clips.edit import MOVES, summarise
    from avatarcli.clips.files import clip_path

    path = clip_path(clip)
    found = summarise(_load(clip, answer))
    if answer.json:
        print_json({"path": str(path), **_rounded(asdict(found))})
        return

    def angles(ranges: dict[str, Range]) -> str:
        return ", ".join(f"{name} {round(part.low)}° to {round(part.high)}°" for name, part in ranges.items())

    print(f"{path}: {found.frames} frames, {found.fps:g} frames/s, {found.seconds:.2f} s")
    print(f"head: {angles(found.head)}" + (f", moves {100 * found.translation:.1f} cm" if found.translation else ""))
    print(f"gaze: {angles(found.gaze) if found.gaze else 'as the eyeLook actions say'}")
    print(f"{len(found.actions)} of 52 actions {'are' if found.frames == 1 else 'move by'} {MOVES:g} or more")
    _print_actions(found.actions)
    if found.held:
        print(f"{len(found.held)} are held at {MOVES:g} or more")
        _print_actions(found.held)


def _rounded(found: dict[str, Any]) -> dict[str, Any]:
    """Numbers as exact as anyone needs them: coefficients to four places, and degrees and metres with them."""
    return {
        key: _rounded(value) if isinstance(value, dict) else round(value, 4) if isinstance(value, float) else value
        for key, value in found.items()
    }


def convert(
    *,
    clip: _Input,
    output: _Output,
    fps: Annotated[
        float | None,
        typer.Option(metavar="N", help="The file's frames per second, if the file does not say or is wrong."),
    ] = None,
    flame_map: Annotated[
        Path | None,
        typer.Option("--map", metavar="FILE", help="For FLAME sequences. Default: what `flame-map` made last."),
    ] = None,
    answer: option_groups.Answer,
) -> None:
    """Convert another program's recording to a clip.npz.

    Reads Live Link Face .csv, ARKit .json and .jsonl, and FLAME sequences in .npz (experimental).
    """
    from avatarcli.clips.frame_rates import check_fps

    check_fps(fps)
    _save(_load(clip, answer, fps=fps, flame_map=flame_map), output, answer)


def trim(
    *,
    clip: _Input,
    output: _Output,
    first: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Seconds (1.5) or a frame (45f); the first to keep.")
    ] = "0",
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="The first not to keep. Default: the clip's end.")
    ] = None,
    answer: option_groups.Answer,
) -> None:
    """Cut a part out of a clip and keep it."""
    from avatarcli.clips import edit as clip_edit

    source = _load(clip, answer)
    start, last = _frame(first, source, "--from"), len(source) if end is None else _frame(end, source, "--to")
    if end is not None and last <= start:
        raise UsageError(f"--from {first} --to {end}: the end is not after the start")
    if start < 0:
        raise UsageError(f"--from {first}: a clip begins at 0")
    for option, text, last_one in (("--from", first, start), ("--to", end, last - 1)):
        if last_one >= len(source):
            raise ClipError(f"{option} {text}: {clip} ends at {source.duration:.2f} s, or {len(source)}f")
    _save(clip_edit.trim(source, start, last), output, answer)


def retime(
    *,
    clip: _Input,
    output: _Output,
    fps: Annotated[float | None, typer.Option(metavar="N", help="Frames per second. Default: the clip's.")] = None,
    speed: Annotated[float, typer.Option(metavar="X", help="2: twice as fast; 0.5: half as fast.")] = 1.0,
    answer: option_groups.Answer,
) -> None:
    """Change a clip's frame rate or pace."""
    from avatarcli.clips import edit as clip_edit
    from avatarcli.clips.frame_rates import check_fps

    check_fps(fps)
    if not 1 / _MAX_SPEED <= speed <= _MAX_SPEED:
        raise UsageError(f"--speed {speed:g}: choose {1 / _MAX_SPEED:g} to {_MAX_SPEED:g}")
    source = _load(clip, answer)
    _save(clip_edit.retime(source, fps or source.fps, speed), output, answer)


def mix(
    *,
    clip: _Input,
    other: Annotated[Path, typer.Argument(readable=False, metavar="OTHER", help="The clip to mix in.")],
    output: _Output,
    weights: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="What each counts. Default: 0.5,0.5, or 0,1 with --region."),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Mix only brows, eyes, cheeks, mouth or head; repeatable. The rest is CLIP's."
        ),
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Repeat OTHER to the end of CLIP.")] = False,
    crossfade: Annotated[
        float | None, typer.Option(metavar="S", help="Play OTHER after CLIP instead, overlapping for so many seconds.")
    ] = None,
    answer: option_groups.Answer,
) -> None:
    """Mix two clips, or play one after the other.

    Weighted sums of both, or one laid over parts of the other with --region.
    """
    from avatarcli.clips import edit as clip_edit

    if crossfade is not None and (weights is not None or region or loop):
        raise UsageError("--crossfade plays one clip after the other: leave out --weights, --region and --loop")
    if crossfade is not None and not 0 <= crossfade < float("inf"):
        raise UsageError(f"--crossfade {crossfade:g}: choose 0 or more seconds")
    regions: list[clip_edit.Region] = [name for name in clip_edit.REGIONS if not region or name in region]
    if unknown := set(region or ()) - set(clip_edit.REGIONS):
        raise UsageError(f"--region {unknown.pop()}: choose from {', '.join(clip_edit.REGIONS)}")
    share = _weights(weights or ("0,1" if region else "0.5,0.5"))
    first, second = _load(clip, answer), _load(other, answer)
    if crossfade is not None:
        _save(clip_edit.crossfade(first, second, crossfade), output, answer)
        return
    _save(clip_edit.mix(first, second, share, regions, loop=loop), output, answer)


def speech(
    *,
    audio: Annotated[
        Path, typer.Argument(readable=False, metavar="SOUND", help="A voice: any sound file, or a video with sound.")
    ],
    output: _Output,
    speaking: option_groups.Speaking,
    answer: option_groups.Answer,
) -> None:
    """Make a clip from a recorded voice.

    The lips form its sounds and the head moves along. The sound is kept beside the clip.
    """
    from avatarcli.files import check_place

    request = speaking.request(audio)
    check_place(_npz(output), folder=False)
    from avatarcli.stages.speech import speech_clip

    result = speech_clip(request, output, progress=answer.console)
    document = {
        "path": str(output),
        "sound": str(result.sound),
        "frames": result.frames,
        "fps": result.fps,
        "seconds": round(result.frames / result.fps, 3),
        "phones": [[phone.name, round(phone.start, 3), round(phone.end, 3)] for phone in result.phones],
    }
    seconds = result.frames / result.fps
    answer.give(document, f"{output}: {result.frames} frames, {result.fps:g} frames/s, {seconds:.2f} s")


def flame_map(
    *,
    flame: Annotated[
        Path, typer.Argument(readable=False, metavar="FLAME_FILE", help="Your FLAME model: .pkl, .npz or .safetensors.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: in your data folder, where commands find it."),
    ] = None,
    answer: option_groups.Answer,
) -> None:
    """Map a FLAME model's expressions to ARKit's (experimental).

    Needed once for each FLAME model.
    """
    from avatarcli.clips.flame_file import read_flame
    from avatarcli.clips.flame_map import default_map, make_map
    from avatarcli.head.model import load_head_model

    out = _npz(output or default_map())
    made = make_map(read_flame(flame), load_head_model())
    made.save(out)
    document = {
        "path": str(out),
        "expressions": made.expressions,
        "error_mm": round(made.error, 3),
        "explained": round(made.explained, 3),
    }
    answer.give(
        document,
        f"{out}: {made.expressions} expressions; the faces match to {made.error:.1f} mm, and ARKit's actions show"
        f" {100 * made.explained:.0f} % of FLAME's motion",
    )


def _load(path: Path, answer: option_groups.Answer, *, fps: float | None = None, flame_map: Path | None = None) -> Clip:
    from avatarcli.clips.files import load_clip

    return load_clip(path, fps=fps, flame_map=flame_map, note=answer.console.info, warn=answer.console.warn)


def _print_actions(ranges: dict[str, Range]) -> None:
    print_table([(f"  {name}", f"{part.low:.2f}", f"{part.high:.2f}") for name, part in ranges.items()])


def _save(clip: Clip, output: Path, answer: option_groups.Answer) -> None:
    from avatarcli.clips.files import save_clip
    from avatarcli.files import check_place

    check_place(_npz(output), folder=False)
    save_clip(output, clip)
    document = {"path": str(output), "frames": len(clip), "fps": clip.fps, "seconds": round(clip.duration, 3)}
    answer.give(document, f"{output}: {len(clip)} frames, {clip.fps:g} frames/s, {clip.duration:.2f} s")


def _npz(path: Path) -> Path:
    if path.suffix.lower() != NPZ:
        raise UsageError(f"{path}: clips and maps are written as .npz")
    return path


def _frame(text: str, clip: Clip, option: str) -> int:
    """`45f` is a frame, anything else seconds."""
    try:
        return int(text[:-1]) if text.endswith("f") else round(float(text) * clip.fps)
    except (ValueError, OverflowError):
        raise UsageError(f"{option} '{text}': write seconds (1.5) or a frame (45f)") from None


def _weights(text: str) -> tuple[float, float]:
    try:
        a, b = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--weights '{text}': write two numbers, such as 1,0.5") from None
    if not all(0 <= weight <= 10 for weight in (a, b)):
        raise UsageError(f"--weights {text}: choose 0 to 10")
    return a, b
