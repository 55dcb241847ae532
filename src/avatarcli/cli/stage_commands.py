"""`avatar preprocess`, `avatar generate`, `avatar distill`: one stage each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avatarcli.cli import options
from avatarcli.cli.console import Console, print_json
from avatarcli.config import CreateConfig, Hardware, StageName, from_json, generator_layers, resolve, resolve_stage
from avatarcli.errors import UsageError, WorkspaceError
from avatarcli.workspace import Subject, Workspace

if TYPE_CHECKING:
    from avatarcli.stages.pipeline import RunOptions


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: avatar preprocess photo.jpg --subject ada")(preprocess)
    app.command(epilog="Example: avatar generate --subject ada --seed 1")(generate)
    app.command(epilog="Example: avatar distill --subject ada --preset high")(distill)


def preprocess(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PHOTO", help="A portrait or a film; several with --together. Default: the subject's."),
    ] = None,
    subject: options.Subject = None,
    together: options.Together = False,
    workspace: options.Workspace = None,
    face: Annotated[
        str | None,
        typer.Option(metavar="N|largest|left|right", help="Whose avatar, of several faces. Default: the subject's."),
    ] = None,
    preset: options.Preset = None,
    config: options.Config = None,
    settings: options.Set = None,
    replace: options.Replace = False,
    force: options.ForcePhoto = False,
    no_wait: options.NoWait = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Crop the photo, cut out the person and fit the head model.

    Look at overlay.png to check the fit.
    """
    from avatarcli.stages.naming import name_subjects
    from avatarcli.stages.pipeline import RunOptions

    photo, further = (photos[0], photos[1:]) if photos else (None, [])
    if further and not together:
        raise UsageError("several photos: add --together if all show one person, or preprocess one after the other")
    layers = [*options.read_layers(config, settings), *options.layers(face=face)]
    run = RunOptions("auto", Console(quiet=quiet), force=force, wait=not no_wait, replace=replace)
    if photo is None:
        target = options.chosen_subject(workspace, subject)
    else:
        place = Workspace(workspace)
        if subject is None:
            subject = name_subjects(place, [photo], further=further, replace=replace, progress=run.progress)[photo]
        target = place.new_subject(subject)
    saved = saved_config(target) if target.exists() else resolve(preset)
    tree = resolve_stage(saved, "preprocess", preset, layers)
    _run(target, photo, tree, "preprocess", run, json, further=further)


def generate(
    subject: options.Subject = None,
    workspace: options.Workspace = None,
    preset: options.Preset = None,
    config: options.Config = None,
    settings: options.Set = None,
    generator: options.Generator = None,
    weights: options.Weights = None,
    steps: options.Steps = None,
    device: options.Device = "auto",
    gpus: options.Gpus = None,
    offload: options.Offload = False,
    compile: options.Compile = False,
    seed: options.Seed = None,
    force: options.Force = False,
    no_wait: options.NoWait = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make the multi-view video of the person from the fitted photo."""
    from avatarcli.stages.pipeline import RunOptions

    layers = options.read_layers(config, settings)
    layers += [*generator_layers(generator, weights, steps), *options.layers(seed=seed)]
    target = options.chosen_subject(workspace, subject)
    tree = options.checked_model(resolve_stage(saved_config(target), "generate", preset, layers))
    hardware = Hardware(gpus, offload, compile)
    run = RunOptions(device, Console(quiet=quiet), force=force, wait=not no_wait, hardware=hardware)
    _run(target, None, tree, "generate", run, json)


def distill(
    subject: options.Subject = None,
    workspace: options.Workspace = None,
    preset: options.Preset = None,
    config: options.Config = None,
    settings: options.Set = None,
    device: options.Device = "auto",
    seed: options.Seed = None,
    force: options.Force = False,
    no_wait: options.NoWait = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Fit the Gaussian avatar to the multi-view video and the photo."""
    from avatarcli.stages.pipeline import RunOptions

    layers = [*options.read_layers(config, settings), *options.layers(seed=seed)]
    target = options.chosen_subject(workspace, subject)
    tree = resolve_stage(saved_config(target), "distill", preset, layers)
    run = RunOptions(device, Console(quiet=quiet), force=force, wait=not no_wait)
    _run(target, None, tree, "distill", run, json)


def saved_config(subject: Subject) -> CreateConfig:
    try:
        return from_json(subject.manifest().config)
    except UsageError as error:
        raise WorkspaceError(
            f"the settings of {subject.name} are of another version of avatarcli: run `avatar create` again"
        ) from error


def _run(
    subject: Subject,
    photo: Path | None,
    config: CreateConfig,
    stage: StageName,
    run: RunOptions,
    json: bool,
    further: Sequence[Path] = (),
) -> None:
    from avatarcli.cli.create import report
    from avatarcli.stages.pipeline import run_pipeline

    result = run_pipeline(subject, photo, config, run, further=further, only=stage)
    if json:
        print_json(report(result))
    else:
        state = "up to date" if result.stages[0].cached else f"made in {result.seconds:.1f} s"
        print(f"{subject.name}: {subject.stage_path(stage)} ({state})")
