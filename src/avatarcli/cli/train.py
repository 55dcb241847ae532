"""`avatar train autoencoder` and `avatar train mmvdm`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatarcli.cli import options
from avatarcli.cli.console import Console

_Data = Annotated[
    Path | None, typer.Option("--data", metavar="FOLDER", help="Samples: a safetensors file each, or folders of them.")
]
_Out = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Checkpoints and the model.")]
_Config = Annotated[str, typer.Option("--config", metavar="NAME|FILE", help="A preset or a TOML file.")]
_Base = Annotated[
    str | None,
    typer.Option("--base", metavar="NAME|FOLDER", help="A model to start from; for 2b, CogVideoX-2B as it was pulled."),
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


def autoencoder(output: _Out, data: _Data = None, config: _Config = "mini", quiet: options.Quiet = False) -> None:
    """Train the small video autoencoder. A run that was stopped is continued."""
    from avatarcli.training.run import train_autoencoder

    train_autoencoder(data, output, config, Console(quiet=quiet))


def mmvdm(
    output: _Out, data: _Data = None, config: _Config = "mini", base: _Base = None, quiet: options.Quiet = False
) -> None:
    """Train the multi-view video diffusion model. A run that was stopped is continued."""
    from avatarcli.models import find_transformer
    from avatarcli.training.run import train_mmvdm

    start = None if base is None else find_transformer(base)
    train_mmvdm(data, output, config, start, Console(quiet=quiet))
