"""`avatar create`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarcli.cli import options
from avatarcli.cli.console import Console, print_error, print_failure, print_json
from avatarcli.config import GeneratorName, PresetName, resolve
from avatarcli.errors import UsageError
from avatarcli.workspace import Workspace

if TYPE_CHECKING:
    from avatarcli.stages.pipeline import PipelineResult


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: avatar create photo.jpg --preset draft")(create)


def create(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Portrait photos, one person each.")],
    subject: Annotated[
        str | None,
        typer.Option("--subject", "-s", metavar="NAME", help="Name of the avatar. Default: the file's name."),
    ] = None,
    workspace: options.Workspace = None,
    preset: Annotated[PresetName, typer.Option(help="How much work to put in.")] = "standard",
    generator: Annotated[GeneratorName, typer.Option(help="What imagines the unseen views.")] = "auto",
    device: options.Device = "auto",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of everything random.")] = 0,
    force: options.Force = False,
    no_wait: options.NoWait = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make an avatar of each photo: preprocess, generate, distill. What is up to date is not redone."""
    from avatarcli.stages.pipeline import RunOptions, name_subjects, run_pipeline

    if subject is not None and len(photos) > 1:
        raise UsageError("--subject names one avatar: leave it out when there are several photos")
    place = Workspace(workspace)
    names = name_subjects(place, photos) if subject is None else {photos[0]: subject}
    config = resolve(preset, generator=generator, seed=seed)
    run = RunOptions(device, Console(quiet=quiet), force=force, wait=not no_wait)
    done: list[PipelineResult] = []
    failed: dict[Path, Exception] = {}
    for photo, name in names.items():
        try:
            result = run_pipeline(place.new_subject(name), photo, config, run)
        except Exception as error:  # whatever it is, the other photos get their turn
            if len(names) == 1:
                raise
            print_failure(error, "" if str(photo) in str(error) else f"{photo}: ")
            failed[photo] = error
            continue
        done.append(result)
        if not json:
            print(_line(result))
    if json:
        print_json(
            {
                "subjects": [report(result) for result in done],
                "failed": [{"photo": str(photo), "error": str(error)} for photo, error in failed.items()],
            }
        )
    if failed:
        print_error(f"{len(failed)} of {len(names)} photos failed: {', '.join(str(photo) for photo in failed)}")
        raise typer.Exit(1)


def report(result: PipelineResult) -> dict[str, Any]:
    """A pipeline's result as JSON values."""
    from avatarcli.stages.pipeline import AVATAR_FILE

    subject = result.subject
    avatar = subject.stage_path("distill") / AVATAR_FILE
    manifest = subject.manifest()
    return {
        "subject": subject.name,
        "folder": str(subject.path),
        "avatar": str(avatar) if avatar.exists() else None,
        "photo": manifest.photo,
        "photo_sha256": manifest.photo_sha256,
        "seconds": round(result.seconds, 3),
        "stages": [
            {
                "stage": stage.stage,
                "cached": stage.cached,
                "seconds": round(stage.seconds, 3),
                "fingerprint": stage.fingerprint,
            }
            for stage in result.stages
        ],
    }


def _line(result: PipelineResult) -> str:
    from avatarcli.stages.pipeline import AVATAR_FILE

    state = "up to date" if all(stage.cached for stage in result.stages) else f"made in {result.seconds:.1f} s"
    return f"{result.subject.name}: {result.subject.stage_path('distill') / AVATAR_FILE} ({state})"
