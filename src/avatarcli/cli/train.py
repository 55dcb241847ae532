"""`avatar train autoencoder`, `avatar train decoder` and `avatar train mmvdm`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatarcli.cli import options
from avatarcli.cli.console import Console
from avatarcli.settings import Layer, assigned
from avatarcli.system import check_extra

_Data = Annotated[
    Path | None, typer.Option("--data", metavar="FOLDER", help="Samples: a safetensors file each, or folders of them.")
]
_Out = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Checkpoints and the model.")]
_Config = Annotated[str, typer.Option("--config", metavar="NAME|FILE", help="A preset or a TOML file.")]
_Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting, such as train.batch_size=8; repeatable."),
]
_Init = Annotated[
    str | None,
    typer.Option(
        "--init",
        "--base",
        metavar="NAME|FOLDER|FILE",
        help="Weights to start from: a pulled model, a model's folder, or a safetensors file; for 2b (experimental), CogVideoX-2B.",
    ),
]
_Assets = Annotated[
    Path | None,
    typer.Option("--assets", metavar="FOLDER", help="The pack that people are rendered from."),
]
_Clips = Annotated[Path | None, typer.Option("--clips", metavar="FOLDER", help="More motion for rendered people.")]
_Real = Annotated[
    Path | None, typer.Option("--real", metavar="FOLDER", help="Real people, from `avatar data photos --pictures`.")
]
_Minutes = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        metavar="MIN",
        min=0.01,
        help="How long to train, not counting rendering. Default: the preset's steps.",
    ),
]


def register(app: typer.Typer) -> None:
    group = options.command_group(
        "Train the models. Several GPUs (experimental): accelerate launch -m avatarcli train …",
        example="avatar train mmvdm --data scenes --output runs/mini",
    )
    group.command(epilog="Example: avatar train autoencoder --data videos -o runs/autoencoder")(autoencoder)
    group.command(epilog="Example: avatar train decoder --assets makehuman -o runs/decoder")(decoder)
    group.command(epilog="Example: avatar train mmvdm --data scenes -o runs/mini --config mini")(mmvdm)
    app.add_typer(group, name="train")


def autoencoder(
    output: _Out,
    data: _Data = None,
    config: _Config = "mini",
    settings: _Set = None,
    quiet: options.Quiet = False,
) -> None:
    """Train the small video autoencoder.

    Run the same command again to continue a run that was stopped.
    """
    check_extra("train", "avatar train")
    from avatarcli.training.run import train_autoencoder

    train_autoencoder(data, output, config, Console(quiet=quiet), changes=_assigned(settings))


def decoder(
    output: _Out,
    config: _Config = "mini",
    settings: _Set = None,
    init: Annotated[
        str | None,
        typer.Option(
            "--init", metavar="NAME|FOLDER", help="The model whose decoder it is. Default: the one that ships."
        ),
    ] = None,
    assets: _Assets = None,
    real: _Real = None,
    minutes: _Minutes = None,
    quiet: options.Quiet = False,
) -> None:
    """Train the small autoencoder's decoder alone.

    It learns to make use of the photo that is carried into each view.

    Run the same command again to continue a run that was stopped.

    Then: avatar create photo.jpg --weights runs/decoder/weights
    """
    check_extra("train", "avatar train")
    from avatarcli.training.run import train_decoder
    from avatarcli.weights.models import find_model

    changes = _changes(settings, minutes, assets=assets, real=real)
    train_decoder(output, config, find_model(init), Console(quiet=quiet), changes=changes)


def mmvdm(
    output: _Out,
    data: _Data = None,
    config: _Config = "mini",
    settings: _Set = None,
    init: _Init = None,
    assets: _Assets = None,
    clips: _Clips = None,
    real: _Real = None,
    minutes: _Minutes = None,
    quiet: options.Quiet = False,
) -> None:
    """Train the multi-view video diffusion model.

    Run the same command again to continue a run that was stopped.

    From the asset pack to weights in one go, on a GPU: avatar train mmvdm --config studio --assets makehuman -o runs/mine

    Then: avatar create photo.jpg --weights runs/mine/weights

    Four GPUs (experimental): torchrun --nproc_per_node 4 -m avatarcli train mmvdm --config studio --assets makehuman -o runs/mine
    """
    check_extra("train", "avatar train")
    from avatarcli.training.run import train_mmvdm
    from avatarcli.weights.models import find_transformer

    start = None if init is None else Path(init).expanduser()
    if init is not None and start is not None and not start.is_file():
        start = find_transformer(init)
    changes = _changes(settings, minutes, assets=assets, clips=clips, real=real)
    train_mmvdm(data, output, config, start, Console(quiet=quiet), changes=changes)


def _changes(settings: list[str] | None, minutes: float | None, **folders: Path | None) -> list[Layer]:
    """What options say beside the preset. folders: by the names of their options."""
    changes = _assigned(settings)
    for name, folder in folders.items():
        if folder is not None:
            changes.append(Layer(f"--{name}", {"pool" if name == "real" else "studio": {name: str(folder)}}))
    if minutes is not None:
        changes.append(Layer("--minutes", {"train": {"minutes": minutes, "steps": 0}}))
    return changes


def _assigned(settings: list[str] | None) -> list[Layer]:
    from avatarcli.training.settings import TrainSettings

    return assigned(TrainSettings, settings or ())
