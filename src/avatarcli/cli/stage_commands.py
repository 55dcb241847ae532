"""`avatar preprocess`, `avatar generate`, `avatar distill`: one stage each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avatarcli.cli import option_groups, options
from avatarcli.config import CreateConfig, StageName, from_json, resolve, resolve_stage
from avatarcli.errors import UsageError, WorkspaceError
from avatarcli.workspace import Subject, Workspace

if TYPE_CHECKING:
    from avatarcli.stages.pipeline import RunOptions


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: avatar preprocess photo.jpg --subject ada")(option_groups.flat(preprocess))
    app.command(epilog="Example: avatar generate --subject ada --seed 1")(option_groups.flat(generate))
    app.command(epilog="Example: avatar distill --subject ada --preset high")(option_groups.flat(distill))


def preprocess(
    *,
    photos: Annotated[
        list[Path] | None,
        typer.Argument(
            readable=False,
            metavar="PHOTO",
            help="A portrait or a film; several with --together. Default: the subject's.",
        ),
    ] = None,
    subject: options.Subject = None,
    together: options.Together = False,
    workspace: options.Workspace = None,
    face: Annotated[
        str | None,
        typer.Option(metavar="N|largest|left|right", help="Whose avatar, of several faces. Default: the subject's."),
    ] = None,
    tuning: option_groups.Tuning,
    replace: options.Replace = False,
    force: options.ForcePhoto = False,
    no_wait: options.NoWait = False,
    answer: option_groups.Answer,
) -> None:
    """Crop the photo, cut out the person and fit the head model.

    Look at overlay.png to check the fit.
    """
    from avatarcli.stages.naming import name_subjects
    from avatarcli.stages.pipeline import RunOptions

    photo, further = (photos[0], photos[1:]) if photos else (None, [])
    if further and not together:
        raise UsageError("several photos: add --together if all show one person, or preprocess one after the other")
    layers = [*tuning.layers(), *options.layers(face=face)]
    run = RunOptions("auto", answer.console, force=force, wait=not no_wait, replace=replace)
    if photo is None:
        target = options.chosen_subject(workspace, subject)
    else:
        place = Workspace(workspace)
        if subject is None:
            subject = name_subjects(place, [photo], further=further, replace=replace, progress=run.progress)[photo]
        target = place.new_subject(subject)
    saved = saved_config(target) if target.exists() else resolve(tuning.preset)
    tree = resolve_stage(saved, "preprocess", tuning.preset, layers)
    _run("preprocess", target, tree, run, answer, photo=photo, further=further)


def generate(
    *,
    choice: option_groups.SubjectChoice,
    making: option_groups.Making,
    computing: option_groups.Computing,
    seed: options.Seed = None,
    force: options.Force = False,
    no_wait: options.NoWait = False,
    answer: option_groups.Answer,
) -> None:
    """Make the multi-view video of the person from the fitted photo."""
    from avatarcli.stages.pipeline import RunOptions

    layers = [*making.layers(), *options.layers(seed=seed)]
    target = choice.find()
    tree = options.checked_model(resolve_stage(saved_config(target), "generate", making.preset, layers))
    run = RunOptions(computing.device, answer.console, force=force, wait=not no_wait, hardware=computing.hardware)
    _run("generate", target, tree, run, answer)


def distill(
    *,
    choice: option_groups.SubjectChoice,
    tuning: option_groups.Tuning,
    device: options.Device = "auto",
    seed: options.Seed = None,
    force: options.Force = False,
    no_wait: options.NoWait = False,
    answer: option_groups.Answer,
) -> None:
    """Fit the Gaussian avatar to the multi-view video and the photo."""
    from avatarcli.stages.pipeline import RunOptions

    layers = [*tuning.layers(), *options.layers(seed=seed)]
    target = choice.find()
    tree = resolve_stage(saved_config(target), "distill", tuning.preset, layers)
    run = RunOptions(device, answer.console, force=force, wait=not no_wait)
    _run("distill", target, tree, run, answer)


def saved_config(subject: Subject) -> CreateConfig:
    """The settings that a subject was made with. Raises WorkspaceError when they cannot be read, or by this version no more."""
    try:
        return from_json(subject.manifest().config)
    except UsageError as error:
        raise WorkspaceError(
            f"the settings of {subject.name} are of another version of avatarcli: run `avatar create` again"
        ) from error


def _run(
    stage: StageName,
    subject: Subject,
    config: CreateConfig,
    run: RunOptions,
    answer: option_groups.Answer,
    *,
    photo: Path | None = None,
    further: Sequence[Path] = (),
) -> None:
    from avatarcli.cli.create import report
    from avatarcli.stages.pipeline import run_pipeline

    result = run_pipeline(subject, photo, config, run, further=further, only=stage)
    state = "up to date" if result.stages[0].cached else f"made in {result.seconds:.1f} s"
    answer.give(report(result), f"{subject.name}: {subject.stage_path(stage)} ({state})")
