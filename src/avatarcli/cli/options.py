"""What several commands share: options (those that go together: `option_groups`), and the form of a group of commands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from avatarcli import workspace as folders
from avatarcli.cli.console import Console
from avatarcli.config import CreateConfig, DeviceName, GeneratorName, Language, PresetName
from avatarcli.errors import AvatarError
from avatarcli.export.formats import endings
from avatarcli.settings import Layer


def subject_names(context: typer.Context, incomplete: str) -> list[str]:
    """The names that the shell offers where a subject is to be named."""
    try:
        found = folders.Workspace(context.params.get("workspace")).subjects()
    except (AvatarError, OSError):
        return []
    return [subject.name for subject in found if subject.name.startswith(incomplete)]


Subject = Annotated[
    str | None,
    typer.Option(
        "--subject",
        "-s",
        metavar="NAME",
        help="Whose avatar. Default: the last one made.",
        autocompletion=subject_names,
    ),
]
Avatar = Annotated[
    str | None,
    typer.Option(
        "--subject",
        "-s",
        metavar="NAME|FILE",
        help="Whose avatar, or the path of an avatar.safetensors. Default: the last one made.",
        autocompletion=subject_names,
    ),
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
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings, TOML or JSON, as `avatar config show` prints them."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting, such as distill.gaussians=60000; repeatable."),
]
Generator = Annotated[
    GeneratorName | None, typer.Option(help="What imagines the unseen views. Default: what the subject was made with.")
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FOLDER",
        help="The model of mmvdm. Default: the one that ships, or what the subject was made with.",
    ),
]
Steps = Annotated[
    int | None, typer.Option(metavar="N", help="Denoising steps of mmvdm, a divisor of 1000. Default: the preset's.")
]
Gpus = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="How many GPUs mmvdm may use (more than one: experimental). Default: all."),
]
Offload = Annotated[bool, typer.Option("--offload", help="For small cards: keep only the model at work on the GPU.")]
Compile = Annotated[bool, typer.Option("--compile", help="Compile mmvdm's blocks before the first step, on a GPU.")]
Autoencoder = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Encode with this model, which makes scenes for `avatar train mmvdm`."),
]
SEEDS = {"min": 0, "max": 2**32 - 1}  # what is made of a seed still fits into 64 bits
Seed = Annotated[
    int | None, typer.Option(metavar="N", help="Seed of everything random. Default: the subject's.", **SEEDS)
]
Device = Annotated[DeviceName, typer.Option(help="auto takes the GPU when it can be used.")]
Replace = Annotated[
    bool, typer.Option("--replace", help="Let the photo take over a name that belongs to another photo's avatar.")
]
Together = Annotated[
    bool, typer.Option("--together", help="All photos show the same person, from any side: make one avatar of them.")
]
Force = Annotated[bool, typer.Option("--force", help="Redo the work even if it is up to date.")]
ForcePhoto = Annotated[
    bool,
    typer.Option("--force", help="Redo the work even if it is up to date, and accept photos that are not good enough."),
]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Fail at once when another avatar command is working on the subject.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only warnings and errors.")]

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help=f"A file in {endings()}, a folder of PNGs, or - (a PNG on stdout). Default: named after the subject.",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace the frames in a folder of an earlier rendering, if all in it is that."),
]
Size = Annotated[str, typer.Option(metavar="PIXELS", help="Side of the picture, or width and height as in 1280x720.")]
Zoom = Annotated[float, typer.Option(metavar="X", help="Come closer: 2 shows the head twice as large.")]
Swing = Annotated[
    float | None, typer.Option(metavar="DEG", help="Move the camera to either side by this angle and back.")
]
Fps = Annotated[float, typer.Option(metavar="N", help="Frames per second.")]
Elevation = Annotated[float, typer.Option(metavar="DEG", help="Camera above (+) or below (-) the head.")]
BackgroundColor = Annotated[
    str,
    typer.Option("--background", metavar="COLOR", help="A name, a hex color, transparent, or a picture's file."),
]


SpokenText = Annotated[
    str | None,
    typer.Option("--text", metavar="TEXT", help="The words that the voice says. Default: its sounds are recognised."),
]
SpokenLanguage = Annotated[
    Language,
    typer.Option(
        "--language", help="The voice's language. other: the mouth follows loudness and broad classes of sound."
    ),
]
SpeechSeed = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of blinks, brows and head motion.", **SEEDS)]


def command_group(help: str, *, example: str) -> typer.Typer:
    """A group of commands, such as `avatar clip`, which says what it has when it is called by itself."""
    return typer.Typer(help=help, epilog=f"Example: {example}", no_args_is_help=True, rich_markup_mode=None)


def chosen_subject(workspace: Path | None, name: str | None) -> folders.Subject:
    """The subject that --workspace and --subject mean. Raises UsageError or WorkspaceError when there is none."""
    return folders.Workspace(workspace).subject(name, progress=Console())


def chosen_avatar(workspace: Path | None, name: str | None) -> folders.Subject:
    """The avatar that --workspace and --subject mean, which may be a file outside any workspace; raises as `chosen_subject`."""
    from avatarcli.stages.avatar_file import AvatarFile, names_a_file

    if name is None or not names_a_file(name):
        return chosen_subject(workspace, name)
    return AvatarFile(folders.Workspace(workspace), Path(name).expanduser())


def layers(*, face: str | None = None, seed: int | None = None) -> list[Layer]:
    """The choices of --face and --seed that were made."""
    chosen = [] if face is None else [Layer("--face", {"preprocess": {"face": face}})]
    return chosen if seed is None else [*chosen, Layer("--seed", {"seed": seed})]


def checked_model(config: CreateConfig) -> CreateConfig:
    """The settings with their model as it is kept: a folder by its full path, for later commands run elsewhere; a name as it is.

    Raises:
        WeightsError: there is no such model, or none at all for the generator mmvdm.
    """
    generator, weights = config.generate.generator, config.generate.weights
    if generator == "reproject" or (generator == "auto" and weights is None):
        return config
    from avatarcli.weights.models import find_model

    find_model(weights)
    if weights is not None and (folder := Path(weights).expanduser()).is_dir():
        weights = str(folder.resolve())
    return replace(config, generate=replace(config.generate, weights=weights))
