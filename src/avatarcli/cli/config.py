"""`avatar config`: the numbers that avatars are made with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from avatarcli.cli import option_groups, options
from avatarcli.cli.console import print_json
from avatarcli.cli.stage_commands import saved_config
from avatarcli.config import PresetName, resolve, to_json
from avatarcli.errors import UsageError
from avatarcli.settings import to_toml


@dataclass(frozen=True)
class _Tuning(option_groups.Tuning):
    preset: Annotated[PresetName | None, typer.Option(help="Of this preset. Default: standard.")] = None


def register(app: typer.Typer) -> None:
    group = options.command_group(
        "See the settings that avatars are made with.",
        example="avatar config show --preset draft > mine.toml",
    )
    group.command(epilog="Example: avatar config show --preset draft > mine.toml")(option_groups.flat(show))
    app.add_typer(group, name="config")


def show(
    *,
    tuning: _Tuning,
    subject: Annotated[
        str | None, typer.Option("--subject", "-s", metavar="NAME", help="What this avatar was made with.")
    ] = None,
    workspace: options.Workspace = None,
    json: options.Json = False,
) -> None:
    """Print all settings, to edit and give to --config.

    As TOML, with what each of them is and what it may be.
    """
    layers = tuning.layers()
    if subject is None:
        tree = resolve(tuning.preset, layers)
    elif tuning.preset is None and not layers:
        tree = saved_config(options.chosen_subject(workspace, subject))
    else:
        raise UsageError("--subject shows what an avatar was made with: leave out --preset, --config and --set")
    if json:
        print_json(to_json(tree))
    else:
        print(to_toml(tree), end="")
