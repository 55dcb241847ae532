"""`avatar train autoencoder` and `avatar train mmvdm`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatarcli.cli import options
from avatarcli.cli.console import Console

_Data = Annotated[Path, typer.Option("--data", metavar="FOLDER", help="Samples: one safetensors file each.")]
_Out = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Checkpoints and the model.")]
_Config = Annotated[str, typer.Option("--config", metavar="NAME|FILE", help="A preset or a TOML file.")]
_Base = Annotated[
    Path | None, typer.Option("--base", metavar="FOLDER", help="A model to start from; CogVideoX's transformer for 2b.")
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Train the models (for several GPUs: accelerate launch -m avatarcli train …).",
        epilog="Example: avatar train mmvdm --data scenes --output runs/mini",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command(epilog="Example: avatar train autoencoder --data videos -o runs/autoencoder")(autoencoder)
    group.command(epilog="Example: avatar train mmvdm --data scenes -o runs/mini --config mini")(mmvdm)
    app.add_typer(group, name="train")


def autoencoder(data: _Data, output: _Out, config: _Config = "mini", quiet: options.Quiet = False) -> None:
    """Train the small video autoencoder. A run that was stopped is continued."""
    from avatarcli.training.run import train_autoencoder

    train_autoencoder(data, output, config, Console(quiet=quiet))


def mmvdm(
    data: _Data, output: _Out, config: _Config = "mini", base: _Base = None, quiet: options.Quiet = False
) -> None:
    """Train the multi-view video diffusion model. A run that was stopped is continued."""
    from avatarcli.training.run import train_mmvdm

    train_mmvdm(data, output, config, base, Console(quiet=quiet))
