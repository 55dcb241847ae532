"""`avatar preprocess`, `avatar generate`, `avatar distill`: one stage each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from avatarcli.cli import options
from avatarcli.cli.console import Console, print_json
from avatarcli.config import PRESETS, CreateConfig, DeviceName, Hardware, choose_generator, from_json, resolve
from avatarcli.errors import WorkspaceError
from avatarcli.workspace import Subject, Workspace


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: avatar preprocess photo.jpg --subject ada")(preprocess)
    app.command(epilog="Example: avatar generate --subject ada --seed 1")(generate)
    app.command(epilog="Example: avatar distill --subject ada --preset high")(distill)


def preprocess(
    photo: Annotated[
        Path | None,
        typer.Argument(metavar="[PHOTO]", help="A portrait. Default: the subject's own, from the workspace."),
    ] = None,
    subject: options.Subject = None,
    workspace: options.Workspace = None,
    preset: options.Preset = None,
    force: options.Force = False,
    no_wait: options.NoWait = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Crop the photo, cut out the person and fit the head model. Look at overlay.png to check the fit."""
    from avatarcli.stages.pipeline import name_subjects

    place = Workspace(workspace)
    if photo is None:
        target = place.subject(subject)
    else:
        target = place.new_subject(subject or name_subjects(place, [photo])[photo])
    config = _saved_config(target) if target.exists() else resolve(preset or "standard", generator="auto", seed=0)
    if preset is not None:
        config = replace(config, preprocess=PRESETS[preset].preprocess)
    _run(target, photo, config, "preprocess", "auto", force, no_wait, json, quiet)


def generate(
    subject: options.Subject = None,
    workspace: options.Workspace = None,
    preset: options.Preset = None,
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
    target = Workspace(workspace).subject(subject)
    config = _saved_config(target)
    chosen = config.generate
    if preset is not None:
        chosen = replace(
            PRESETS[preset].generate, generator=chosen.generator, weights=chosen.weights, steps=chosen.steps
        )
    if weights is None and generator == "mmvdm":
        weights = chosen.weights
    model = options.model_name(weights, generator)
    config = replace(config, generate=choose_generator(chosen, generator=generator, weights=model, steps=steps))
    if seed is not None:
        config = replace(config, seed=seed)
    hardware = Hardware(gpus, offload, compile)
    _run(target, None, config, "generate", device, force, no_wait, json, quiet, hardware)


def distill(
    subject: options.Subject = None,
    workspace: options.Workspace = None,
    preset: options.Preset = None,
    device: options.Device = "auto",
    seed: options.Seed = None,
    force: options.Force = False,
    no_wait: options.NoWait = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Fit the Gaussian avatar to the multi-view video and the photo."""
    target = Workspace(workspace).subject(subject)
    config = _saved_config(target)
    if preset is not None:
        config = replace(config, distill=PRESETS[preset].distill)
    if seed is not None:
        config = replace(config, seed=seed)
    _run(target, None, config, "distill", device, force, no_wait, json, quiet)


def _saved_config(subject: Subject) -> CreateConfig:
    try:
        return from_json(subject.manifest().config)
    except (KeyError, TypeError) as error:
        raise WorkspaceError(
            f"the settings of {subject.name} are of another version of avatarcli: run `avatar create` again"
        ) from error


def _run(
    subject: Subject,
    photo: Path | None,
    config: CreateConfig,
    stage: str,
    device: DeviceName,
    force: bool,
    no_wait: bool,
    json: bool,
    quiet: bool,
    hardware: Hardware | None = None,
) -> None:
    from avatarcli.cli.create import report
    from avatarcli.stages.pipeline import RunOptions, run_pipeline

    run = RunOptions(device, Console(quiet=quiet), force=force, wait=not no_wait, hardware=hardware or Hardware())
    result = run_pipeline(subject, photo, config, run, only=stage)
    if json:
        print_json(report(result))
    else:
        state = "up to date" if result.stages[0].cached else f"made in {result.seconds:.1f} s"
        print(f"{subject.name}: {subject.stage_path(stage)} ({state})")
